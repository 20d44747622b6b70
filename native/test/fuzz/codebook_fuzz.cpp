// Any bytes as a codebook file, also with right checksums: it is refused with a reason, or it can
// be used without harm.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "index/codebook_file.h"
#include "maxsim/query.h"
#include "maxsim/scan.h"
#include "platform/crc32c.h"

using namespace maxsim;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  if (size > sizeof(CodebookHeader) && bytes[0] % 4 != 0) {
    // What a program that writes nonsense would write: sums that fit, and a known beginning.
    auto* header = reinterpret_cast<CodebookHeader*>(bytes.data());
    std::memcpy(header->magic, kCodebookMagic, sizeof(header->magic));
    header->version = kCodebookVersion;
    header->header_size = sizeof(CodebookHeader);
    header->rows_crc32c =
        Crc32c(bytes.data() + sizeof(CodebookHeader), size - sizeof(CodebookHeader));
    header->crc32c = Crc32c(header, offsetof(CodebookHeader, crc32c));
  }
  const int file = memfd_create("codebook", 0);
  if (file < 0 || write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    std::abort();
  }
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  std::shared_ptr<const Codebook> codebook;
  bool missing = false;
  const Status status = ReadCodebook(path, &codebook, &missing);
  close(file);
  if (!status.ok()) {
    if (status.message().empty()) std::abort();
    return 0;
  }
  const size_t dim = codebook->contents().dim;
  if (dim > 256) return 0;
  std::vector<float> tokens(5 * dim, 0.1f);
  tokens[0] = -0.5f;
  std::vector<uint8_t> block(5 * codebook->TokenBytes() + kMaxsimResidualSlack);
  codebook->Encode(tokens.data(), 5, block.data());
  codebook->Decode(block.data(), 5, tokens.data());
  const Codec codec = codebook->contents().bits == 4   ? Codec::kR4
                      : codebook->contents().bits == 2 ? Codec::kR2
                                                       : Codec::kR1;
  const TokenFormat format{codec, 1.f, codebook};
  const PreparedQuery query(std::vector<float>(3 * dim, 0.2f).data(), 3, dim, 8);
  Scanner scanner(query, format);
  const MaxsimDocument document{block.data(), 5};
  scanner.Prepare({&document, 1});
  float score = 0;
  scanner.Scan(&document, 1, &score);
  if (score != score) std::abort();
  return 0;
}
