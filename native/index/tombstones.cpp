#include "index/tombstones.h"

#include <bit>
#include <cstddef>
#include <cstring>

#include "index/segment_format.h"
#include "platform/crc32c.h"
#include "platform/durable_file.h"
#include "platform/mapped_file.h"

namespace maxsim {
namespace {

using ull = unsigned long long;

uint64_t CountBits(std::span<const uint8_t> bitmap) {
  uint64_t count = 0;
  for (const uint8_t byte : bitmap) count += static_cast<uint64_t>(std::popcount(byte));
  return count;
}

}  // namespace

Status Tombstones::Open(const std::string& path, uint64_t document_count, uint64_t dead_count,
                        std::shared_ptr<const Tombstones>* out, bool* missing) {
  std::unique_ptr<MappedFile> file;
  Status status = MappedFile::Open(path, &file, missing);
  if (!status.ok()) return status;
  const char* name = path.c_str();
  const uint64_t bitmap_size = document_count / 8 + (document_count % 8 != 0 ? 1 : 0);
  TombstoneHeader header;
  if (file->size() < sizeof(header)) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt header at byte 0: the file has %zu bytes, expected %llu.",
                         name, file->size(), static_cast<ull>(sizeof(header) + bitmap_size));
  }
  std::memcpy(&header, file->data(), sizeof(header));
  if (std::memcmp(header.magic, kTombstoneMagic, sizeof(kTombstoneMagic)) != 0) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt header at byte 0: the file does not start with MAXSIMDD.",
                         name);
  }
  if (header.version > kTombstoneVersion) {
    return Status::Error(
        "UNSUPPORTED_FORMAT",
        "%s: tombstone format version %u; this release of maxsim reads version %u.", name,
        header.version, kTombstoneVersion);
  }
  const uint32_t crc = Crc32c(&header, offsetof(TombstoneHeader, crc32c));
  if (crc != header.crc32c) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt header at byte 60: checksum %08x found, %08x expected of the "
                         "bytes before it.",
                         name, header.crc32c, crc);
  }
  if (header.version != kTombstoneVersion || header.header_size != sizeof(header) ||
      header.document_count != document_count || header.dead_count != dead_count) {
    return Status::Error(
        "CORRUPT_INDEX",
        "%s: corrupt header at byte 8: version %u, %llu of %llu documents dead found; "
        "the manifest says %llu of %llu.",
        name, header.version, static_cast<ull>(header.dead_count),
        static_cast<ull>(header.document_count), static_cast<ull>(dead_count),
        static_cast<ull>(document_count));
  }
  if (file->size() - sizeof(header) != bitmap_size) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt bitmap at byte 64: the file has %zu bytes, expected %llu.",
                         name, file->size(), static_cast<ull>(sizeof(header) + bitmap_size));
  }
  std::shared_ptr<Tombstones> tombstones(new Tombstones());
  const uint8_t* bitmap = file->data() + sizeof(header);
  tombstones->bitmap_.assign(bitmap, bitmap + bitmap_size);
  tombstones->dead_count_ = dead_count;
  const uint32_t bitmap_crc = Crc32c(tombstones->bitmap_.data(), bitmap_size);
  const uint64_t found = CountBits(tombstones->bitmap_);
  const bool excess =
      document_count % 8 != 0 && (tombstones->bitmap_.back() >> (document_count % 8)) != 0;
  if (bitmap_crc != header.bitmap_crc32c || found != dead_count || excess) {
    return Status::Error("CORRUPT_INDEX",
                         "%s: corrupt bitmap at byte 64: checksum %08x with %llu bits set%s found, "
                         "expected %08x with %llu.",
                         name, bitmap_crc, static_cast<ull>(found),
                         excess ? ", some beyond the last document," : "", header.bitmap_crc32c,
                         static_cast<ull>(dead_count));
  }
  *out = std::move(tombstones);
  return Status::Ok();
}

Status Tombstones::Write(const std::string& path, uint32_t document_count,
                         std::span<const uint32_t> dead, uint64_t* dead_count) {
  std::vector<uint8_t> bytes(sizeof(TombstoneHeader) + (size_t{document_count} + 7) / 8);
  const std::span<uint8_t> bitmap = std::span(bytes).subspan(sizeof(TombstoneHeader));
  for (const uint32_t ordinal : dead) {
    if (ordinal >= document_count) {
      return Status::Error("INVALID_ARGUMENT", "document %u is dead, but there are only %u.",
                           ordinal, document_count);
    }
    bitmap[ordinal >> 3] = static_cast<uint8_t>(bitmap[ordinal >> 3] | (1u << (ordinal & 7)));
  }
  TombstoneHeader header{};
  std::memcpy(header.magic, kTombstoneMagic, sizeof(header.magic));
  header.version = kTombstoneVersion;
  header.header_size = sizeof(header);
  header.document_count = document_count;
  header.dead_count = CountBits(bitmap);
  header.bitmap_crc32c = Crc32c(bitmap.data(), bitmap.size());
  header.crc32c = Crc32c(&header, offsetof(TombstoneHeader, crc32c));
  std::memcpy(bytes.data(), &header, sizeof(header));
  *dead_count = header.dead_count;
  return WriteFlushed(path, bytes.data(), bytes.size());
}

std::vector<uint32_t> Tombstones::Ordinals() const {
  std::vector<uint32_t> ordinals;
  ordinals.reserve(dead_count_);
  for (size_t i = 0; i < bitmap_.size(); i++) {
    for (unsigned bits = bitmap_[i]; bits != 0; bits &= bits - 1) {
      ordinals.push_back(static_cast<uint32_t>(i * 8 + std::countr_zero(bits)));
    }
  }
  return ordinals;
}

}  // namespace maxsim
