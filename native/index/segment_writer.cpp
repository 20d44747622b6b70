#include "index/segment_writer.h"

#include <cstring>
#include <random>

#include "maxsim/codec.h"
#include "maxsim/query.h"
#include "platform/crc32c.h"
#include "platform/durable_file.h"

namespace maxsim {
namespace {

// Appends to the file and keeps the checksum and extent of the section under way.
class SectionStream {
 public:
  SectionStream(DurableFile* file, SegmentHeader* header) : file_(file), header_(header) {}

  Status Begin(Section section) {
    Status status = Pad();
    entry_ = &header_->sections[section];
    entry_->offset = file_->size();
    // Their blocks have checksums of their own.
    checked_ = section != kTokens && section != kRecords;
    return status;
  }

  Status Append(const void* data, size_t size) {
    if (checked_) entry_->crc32c = Crc32c(data, size, entry_->crc32c);
    entry_->size += size;
    return file_->Append(data, size);
  }

  // Zeros up to the next multiple of 64, counted in the section.
  Status AlignBlock() {
    const size_t gap = Gap();
    return gap == 0 ? Status::Ok() : Append(kZeros, gap);
  }

  // Zeros up to the next multiple of 64, outside of any section.
  Status Pad() {
    const size_t gap = Gap();
    return gap == 0 ? Status::Ok() : file_->Append(kZeros, gap);
  }

 private:
  static constexpr uint8_t kZeros[kAlignment] = {};
  size_t Gap() const { return static_cast<size_t>(AlignUp(file_->size()) - file_->size()); }

