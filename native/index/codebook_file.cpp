#include "index/codebook_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "maxsim/query.h"
#include "platform/crc32c.h"
#include "platform/durable_file.h"
#include "platform/mapped_file.h"

namespace maxsim {
namespace {

CodebookHeader HeaderOf(const Codebook& codebook) {
  const CodebookContents& contents = codebook.contents();
  CodebookHeader header{};
  std::memcpy(header.magic, kCodebookMagic, sizeof(header.magic));
  header.version = kCodebookVersion;
  header.header_size = sizeof(header);
  header.bits = contents.bits;
  header.dim = contents.dim;
  header.centroid_count = contents.centroid_count;
  header.centroid_shift = contents.centroid_shift;
  header.scale = contents.scale;
  header.rows_crc32c = Crc32c(contents.rows.data(), contents.rows.size());
  header.trained_tokens = contents.trained_tokens;
  header.seed = contents.seed;
  std::memcpy(header.weights, contents.weights, sizeof(header.weights));
  header.crc32c = Crc32c(&header, offsetof(CodebookHeader, crc32c));
  return header;
}

}  // namespace

uint32_t CodebookCrc32c(const Codebook& codebook) { return HeaderOf(codebook).crc32c; }

Status WriteCodebook(const std::string& path, const Codebook& codebook) {
  const CodebookHeader header = HeaderOf(codebook);
  const std::vector<uint8_t>& rows = codebook.contents().rows;
  std::unique_ptr<DurableFile> file;
  Status status = DurableFile::Create(path, &file);
  if (status.ok()) status = file->Append(&header, sizeof(header));
  if (status.ok()) status = file->Append(rows.data(), rows.size());
  return status.ok() ? file->Commit() : status;
}

Status ReadCodebook(const std::string& path, std::shared_ptr<const Codebook>* codebook,
                    bool* missing) {
  std::unique_ptr<MappedFile> file;
  const Status status = MappedFile::Open(path, &file, missing);
  return status.ok() ? ParseCodebook(*file, codebook) : status;
}

Status ParseCodebook(const MappedFile& file, std::shared_ptr<const Codebook>* codebook) {
  const std::string& path = file.path();
  const char* name = path.c_str();
  CodebookHeader header;
  if (file.size() < sizeof(header)) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt header at byte 0: the file has %zu bytes, expected at least "
                         "%zu.",
                         name, file.size(), sizeof(header));
  }
  std::memcpy(&header, file.data(), sizeof(header));
  if (std::memcmp(header.magic, kCodebookMagic, sizeof(kCodebookMagic)) != 0) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt header at byte 0: the file does not start with MAXSIMCB.",
                         name);
  }
  if (header.version > kCodebookVersion) {
    return Status::Error("UNSUPPORTED_FORMAT",
                         "%s: codebook format version %u; this release of maxsim reads version %u.",
                         name, header.version, kCodebookVersion);
  }
  const uint32_t crc = Crc32c(&header, offsetof(CodebookHeader, crc32c));
  if (crc != header.crc32c) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt header at byte 124: checksum %08x found, %08x expected of "
                         "the bytes before it.",
                         name, header.crc32c, crc);
  }
  const bool bits_fit = header.bits == 4 || header.bits == 2 || header.bits == 1;
  const bool scale_fits = std::isnormal(header.scale) && header.scale > 0 && header.scale < 1;
  if (header.version != kCodebookVersion || header.header_size != sizeof(header) || !bits_fit ||
      header.dim < kMinDim || header.dim > kMaxDim || header.centroid_count == 0 ||
      header.centroid_count > kMaxCentroids || header.centroid_shift > kMaxCentroidShift ||
      !scale_fits ||
      !std::is_sorted(header.weights,
                      header.weights + (size_t{1} << (bits_fit ? header.bits : 1))) ||
      std::find(header.weights, header.weights + 16, int8_t{-128}) != header.weights + 16) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt header at byte 8: %u bits, dim %u, %u centroids, shift %u, "
                         "scale %g or weights cannot be.",
                         name, header.bits, header.dim, header.centroid_count,
                         header.centroid_shift, static_cast<double>(header.scale));
  }
  const size_t rows_size = size_t{header.centroid_count} * PaddedDim(header.dim);
  if (file.size() - sizeof(header) != rows_size) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt centroids at byte 128: the file has %zu bytes, expected %zu.",
                         name, file.size(), sizeof(header) + rows_size);
  }
  const uint8_t* rows = file.data() + sizeof(header);
  const uint32_t rows_crc = Crc32c(rows, rows_size);
  // Rows never hold 0, which would be -128: sums are bounded by 127.
  if (rows_crc != header.rows_crc32c || std::find(rows, rows + rows_size, 0) != rows + rows_size) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt centroids at byte 128: checksum %08x found, expected %08x.",
                         name, rows_crc, header.rows_crc32c);
  }
  CodebookContents contents;
  contents.bits = header.bits;
  contents.dim = header.dim;
  contents.centroid_count = header.centroid_count;
  contents.centroid_shift = header.centroid_shift;
  contents.scale = header.scale;
  std::memcpy(contents.weights, header.weights, sizeof(header.weights));
  contents.rows.assign(rows, rows + rows_size);
  contents.trained_tokens = header.trained_tokens;
  contents.seed = header.seed;
  *codebook = std::make_shared<const Codebook>(std::move(contents));
  return Status::Ok();
}

}  // namespace maxsim
