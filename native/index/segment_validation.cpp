// What is proven of a segment before its first byte is used, and what when it is asked for.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "index/segment_reader.h"
#include "maxsim/codec.h"
#include "maxsim/query.h"
#include "platform/crc32c.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

using ull = unsigned long long;  // what %llu takes

}  // namespace

Status SegmentReader::Corrupt(const char* section, uint64_t offset, const char* format, ...) const {
  char text[512];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return Status::Error("CORRUPT_INDEX", "%s: corrupt %s at byte %llu: %s.", file_->path().c_str(),
                       section, static_cast<ull>(offset), text);
}

// Each step relies on what the steps before it have proven.
Status SegmentReader::Validate(const SegmentExpectation& expected) {
  if (file_->size() < sizeof(SegmentHeader)) {
    return Corrupt("header", 0, "the file has %zu bytes, expected at least %zu", file_->size(),
                   sizeof(SegmentHeader));
  }
  std::memcpy(&header_, file_->data(), sizeof(header_));
  format_ = expected.format;
  Status status = ValidateHeader(expected);
  if (status.ok()) status = ValidateSections();
  if (!status.ok()) return status;

  const uint8_t* data = file_->data();
  tokens_ = data + header_.sections[kTokens].offset;
  documents_ = reinterpret_cast<const DocumentEntry*>(data + header_.sections[kDocuments].offset);
  ids_ = reinterpret_cast<const char*>(data + header_.sections[kIds].offset);
  slots_ = reinterpret_cast<const uint32_t*>(data + header_.sections[kIdTable].offset);
  slot_mask_ = IdTableSlots(header_.document_count) - 1;
  records_ = data + header_.sections[kRecords].offset;
  verified_ = std::make_unique<std::atomic<uint64_t>[]>(header_.document_count / 64 + 1);
  status = ValidateDocumentTable();
  if (status.ok()) status = ValidateIds();
  return status.ok() ? ValidateIdTable() : status;
}

Status SegmentReader::ValidateHeader(const SegmentExpectation& expected) const {
  const SegmentHeader& header = header_;
  if (std::memcmp(header.magic, kSegmentMagic, sizeof(kSegmentMagic)) != 0) {
    return Corrupt("header", 0, "the file does not start with MAXSIMSG");
  }
  // Before the checksum: a newer version may keep it elsewhere.
  if (header.version > kSegmentVersion) {
    return Status::Error("UNSUPPORTED_FORMAT",
                         "%s: segment format version %u; this release of maxsim reads version %u.",
                         file_->path().c_str(), header.version, kSegmentVersion);
  }
  const uint32_t crc = Crc32c(&header, offsetof(SegmentHeader, crc32c));
  if (crc != header.crc32c) {
    return Corrupt("header", offsetof(SegmentHeader, crc32c),
                   "checksum %08x found, %08x expected of the bytes before it", header.crc32c, crc);
  }
  if (header.version != kSegmentVersion || header.header_size != sizeof(SegmentHeader) ||
      header.section_count != kSectionCount) {
    return Corrupt("header", 8,
                   "version %u, header size %u and %u sections found, expected %u, %zu, %u",
                   header.version, header.header_size, header.section_count, kSegmentVersion,
                   sizeof(SegmentHeader), static_cast<unsigned>(kSectionCount));
  }
  const VectorFormat& format = expected.format;
  if (header.codec != static_cast<uint32_t>(format.tokens.codec) || header.dim != format.dim ||
      header.scale != format.tokens.scale || header.codebook_crc32c != format.codebook_crc32c) {
    return Corrupt("header", offsetof(SegmentHeader, codec),
                   "codec %u, dim %u, scale %.9g, codebook %08x found, the manifest says %u, %u, "
                   "%.9g, %08x",
                   header.codec, header.dim, static_cast<double>(header.scale),
                   header.codebook_crc32c, static_cast<unsigned>(format.tokens.codec), format.dim,
                   static_cast<double>(format.tokens.scale), format.codebook_crc32c);
  }
  if (CodecName(static_cast<Codec>(header.codec)) == nullptr) {
    return Corrupt("header", offsetof(SegmentHeader, codec), "codec %u found, expected 1 to 8",
                   header.codec);
  }
  if (header.dim < kMinDim || header.dim > kMaxDim) {
    return Corrupt("header", offsetof(SegmentHeader, dim), "dim %u found, expected %zu to %zu",
                   header.dim, kMinDim, kMaxDim);
  }
  if (!std::isnormal(header.scale) || header.scale < 0) {
    return Corrupt("header", offsetof(SegmentHeader, scale),
                   "scale %g found, expected a positive number", static_cast<double>(header.scale));
  }
  if (!(header.longest >= 0) || std::isinf(header.longest) || !(header.largest_factor >= 0) ||
      std::isinf(header.largest_factor)) {
    return Corrupt("header", offsetof(SegmentHeader, longest),
                   "a longest token of %g and a largest factor of %g found, expected 0 or more",
                   static_cast<double>(header.longest), static_cast<double>(header.largest_factor));
  }
  if (header.document_count == 0 || header.document_count > kMaxSegmentDocuments ||
      header.document_count != expected.documents || header.token_count != expected.tokens) {
    return Corrupt("header", offsetof(SegmentHeader, document_count),
                   "%llu documents and %llu tokens found, the manifest says %llu and %llu",
                   static_cast<ull>(header.document_count), static_cast<ull>(header.token_count),
                   static_cast<ull>(expected.documents), static_cast<ull>(expected.tokens));
  }
  if (header.crc32c != expected.header_crc32c) {
    return Corrupt("header", offsetof(SegmentHeader, crc32c),
                   "checksum %08x found, the manifest says %08x", header.crc32c,
                   expected.header_crc32c);
  }
  return Status::Ok();
}

