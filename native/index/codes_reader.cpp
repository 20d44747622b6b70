#include "index/codes_reader.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <vector>

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
              (h.list_blocks == 0 || h.list_blocks == blocks) && h.reserved0 == 0 &&
              std::all_of(std::begin(h.reserved), std::end(h.reserved),
                          [](uint8_t byte) { return byte == 0; });
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
  return status.ok() ? VerifyListStarts() : status;
}

Status CodesReader::VerifyWhole() const {
  const Status status = Verify();
  return status.ok() ? VerifyLists() : status;
}

// So that no list leaves the section. Ordinals of 16 bits stay within a block of sums as they are.
Status CodesReader::VerifyListStarts() const {
  const size_t count = header_.list_blocks * (size_t{header_.centroid_count} + 1);
  uint32_t before = 0;
  for (size_t i = 0; i < count; i++) {
    if (list_starts_[i] < before || list_starts_[i] > header_.code_count) {
      return Corrupt("list starts", header_.sections[kListStarts].offset + i * sizeof(uint32_t),
                     "%u found, expected %u to %llu", list_starts_[i], before,
                     static_cast<ull>(header_.code_count));
    }
    before = list_starts_[i];
  }
  return Status::Ok();
}

// What a checksum vouches for was written so; that it can be used without harm is proven anyway.
Status CodesReader::VerifyCodes() const {
  const uint64_t documents = header_.document_count, offset = header_.sections[kStarts].offset;
  if (starts_[0] != 0) return Corrupt("starts", offset, "%u found, expected 0", starts_[0]);
  for (uint64_t i = 0; i < documents; i++) {
    if (starts_[i] <= starts_[i + 1]) continue;
    return Corrupt("starts", offset + (i + 1) * sizeof(uint32_t), "%u found, expected %u or more",
                   starts_[i + 1], starts_[i]);
  }
  if (starts_[documents] != header_.code_count) {
    return Corrupt("starts", offset + documents * sizeof(uint32_t), "%u found, expected %llu",
                   starts_[documents], static_cast<ull>(header_.code_count));
  }
  return header_.code_bytes == 2 ? VerifyOrder(static_cast<const uint16_t*>(codes_))
                                 : VerifyOrder(static_cast<const uint32_t*>(codes_));
}

// Of each document its centroids, ascending and each once.
template <typename Code>
Status CodesReader::VerifyOrder(const Code* codes) const {
  for (uint64_t document = 0; document < header_.document_count; document++) {
    uint64_t least = 0;
    for (uint32_t i = starts_[document]; i < starts_[document + 1]; i++) {
      const uint32_t code = codes[i];
      if (code < least || code >= header_.centroid_count) {
        return Corrupt("codes", header_.sections[kCodes].offset + i * sizeof(Code),
                       "%u found in document %llu, expected %llu to %u", code,
                       static_cast<ull>(document), static_cast<ull>(least),
                       header_.centroid_count - 1);
      }
      least = uint64_t{code} + 1;
    }
  }
  return Status::Ok();
}

// Block by block the lists are what the codes say: read by document, each code is the next entry of
// its centroid's list.
Status CodesReader::VerifyLists() const {
  const size_t row = size_t{header_.centroid_count} + 1;
  const uint64_t offset = header_.sections[kListStarts].offset;
  const auto code = [&](uint32_t i) -> uint32_t {
    return header_.code_bytes == 2 ? static_cast<const uint16_t*>(codes_)[i]
                                   : static_cast<const uint32_t*>(codes_)[i];
  };
  std::vector<uint32_t> next(row);
  for (uint32_t block = 0; block < header_.list_blocks; block++) {
    const uint64_t first = uint64_t{block} * kListBlock;
    const uint64_t end = std::min<uint64_t>(header_.document_count, first + kListBlock);
    std::fill(next.begin(), next.end(), 0);
    for (uint32_t i = starts_[first]; i < starts_[end]; i++) next[code(i) + 1]++;
    next[0] = starts_[first];
    for (size_t c = 1; c < row; c++) next[c] += next[c - 1];
    const uint32_t* starts = list_starts_ + block * row;
    for (size_t c = 0; c < row; c++) {
      if (starts[c] == next[c]) continue;
      return Corrupt("list starts", offset + (block * row + c) * sizeof(uint32_t),
                     "%u found, expected %u", starts[c], next[c]);
    }
    for (uint64_t document = first; document < end; document++) {
      for (uint32_t i = starts_[document]; i < starts_[document + 1]; i++) {
        const uint32_t at = next[code(i)]++;
        if (lists_[at] == document - first) continue;
        return Corrupt("lists", header_.sections[kLists].offset + at * sizeof(uint16_t),
                       "%u found, expected %llu", lists_[at], static_cast<ull>(document - first));
      }
    }
  }
  return Status::Ok();
}

}  // namespace maxsim
