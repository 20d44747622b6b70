// Any bytes as a codes file, also with right checksums: they are refused with a reason, or every
// code, list and bound can be read, and documents scanned by them, without harm.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "index/codes_reader.h"
#include "maxsim/dispatch.h"
#include "platform/crc32c.h"
#include "platform/mapped_file.h"

using namespace maxsim;

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

// What a program that writes nonsense would write: a header that fits the file's size, which is
// cut from few numbers, and checksums that are right.
void Seal(std::vector<uint8_t>* bytes) {
  CodesHeader header;
  std::memcpy(&header, bytes->data(), sizeof(header));
  std::memcpy(header.magic, kCodesMagic, sizeof(header.magic));
  header.version = kCodesVersion;
  header.header_size = sizeof(header);
  header.document_count = header.document_count % 40 + 1;
  header.code_count %= 64;
  header.centroid_count = header.centroid_count % 8 == 0 ? 65537 : header.centroid_count % 24 + 1;
  header.code_bytes = CodeBytes(header.centroid_count);
  header.list_blocks %= 2;
  header.reserved0 = 0;
  std::memset(header.reserved, 0, sizeof(header.reserved));
  const uint64_t lists = header.list_blocks;
  const uint64_t sizes[kCodesSectionCount] = {
      (header.document_count + 1) * sizeof(uint32_t), header.code_count * header.code_bytes,
      lists * (uint64_t{header.centroid_count} + 1) * sizeof(uint32_t),
      lists * header.code_count * sizeof(uint16_t),
      header.sections[kBounds].size % 2 == 0 ? 0 : header.centroid_count};
  uint64_t offset = sizeof(header);
  for (uint32_t section = 0; section < kCodesSectionCount; section++) {
    header.sections[section] = {offset, sizes[section], 0, 0};
    offset += AlignUp(sizes[section]);
  }
  bytes->resize(offset);
  // Starts that ascend are a matter of luck: here they mostly do.
  auto* starts = reinterpret_cast<uint32_t*>(bytes->data() + sizeof(header));
  if (header.sections[kStarts].size > 0 && (starts[0] & 1) == 0) {
    uint32_t last = 0;
    for (uint64_t i = 0; i < header.document_count; i++) {
      const uint32_t more = starts[i + 1] % 4;
      starts[i] = last;
      last = std::min<uint32_t>(last + more, static_cast<uint32_t>(header.code_count));
    }
    starts[header.document_count] = static_cast<uint32_t>(header.code_count);
  }
  for (SectionEntry& section : header.sections) {
    uint8_t* data = bytes->data() + section.offset;
    section.crc32c = Crc32c(data, section.size);
    std::memset(data + section.size, 0, AlignUp(section.size) - section.size);
  }
  header.file_size = offset;
  header.crc32c = Crc32c(&header, offsetof(CodesHeader, crc32c));
  std::memcpy(bytes->data(), &header, sizeof(header));
}

// What verifying has promised of codes and lists.
void Read(const CodesReader& reader) {
  const CodesHeader& header = reader.header();
  const auto documents = static_cast<uint32_t>(header.document_count);
  uint64_t listed = 0;
  for (uint32_t block = 0; block < reader.list_blocks(); block++) {
    for (uint32_t centroid = 0; centroid < header.centroid_count; centroid++) {
      for (const uint16_t ordinal : reader.List(block, centroid)) {
        Require(block * kListBlock + ordinal < documents);
        listed++;
      }
    }
  }
  Require(reader.list_blocks() == 0 || listed == header.code_count);
  for (const uint8_t bound : reader.bounds()) listed += bound;
  const MaxsimCodes codes = reader.codes();
  const std::vector<uint8_t> table(size_t{header.centroid_count} * kMaxsimLanes, 3);
  std::vector<uint32_t> scores(documents);
  Kernels().chosen->scan_codes(table.data(), 1, &codes, nullptr, 0, documents, scores.data());
  for (uint32_t i = 0; i < documents; i++) {
    Require(scores[i] == (reader.CodeCount(i) == 0 ? 0 : 3 * kMaxsimLanes));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::vector<uint8_t> bytes(data, data + size);
  const bool sealed = size >= sizeof(CodesHeader) && bytes[0] % 8 != 0;
  if (sealed) Seal(&bytes);
  // What a manifest would say that agrees with the header, right or wrong as that is.
  CodesHeader header{};
  std::memcpy(&header, bytes.data(), std::min(bytes.size(), sizeof(header)));
  std::unique_ptr<MappedFile> file;
  Require(MappedFile::Copy("fuzzed.codes", bytes.data(), bytes.size(), &file).ok());
  std::shared_ptr<const CodesReader> reader;
  Status status = CodesReader::Open(std::move(file),
                                    {header.document_count, header.crc32c, header.segment_crc32c,
                                     header.codebook_crc32c, header.centroid_count},
                                    &reader);
  Require(!sealed || status.ok());
  if (status.ok()) status = reader->VerifyWhole();
  if (status.ok()) {
    Read(*reader);
  } else {
    Require(!status.message().empty());
  }
  return 0;
}