// Where every section must lie follows from the sizes of those before it.
Status SegmentReader::ValidateSections() const {
  const uint64_t file_size = file_->size();
  if (header_.file_size != file_size) {
    return Corrupt("header", offsetof(SegmentHeader, file_size),
                   "a file size of %llu found, but the file has %llu bytes",
                   static_cast<ull>(header_.file_size), static_cast<ull>(file_size));
  }
  uint64_t end = sizeof(SegmentHeader);
  for (uint32_t i = 0; i < kSectionCount; i++) {
    const SectionEntry& section = header_.sections[i];
    const uint64_t place = offsetof(SegmentHeader, sections) + i * sizeof(SectionEntry);
    const uint64_t start = AlignUp(end);
    if (section.offset != start || start > file_size || section.size > file_size - start) {
      return Corrupt(kSectionNames[i], place,
                     "%llu bytes at %llu found, expected to start at %llu in a file of %llu",
                     static_cast<ull>(section.size), static_cast<ull>(section.offset),
                     static_cast<ull>(start), static_cast<ull>(file_size));
    }
    Status status = ValidatePadding(kSectionNames[i], end, start);
    if (!status.ok()) return status;
    end = start + section.size;
  }
  // Both products fit: counts are below 2^32.
  const uint64_t table_size = header_.document_count * sizeof(DocumentEntry);
  const uint64_t slots_size = IdTableSlots(header_.document_count) * sizeof(uint32_t);
  if (header_.sections[kDocuments].size != table_size ||
      header_.sections[kIdTable].size != slots_size ||
      header_.sections[kTokens].size > kMaxTokensSection) {
    return Corrupt("header", offsetof(SegmentHeader, sections),
                   "%llu bytes of tokens, %llu of document table and %llu of id table found, "
                   "expected at most %llu, %llu and %llu",
                   static_cast<ull>(header_.sections[kTokens].size),
                   static_cast<ull>(header_.sections[kDocuments].size),
                   static_cast<ull>(header_.sections[kIdTable].size),
                   static_cast<ull>(kMaxTokensSection), static_cast<ull>(table_size),
                   static_cast<ull>(slots_size));
  }
  // The second header ends the file.
  const uint64_t copy = AlignUp(end);
  if (copy > file_size || file_size - copy != sizeof(SegmentHeader)) {
    return Corrupt("records", end, "the last section ends here, but the file has %llu bytes",
                   static_cast<ull>(file_size));
  }
  const Status status = ValidatePadding("records", end, copy);
  if (!status.ok()) return status;
  if (std::memcmp(file_->data() + copy, file_->data(), sizeof(SegmentHeader)) != 0) {
    return Corrupt("second header", copy, "it differs from the first");
  }
  return Status::Ok();
}

