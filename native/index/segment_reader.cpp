#include "index/segment_reader.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "maxsim/codec.h"
#include "maxsim/query.h"
#include "platform/crc32c.h"

namespace maxsim {
namespace {

using ull = unsigned long long;  // what %llu takes

}  // namespace

SegmentReader::SegmentReader(std::unique_ptr<MappedFile> file) : file_(std::move(file)) {
  std::memset(&header_, 0, sizeof(header_));
}

Status SegmentReader::Open(const std::string& path, const SegmentExpectation& expected,
                           std::shared_ptr<const SegmentReader>* segment, bool* missing) {
  std::unique_ptr<MappedFile> file;
  const Status status = MappedFile::Open(path, &file, missing);
  return status.ok() ? Open(std::move(file), expected, segment) : status;
}

Status SegmentReader::Open(std::unique_ptr<MappedFile> file, const SegmentExpectation& expected,
                           std::shared_ptr<const SegmentReader>* segment) {
  std::shared_ptr<SegmentReader> reader(new SegmentReader(std::move(file)));
  reader->file_->Advise(MappedFile::Access::kSequential);
  const Status status = reader->Validate(expected);
  if (!status.ok()) return status;
  reader->file_->Advise(MappedFile::Access::kNormal);
  *segment = std::move(reader);
  return Status::Ok();
}

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
  status = ValidateDocuments();
  if (status.ok()) status = ValidateIdTable();
  return status.ok() ? OpenFields() : status;
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
                   "the file has %llu bytes, expected %llu", static_cast<ull>(file_size),
                   static_cast<ull>(header_.file_size));
  }
  uint64_t end = sizeof(SegmentHeader);  // of what has been accounted for; never beyond file_size
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
  if (end != file_size) {
    return Corrupt("records", end, "the last section ends here, but the file has %llu bytes",
                   static_cast<ull>(file_size));
  }
  // Both products fit: counts are below 2^32.
  const uint64_t table_size = header_.document_count * sizeof(DocumentEntry);
  const uint64_t slots_size = IdTableSlots(header_.document_count) * sizeof(uint32_t);
  if (header_.sections[kDocuments].size != table_size ||
      header_.sections[kIdTable].size != slots_size) {
    return Corrupt(
        "header", offsetof(SegmentHeader, sections),
        "document table of %llu and id table of %llu bytes found, expected %llu and %llu",
        static_cast<ull>(header_.sections[kDocuments].size),
        static_cast<ull>(header_.sections[kIdTable].size), static_cast<ull>(table_size),
        static_cast<ull>(slots_size));
  }
  // Tokens and records are read with their blocks, in ValidateDocuments.
  for (const Section i : {kDocuments, kIds, kIdTable, kFields}) {
    const SectionEntry& section = header_.sections[i];
    const uint32_t crc = Crc32c(file_->data() + section.offset, section.size);
    if (crc != section.crc32c) {
      return Corrupt(kSectionNames[i], section.offset, "checksum %08x found, expected %08x", crc,
                     section.crc32c);
    }
  }
  return Status::Ok();
}

// Entries follow each other without gaps, so a running end is all that bounds, overlap and order
// need.
Status SegmentReader::ValidateDocuments() const {
  const uint64_t row_bytes = format_.TokenBytes();
  const uint64_t table = header_.sections[kDocuments].offset;
  const SectionEntry& tokens = header_.sections[kTokens];
  const SectionEntry& ids = header_.sections[kIds];
  const SectionEntry& records = header_.sections[kRecords];
  uint64_t token_count = 0, tokens_end = 0, ids_end = 0, records_end = 0;
  uint32_t tokens_crc = 0, records_crc = 0;
  for (uint32_t i = 0; i < header_.document_count; i++) {
    const DocumentEntry& entry = documents_[i];
    const uint64_t place = table + uint64_t{i} * sizeof(DocumentEntry);
    if (entry.token_count == 0 || entry.token_count > kMaxDocumentTokens || entry.reserved != 0) {
      return Corrupt("document table", place, "document %u has %u tokens, expected 1 to %zu", i,
                     entry.token_count, kMaxDocumentTokens);
    }
    const uint64_t start = AlignUp(tokens_end);
    const uint64_t size = entry.token_count * row_bytes;  // < 2^16 * 2^12
    if (entry.tokens_offset != start || start > tokens.size || size > tokens.size - start) {
      return Corrupt("document table", place,
                     "document %u has %llu token bytes at %llu, expected at %llu of %llu", i,
                     static_cast<ull>(size), static_cast<ull>(entry.tokens_offset),
                     static_cast<ull>(start), static_cast<ull>(tokens.size));
    }
    if (entry.id_offset != ids_end || entry.id_size == 0 || entry.id_size > kMaxIdBytes ||
        entry.id_size > ids.size - ids_end) {
      return Corrupt("document table", place,
                     "document %u has an id of %u bytes at %llu, expected 1 to %zu at %llu of %llu",
                     i, entry.id_size, static_cast<ull>(entry.id_offset), kMaxIdBytes,
                     static_cast<ull>(ids_end), static_cast<ull>(ids.size));
    }
    if (entry.record_offset != records_end || entry.record_size > records.size - records_end) {
      return Corrupt("document table", place,
                     "document %u has a record of %u bytes at %llu, expected at %llu of %llu", i,
                     entry.record_size, static_cast<ull>(entry.record_offset),
                     static_cast<ull>(records_end), static_cast<ull>(records.size));
    }
    Status status = ValidatePadding("tokens", tokens.offset + tokens_end, tokens.offset + start);
    if (!status.ok()) return status;

    // Block by block, so that the second checksum finds the bytes in the cache.
    uint32_t crc = Crc32c(tokens_ + start, size);
    if (crc != entry.tokens_crc32c) {
      return Corrupt("tokens", tokens.offset + start,
                     "checksum %08x found for document %u, expected %08x", crc, i,
                     entry.tokens_crc32c);
    }
    status = ValidateResiduals(i, start);
    if (!status.ok()) return status;
    tokens_crc = Crc32c(tokens_ + tokens_end, start - tokens_end + size, tokens_crc);
    crc = Crc32c(records_ + records_end, entry.record_size);
    if (crc != entry.record_crc32c) {
      return Corrupt("records", records.offset + records_end,
                     "checksum %08x found for document %u, expected %08x", crc, i,
                     entry.record_crc32c);
    }
    records_crc = Crc32c(records_ + records_end, entry.record_size, records_crc);
    token_count += entry.token_count;
    tokens_end = start + size;
    ids_end += entry.id_size;
    records_end += entry.record_size;
  }
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
  if (tokens_crc != tokens.crc32c || records_crc != records.crc32c) {
    return Corrupt("header", offsetof(SegmentHeader, sections),
                   "checksums %08x of tokens and %08x of records found, expected %08x and %08x",
                   tokens_crc, records_crc, tokens.crc32c, records.crc32c);
  }
  return Status::Ok();
}