  DurableFile* file_;
  SegmentHeader* header_;
  SectionEntry* entry_ = nullptr;
  bool checked_ = false;
};

Status WriteTokens(const VectorFormat& format, DocumentSource& source, SectionStream& stream,
                   std::vector<DocumentEntry>& entries, uint64_t* token_count) {
  const size_t row_bytes = format.TokenBytes();
  uint64_t offset = 0;
  for (size_t i = 0; i < entries.size(); i++) {
    DocumentEntry& entry = entries[i];
    const uint32_t count = source.TokenCount(i);
    if (count == 0 || count > kMaxDocumentTokens) {
      return Status::Error("INVALID_ARGUMENT", "document %zu has %u tokens, expected 1 to %zu.", i,
                           count, kMaxDocumentTokens);
    }
    // Blocks are aligned before, not after: the section ends with its last token.
    Status status = stream.AlignBlock();
    if (!status.ok()) return status;
    const std::span<const uint8_t> tokens = source.Tokens(i);
    if (tokens.size() != count * row_bytes) {
      status = source.status();
      if (!status.ok()) return status;
      return Status::Error("INTERNAL", "document %zu has %zu token bytes, expected %zu.", i,
                           tokens.size(), count * row_bytes);
    }
    offset = AlignUp(offset);
    if (offset + tokens.size() > kMaxTokensSection) {
      return Status::Error("INVALID_ARGUMENT",
                           "the tokens of one segment take more than %llu bytes.",
                           static_cast<unsigned long long>(kMaxTokensSection));
    }
    entry.id |= uint64_t{count} << DocumentEntry::kShift;
    entry.tokens_block = static_cast<uint32_t>(offset / kAlignment);
    entry.tokens_crc32c = Crc32c(tokens.data(), tokens.size());
    offset += tokens.size();
    *token_count += count;
    status = stream.Append(tokens.data(), tokens.size());
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

// Fills in where ids and records will lie.
Status Measure(const DocumentSource& source, std::vector<DocumentEntry>& entries) {
  uint64_t id_offset = 0, record_offset = 0;
  for (size_t i = 0; i < entries.size(); i++) {
    DocumentEntry& entry = entries[i];
    const std::string_view id = source.Id(i);
    const std::span<const uint8_t> record = source.Record(i);
    if (id.empty() || id.size() > kMaxIdBytes) {
      return Status::Error("INVALID_ARGUMENT",
                           "document %zu has an id of %zu bytes, expected 1 to %zu.", i, id.size(),
                           kMaxIdBytes);
    }
    if (record.size() > UINT32_MAX) {
      return Status::Error("INVALID_ARGUMENT",
                           "document %zu has a record of %zu bytes, at most %u fit.", i,
                           record.size(), UINT32_MAX);
    }
    entry.id = id_offset;
    entry.record = record_offset | uint64_t{id.size()} << DocumentEntry::kShift;
    entry.record_size = static_cast<uint32_t>(record.size());
    entry.record_crc32c = Crc32c(record.data(), record.size(), Crc32c(id.data(), id.size()));
    id_offset += id.size();
    record_offset += record.size();
  }
  return Status::Ok();
}

Status BuildIdTable(const DocumentSource& source, uint64_t seed, std::vector<uint32_t>& slots) {
  const uint64_t mask = slots.size() - 1;
  for (size_t i = 0; i < source.document_count(); i++) {
    // A copy: a second Id() call may invalidate the first view.
    const std::string id(source.Id(i));
    uint64_t slot = HashId(id, seed) & mask;
    for (; slots[slot] != 0; slot = (slot + 1) & mask) {
      if (source.Id(slots[slot] - 1) == id) {
        return Status::Error("INVALID_ARGUMENT", "document %zu has the id of document %u: \"%s\".",
                             i, slots[slot] - 1, id.c_str());
      }
    }
    slots[slot] = static_cast<uint32_t>(i + 1);
  }
  return Status::Ok();
}

}  // namespace

uint64_t IdHashSeed() {
  static const uint64_t seed = [] {
    std::random_device entropy;
    return (static_cast<uint64_t>(entropy()) << 32) | entropy();
  }();
  return seed;
}

Status WriteSegment(const std::string& path, const VectorFormat& format, DocumentSource& source,
                    SegmentSummary* summary) {
  const size_t count = source.document_count();
  if (count == 0 || count > kMaxSegmentDocuments) {
    return Status::Error("INVALID_ARGUMENT", "a segment holds 1 to %llu documents, not %zu.",
                         static_cast<unsigned long long>(kMaxSegmentDocuments), count);
  }
  SegmentHeader header{};
  std::memcpy(header.magic, kSegmentMagic, sizeof(header.magic));
  header.version = kSegmentVersion;
  header.header_size = sizeof(SegmentHeader);
  header.codec = static_cast<uint32_t>(format.tokens.codec);
  header.dim = format.dim;
  header.scale = format.tokens.scale;
  header.codebook_crc32c = format.codebook_crc32c;
  header.section_count = kSectionCount;
  header.document_count = count;
  header.id_hash_seed = IdHashSeed();

  std::vector<DocumentEntry> entries(count);
  Status status = Measure(source, entries);
  if (!status.ok()) return status;
  std::vector<uint32_t> slots(IdTableSlots(count));
  status = BuildIdTable(source, header.id_hash_seed, slots);
  if (!status.ok()) return status;

  std::unique_ptr<DurableFile> file;
  status = DurableFile::Create(path, &file);
  if (!status.ok()) return status;
  SectionStream stream(file.get(), &header);
  status = file->Append(&header, sizeof(header));  // its place; the real one comes last

  if (status.ok()) status = stream.Begin(kTokens);
  if (status.ok()) status = WriteTokens(format, source, stream, entries, &header.token_count);
  if (status.ok()) status = stream.Begin(kDocuments);
  if (status.ok()) status = stream.Append(entries.data(), entries.size() * sizeof(DocumentEntry));
  if (status.ok()) status = stream.Begin(kIds);
  for (size_t i = 0; i < count && status.ok(); i++) {
    const std::string_view id = source.Id(i);
    status = stream.Append(id.data(), id.size());
  }
  if (status.ok()) status = stream.Begin(kIdTable);
  if (status.ok()) status = stream.Append(slots.data(), slots.size() * sizeof(uint32_t));
  if (status.ok()) status = stream.Begin(kRecords);
  for (size_t i = 0; i < count && status.ok(); i++) {
    const std::span<const uint8_t> record = source.Record(i);
    if (!record.empty()) status = stream.Append(record.data(), record.size());
  }
  if (status.ok()) status = stream.Pad();
  if (status.ok()) status = source.status();
  const EncodedTokens encoded = source.encoded();
  header.longest = encoded.longest;
  header.largest_factor = encoded.largest_factor;
  header.file_size = file->size() + sizeof(header);
  header.crc32c = Crc32c(&header, offsetof(SegmentHeader, crc32c));
  if (status.ok()) status = file->Append(&header, sizeof(header));
  if (status.ok()) status = file->Overwrite(0, &header, sizeof(header));
  if (status.ok()) status = file->Commit();
  if (!status.ok()) return status;
  *summary = {count, header.token_count, header.file_size, header.crc32c};
  return Status::Ok();
}

}  // namespace maxsim