Status SegmentReader::Walk(Section number, const Visit& visit) const {
  const SectionEntry& section = header_.sections[number];
  // Small enough that the second look finds the bytes in the cache.
  constexpr uint64_t kPiece = uint64_t{256} << 10;
  const bool large = section.size > 4 * kPiece;
  uint32_t crc = 0;
  for (uint64_t begin = 0; begin < section.size; begin += kPiece) {
    const uint64_t size = std::min(kPiece, section.size - begin);
    const uint8_t* bytes = file_->data() + section.offset + begin;
    if (large) file_->Populate(section.offset + begin, size);
    crc = Crc32c(bytes, size, crc);
    const Status status = visit(begin, bytes, size);
    if (!status.ok()) return status;
    // Opening a large index should not make its tables part of this process's memory.
    if (large) file_->Release(section.offset + begin, size);
  }
  if (crc == section.crc32c) return Status::Ok();
  return Corrupt(kSectionNames[number], section.offset, "checksum %08x found, expected %08x", crc,
                 section.crc32c);
}

// Entries follow each other without gaps, so a running end is all that bounds, overlap and order
// need.
Status SegmentReader::ValidateDocumentTable() const {
  const uint64_t row_bytes = format_.TokenBytes();
  const uint64_t table = header_.sections[kDocuments].offset;
  const SectionEntry& tokens = header_.sections[kTokens];
  const SectionEntry& ids = header_.sections[kIds];
  const SectionEntry& records = header_.sections[kRecords];
  uint64_t token_count = 0, tokens_end = 0, ids_end = 0, records_end = 0;
  const auto check = [&](uint64_t offset, const DocumentEntry& entry) {
    const uint64_t start = AlignUp(tokens_end);
    const uint64_t size = entry.token_count() * row_bytes;  // < 2^16 * 2^12
    const bool tokens_fit = entry.token_count() != 0 && entry.tokens_offset() == start &&
                            start <= tokens.size && size <= tokens.size - start;
    const bool id_fits = entry.id_offset() == ids_end && entry.id_size() != 0 &&
                         entry.id_size() <= kMaxIdBytes && entry.id_size() <= ids.size - ids_end;
    const bool record_fits =
        entry.record_offset() == records_end && entry.record_size <= records.size - records_end;
    if (!tokens_fit || !id_fits || !record_fits) {
      return Corrupt(
          "document table", table + offset,
          "document %llu has %u tokens at %llu, an id of %u bytes at %llu and a record of "
          "%u at %llu, expected to lie at %llu, %llu and %llu of %llu, %llu and %llu",
          static_cast<ull>(offset / sizeof(DocumentEntry)), entry.token_count(),
          static_cast<ull>(entry.tokens_offset()), entry.id_size(),
          static_cast<ull>(entry.id_offset()), entry.record_size,
          static_cast<ull>(entry.record_offset()), static_cast<ull>(start),
          static_cast<ull>(ids_end), static_cast<ull>(records_end), static_cast<ull>(tokens.size),
          static_cast<ull>(ids.size), static_cast<ull>(records.size));
    }
    token_count += entry.token_count();
    tokens_end = start + size;
    ids_end += entry.id_size();
    records_end += entry.record_size;
    return Status::Ok();
  };
  const Status status = Walk(kDocuments, [&](uint64_t begin, const uint8_t* bytes, uint64_t size) {
    for (uint64_t at = 0; at < size; at += sizeof(DocumentEntry)) {
      DocumentEntry entry;
      std::memcpy(&entry, bytes + at, sizeof(entry));
      Status one = check(begin + at, entry);
      if (!one.ok()) return one;
    }
    return Status::Ok();
  });
  if (!status.ok()) return status;
  if (tokens_end != tokens.size || ids_end != ids.size || records_end != records.size ||
      token_count != header_.token_count) {
    return Corrupt(
        "document table", table,
        "%llu tokens in %llu bytes, %llu id and %llu record bytes found, expected %llu in "
        "%llu, %llu and %llu",
        static_cast<ull>(token_count), static_cast<ull>(tokens_end), static_cast<ull>(ids_end),
        static_cast<ull>(records_end), static_cast<ull>(header_.token_count),
        static_cast<ull>(tokens.size), static_cast<ull>(ids.size), static_cast<ull>(records.size));
  }
  return Status::Ok();
}

Status SegmentReader::ValidateIds() const {
  return Walk(kIds, [](uint64_t, const uint8_t*, uint64_t) { return Status::Ok(); });
}