// A centroid that is not there would be read from beyond the table, and a factor that is no number
// would make a score that is none.
Status SegmentReader::ValidateResiduals(uint32_t document, uint64_t start) const {
  const Codebook* codebook = format_.tokens.codebook.get();
  if (codebook == nullptr) return Status::Ok();
  const uint64_t count = documents_[document].token_count, id_bytes = codebook->id_bytes();
  const uint64_t factors = start + count * codebook->code_bytes();
  const uint64_t ids = factors + count * sizeof(uint16_t);
  for (uint64_t token = 0; token < count; token++) {
    uint16_t half;
    std::memcpy(&half, tokens_ + factors + token * sizeof(half), sizeof(half));
    if (half >= 0x7c00) {  // negative, infinite, or not a number
      return Corrupt("tokens", header_.sections[kTokens].offset + factors + token * sizeof(half),
                     "document %u has the factor %04x, expected a positive, finite one", document,
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
                 "document %u has a token of centroid %u, but there are %u", document, largest,
                 codebook->contents().centroid_count);
}

// Every id must lead to its own ordinal, which also proves that no id is there twice.
Status SegmentReader::ValidateIdTable() const {
  const SectionEntry& section = header_.sections[kIdTable];
  uint64_t used = 0;
  for (uint64_t slot = 0; slot <= slot_mask_; slot++) {
    if (slots_[slot] > header_.document_count) {
      return Corrupt("id table", section.offset + slot * sizeof(uint32_t),
                     "slot %llu names document %u of %llu", static_cast<ull>(slot),
                     slots_[slot] - 1, static_cast<ull>(header_.document_count));
    }
    used += slots_[slot] != 0 ? 1 : 0;
  }
  // At most half full: a probe always meets an empty slot, so Find ends.
  if (used != header_.document_count) {
    return Corrupt("id table", section.offset, "%llu slots are taken, expected %llu",
                   static_cast<ull>(used), static_cast<ull>(header_.document_count));
  }
  for (uint32_t i = 0; i < header_.document_count; i++) {
    const std::string_view id = Id(i);
    const uint32_t found = Find(id, HashId(id, header_.id_hash_seed));
    if (found != i) {
      return Corrupt("id table", section.offset, "the id of document %u leads to document %d", i,
                     static_cast<int>(found));
    }
  }
  return Status::Ok();
}

Status SegmentReader::OpenFields() {
  const SectionEntry& section = header_.sections[kFields];
  uint64_t offset = 0;
  std::string problem;
  if (FieldsReader::Open({file_->data() + section.offset, section.size}, document_count(), &fields_,
                         &offset, &problem)) {
    return Status::Ok();
  }
  return Corrupt("fields", section.offset + offset, "%s", problem.c_str());
}

Status SegmentReader::ValidatePadding(const char* section, uint64_t begin, uint64_t end) const {
  for (uint64_t i = begin; i < end; i++) {
    if (file_->data()[i] != 0) {
      return Corrupt(section, i, "padding byte %02x found, expected 00", file_->data()[i]);
    }
  }
  return Status::Ok();
}

uint32_t SegmentReader::Find(std::string_view id, uint64_t hash) const {
  for (uint64_t slot = hash & slot_mask_; slots_[slot] != 0; slot = (slot + 1) & slot_mask_) {
    const uint32_t ordinal = slots_[slot] - 1;
    if (Id(ordinal) == id) return ordinal;
  }
  return kUnknown;
}

}  // namespace maxsim
