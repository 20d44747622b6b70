#include "index/codes_reader.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "platform/crc32c.h"

namespace maxsim {
namespace {

using ull = unsigned long long;

}  // namespace

Status CodesReader::Corrupt(const char* section, uint64_t offset, const char* format, ...) const {
  char text[512];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return Status::Error("CORRUPT_INDEX", "%s: corrupt %s at byte %llu: %s.", file_->path().c_str(),
                       section, static_cast<ull>(offset), text);
}

Status CodesReader::Open(std::unique_ptr<MappedFile> file, const CodesExpectation& expected,
                         std::shared_ptr<const CodesReader>* codes) {
  std::shared_ptr<CodesReader> reader(new CodesReader(std::move(file)));
  Status status = reader->Validate(expected);
  if (status.ok()) *codes = std::move(reader);
  return status;
}

Status CodesReader::Validate(const CodesExpectation& expected) {
  if (file_->size() < sizeof(header_)) {
    return Corrupt("header", 0, "the file has %zu bytes, expected at least %zu", file_->size(),
                   sizeof(header_));
  }
  std::memcpy(&header_, file_->data(), sizeof(header_));
  if (std::memcmp(header_.magic, kCodesMagic, sizeof(kCodesMagic)) != 0) {
    return Corrupt("header", 0, "the file does not start with MAXSIMCO");
  }
  if (header_.version > kCodesVersion) {
    return Status::Error("UNSUPPORTED_FORMAT",
                         "%s: codes format version %u; this release of maxsim reads version %u.",
                         file_->path().c_str(), header_.version, kCodesVersion);
  }
  const uint32_t crc = Crc32c(&header_, offsetof(CodesHeader, crc32c));
  if (crc != header_.crc32c) {
    return Corrupt("header", offsetof(CodesHeader, crc32c),
                   "checksum %08x found, %08x expected of the bytes before it", header_.crc32c,
                   crc);
  }
  const CodesHeader& h = header_;
  if (h.crc32c != expected.header_crc32c || h.document_count != expected.documents ||
      h.centroid_count != expected.centroid_count || h.segment_crc32c != expected.segment_crc32c ||
      h.codebook_crc32c != expected.codebook_crc32c) {
    return Corrupt("header", 8,
                   "codes %08x of %llu documents of segment %08x under %u centroids of codebook "
                   "%08x found; expected are %08x, %llu, %08x, %u, %08x",
                   h.crc32c, static_cast<ull>(h.document_count), h.segment_crc32c, h.centroid_count,
                   h.codebook_crc32c, expected.header_crc32c, static_cast<ull>(expected.documents),
                   expected.segment_crc32c, expected.centroid_count, expected.codebook_crc32c);
  }
  const uint64_t blocks = (h.document_count + kListBlock - 1) / kListBlock;
  const uint64_t no_lists = h.list_blocks == 0 ? 0 : 1;
  const uint64_t sizes[kCodesSectionCount] = {
      (h.document_count + 1) * sizeof(uint32_t), h.code_count * h.code_bytes,
      no_lists * blocks * (uint64_t{h.centroid_count} + 1) * sizeof(uint32_t),
      no_lists * h.code_count * sizeof(uint16_t),
      h.sections[kBounds].size == 0 ? 0 : h.centroid_count};
  uint64_t offset = sizeof(CodesHeader);
  bool fits = h.version == kCodesVersion && h.header_size == sizeof(CodesHeader) &&
              h.code_bytes == CodeBytes(h.centroid_count) && h.code_count <= UINT32_MAX &&
              (h.list_blocks == 0 || h.list_blocks == blocks) && h.reserved0 == 0;
  for (uint32_t section = 0; section < kCodesSectionCount && fits; section++) {
    const SectionEntry& entry = h.sections[section];
    fits = entry.offset == offset && entry.size == sizes[section] && entry.reserved == 0;
    offset += AlignUp(entry.size);
  }
  if (!fits || h.file_size != offset || file_->size() != offset) {
    return Corrupt("header", 8, "%llu bytes of file, of sections or of codes cannot be",
                   static_cast<ull>(file_->size()));
  }
  const uint8_t* data = file_->data();
  starts_ = reinterpret_cast<const uint32_t*>(data + h.sections[kStarts].offset);
  codes_ = data + h.sections[kCodes].offset;
  list_starts_ = reinterpret_cast<const uint32_t*>(data + h.sections[kListStarts].offset);
  lists_ = reinterpret_cast<const uint16_t*>(data + h.sections[kLists].offset);
  bounds_ = data + h.sections[kBounds].offset;
  return Status::Ok();
}

Status CodesReader::Verify() const {
  std::call_once(verified_, [this] { status_ = VerifyAll(); });
  return status_;
}

Status CodesReader::VerifyAll() const {
  for (uint32_t section = 0; section < kCodesSectionCount; section++) {
    const SectionEntry& entry = header_.sections[section];
    const uint8_t* bytes = file_->data() + entry.offset;
    const uint32_t crc = Crc32c(bytes, entry.size);
    if (crc != entry.crc32c) {
      return Corrupt(kCodesSectionNames[section], entry.offset,
                     "checksum %08x found, expected %08x", crc, entry.crc32c);
    }
    for (uint64_t i = entry.size; i < AlignUp(entry.size); i++) {
      if (bytes[i] != 0) {
        return Corrupt("padding", entry.offset + i, "%u found, expected 0", bytes[i]);
      }
    }
  }
  const Status status = VerifyCodes();
  return status.ok() ? VerifyLists() : status;
}

// What a checksum vouches for was written so; that it can be used without harm is proven anyway.
Status CodesReader::VerifyCodes() const {
  const uint64_t documents = header_.document_count;
  bool ascending = starts_[0] == 0 && starts_[documents] == header_.code_count;
  for (uint64_t i = 0; i < documents; i++) ascending &= starts_[i] <= starts_[i + 1];
  if (!ascending) {
    return Corrupt("starts", header_.sections[kStarts].offset, "they do not count the codes");
  }
  bool possible = true;
  const auto check = [&](const auto* codes) {
    uint32_t largest = 0;
    for (uint64_t i = 0; i < header_.code_count; i++) {
      largest = codes[i] > largest ? codes[i] : largest;
    }
    possible = header_.code_count == 0 || largest < header_.centroid_count;
  };
  if (header_.code_bytes == 2) {
    check(static_cast<const uint16_t*>(codes_));
  } else {
    check(static_cast<const uint32_t*>(codes_));
  }
  if (possible) return Status::Ok();
  return Corrupt("codes", header_.sections[kCodes].offset, "one is no centroid");
}

Status CodesReader::VerifyLists() const {
  if (header_.list_blocks == 0) return Status::Ok();
  const size_t row = size_t{header_.centroid_count} + 1;
  const uint64_t offset = header_.sections[kListStarts].offset;
  uint64_t end = 0;
  for (uint32_t block = 0; block < header_.list_blocks; block++) {
    const uint32_t* starts = list_starts_ + block * row;
    bool ascending = starts[0] == end;
    for (size_t c = 0; c + 1 < row; c++) ascending &= starts[c] <= starts[c + 1];
    end = starts[row - 1];
    if (!ascending || end > header_.code_count) {
      return Corrupt("list starts", offset, "they do not count the lists");
    }
    // In all blocks but the last every ordinal is one of a document.
    const uint64_t documents = header_.document_count - uint64_t{block} * kListBlock;
    if (documents >= kListBlock) continue;
    for (uint64_t i = starts[0]; i < end; i++) {
      if (lists_[i] >= documents) {
        return Corrupt("lists", header_.sections[kLists].offset, "ordinal %u of a block of %llu",
                       lists_[i], static_cast<ull>(documents));
      }
    }
  }
  if (end == header_.code_count) return Status::Ok();
  return Corrupt("list starts", offset, "they do not count the lists");
}

}  // namespace maxsim