// Bounds, and room: at most half full, so a probe always meets an empty slot, and Find ends.
Status SegmentReader::ValidateIdTable() const {
  const uint64_t offset = header_.sections[kIdTable].offset;
  uint64_t used = 0;
  const Status status = Walk(kIdTable, [&](uint64_t begin, const uint8_t* bytes, uint64_t size) {
    for (uint64_t at = 0; at < size; at += sizeof(uint32_t)) {
      uint32_t slot;
      std::memcpy(&slot, bytes + at, sizeof(slot));
      if (slot > header_.document_count) {
        return Corrupt("id table", offset + begin + at, "a slot names document %u of %llu",
                       slot - 1, static_cast<ull>(header_.document_count));
      }
      used += slot != 0 ? 1 : 0;
    }
    return Status::Ok();
  });
  if (!status.ok()) return status;
  if (used != header_.document_count) {
    return Corrupt("id table", offset, "%llu slots are taken, expected %llu",
                   static_cast<ull>(used), static_cast<ull>(header_.document_count));
  }
  return Status::Ok();
}

// All that is otherwise proven when it is first used, and the padding between.
Status SegmentReader::ValidateDocuments() const {
  constexpr uint32_t kPiece = 64;
  const uint32_t count = document_count();
  const uint64_t tokens = header_.sections[kTokens].offset;
  std::mutex mutex;
  Status first = Status::Ok();
  uint32_t first_ordinal = kUnknown;
  ThreadPool::Shared().For((count - 1) / kPiece + 1, [&](size_t piece) {
    const auto begin = static_cast<uint32_t>(piece * kPiece);
    for (uint32_t i = begin; i < count && i < begin + kPiece; i++) {
      Status status = VerifyTokens(i);
      std::span<const uint8_t> record;
      if (status.ok()) status = Record(i, &record);
      if (status.ok() && i > 0) {
        const DocumentEntry& before = documents_[i - 1];
        status = ValidatePadding(
            "tokens", tokens + before.tokens_offset() + before.token_count() * format_.TokenBytes(),
            tokens + documents_[i].tokens_offset());
      }
      if (status.ok()) continue;
      // The same one is named, whichever thread meets damage first.
      const std::lock_guard lock(mutex);
      if (i < first_ordinal) first = status;
      first_ordinal = std::min(first_ordinal, i);
      return;
    }
  });
  return first;
}

// Every id must lead to its own ordinal, which also proves that no id is there twice.
Status SegmentReader::ValidateOwnIds() const {
  for (uint32_t i = 0; i < header_.document_count; i++) {
    const std::string_view id = Id(i);
    const uint32_t found = Find(id, HashId(id, header_.id_hash_seed));
    if (found != i) {
      return Corrupt("id table", header_.sections[kIdTable].offset,
                     "the id of document %u leads to document %d", i, static_cast<int>(found));
    }
  }
  return Status::Ok();
}

// A centroid that is not there would be read from beyond the table, and a factor that is no number
// would make a score that is none.
Status SegmentReader::ValidateResiduals(uint32_t ordinal) const {
  const Codebook* codebook = format_.tokens.codebook.get();
  if (codebook == nullptr) return Status::Ok();
  const DocumentEntry& entry = documents_[ordinal];
  const uint64_t count = entry.token_count(), id_bytes = codebook->id_bytes();
  const uint64_t factors = entry.tokens_offset() + count * codebook->code_bytes();
  const uint64_t ids = factors + count * sizeof(uint16_t);
  for (uint64_t token = 0; token < count; token++) {
    uint16_t half;
    std::memcpy(&half, tokens_ + factors + token * sizeof(half), sizeof(half));
    if (half >= 0x7c00) {  // negative, infinite, or not a number
      return Corrupt("tokens", header_.sections[kTokens].offset + factors + token * sizeof(half),
                     "document %u has the factor %04x, expected a positive, finite one", ordinal,
                     half);
    }
  }
  uint32_t largest = 0;
  for (uint64_t token = 0; token < count; token++) {
    uint32_t id = 0;
    std::memcpy(&id, tokens_ + ids + token * id_bytes, id_bytes);
    largest = id > largest ? id : largest;
  }
  if (largest < codebook->contents().centroid_count) return Status::Ok();
  return Corrupt("tokens", header_.sections[kTokens].offset + ids,
                 "document %u has a token of centroid %u, but there are %u", ordinal, largest,
                 codebook->contents().centroid_count);
}

Status SegmentReader::ValidatePadding(const char* section, uint64_t begin, uint64_t end) const {
  for (uint64_t i = begin; i < end; i++) {
    if (file_->data()[i] != 0) {
      return Corrupt(section, i, "padding byte %02x found, expected 00", file_->data()[i]);
    }
  }
  return Status::Ok();
}

}  // namespace maxsim
