#include "index/segment_writer.h"

#include <algorithm>
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
    entry.id = id_offset | uint64_t{source.TokenCount(i)} << DocumentEntry::kShift;
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
                             i, slots[slot] - 1, PrintableId(id).c_str());
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

class SegmentStream::Writing {
 public:
  Writing(const VectorFormat& format, DocumentSource& source)
      : row_bytes_(format.TokenBytes()), source_(source), entries_(source.document_count()) {
    std::memcpy(header_.magic, kSegmentMagic, sizeof(header_.magic));
    header_.version = kSegmentVersion;
    header_.header_size = sizeof(SegmentHeader);
    header_.codec = static_cast<uint32_t>(format.tokens.codec);
    header_.dim = format.dim;
    header_.scale = format.tokens.scale;
    header_.codebook_crc32c = format.codebook_crc32c;
    header_.section_count = kSectionCount;
    header_.document_count = entries_.size();
    header_.id_hash_seed = IdHashSeed();
  }

  Status Begin(const std::string& path) {
    Status status = DurableFile::Create(path, &file_);
    if (!status.ok()) return status;
    stream_ = std::make_unique<SectionStream>(file_.get(), &header_);
    status = file_->Append(&header_, sizeof(header_));  // its place; the real one comes last
    return status.ok() ? stream_->Begin(kTokens) : status;
  }

  size_t written() const { return written_; }

  Status AppendTokens(size_t end) {
    for (; written_ < end; written_++) {
      DocumentEntry& entry = entries_[written_];
      const uint32_t count = source_.TokenCount(written_);
      if (count == 0 || count > kMaxDocumentTokens) {
        return Status::Error("INVALID_ARGUMENT", "document %zu has %u tokens, expected 1 to %zu.",
                             written_, count, kMaxDocumentTokens);
      }
      // Blocks are aligned before, not after: the section ends with its last token.
      Status status = stream_->AlignBlock();
      if (!status.ok()) return status;
      const std::span<const uint8_t> tokens = source_.Tokens(written_);
      if (tokens.size() != count * row_bytes_) {
        status = source_.status();
        if (!status.ok()) return status;
        return Status::Error("INTERNAL", "document %zu has %zu token bytes, expected %zu.",
                             written_, tokens.size(), count * row_bytes_);
      }
      tokens_size_ = AlignUp(tokens_size_);
      if (tokens_size_ + tokens.size() > kMaxTokensSection) {
        return Status::Error("INVALID_ARGUMENT",
                             "the tokens of one segment take more than %llu bytes.",
                             static_cast<unsigned long long>(kMaxTokensSection));
      }
      entry.tokens_block = static_cast<uint32_t>(tokens_size_ / kAlignment);
      entry.tokens_crc32c = Crc32c(tokens.data(), tokens.size());
      tokens_size_ += tokens.size();
      header_.token_count += count;
      status = stream_->Append(tokens.data(), tokens.size());
      if (!status.ok()) return status;
    }
    return Status::Ok();
  }

  Status Finish(SegmentSummary* summary) {
    const size_t count = entries_.size();
    std::vector<uint32_t> slots(IdTableSlots(count));
    std::vector<uint8_t> fields;
    Status status = AppendTokens(count);
    if (status.ok()) status = Measure(source_, entries_);
    if (status.ok()) status = BuildIdTable(source_, header_.id_hash_seed, slots);
    if (status.ok()) status = source_.Fields(&fields);
    if (status.ok()) status = stream_->Begin(kDocuments);
    if (status.ok()) status = stream_->Append(entries_.data(), count * sizeof(DocumentEntry));
    if (status.ok()) status = stream_->Begin(kIds);
    for (size_t i = 0; i < count && status.ok(); i++) {
      const std::string_view id = source_.Id(i);
      status = stream_->Append(id.data(), id.size());
    }
    if (status.ok()) status = stream_->Begin(kIdTable);
    if (status.ok()) status = stream_->Append(slots.data(), slots.size() * sizeof(uint32_t));
    if (status.ok()) status = stream_->Begin(kFields);
    if (status.ok() && !fields.empty()) status = stream_->Append(fields.data(), fields.size());
    if (status.ok()) status = stream_->Begin(kRecords);
    for (size_t i = 0; i < count && status.ok(); i++) {
      const std::span<const uint8_t> record = source_.Record(i);
      if (!record.empty()) status = stream_->Append(record.data(), record.size());
    }
    if (status.ok()) status = stream_->Pad();
    if (status.ok()) status = source_.status();
    const EncodedTokens encoded = source_.encoded();
    header_.longest = encoded.longest;
    header_.largest_factor = encoded.largest_factor;
    header_.file_size = file_->size() + sizeof(header_);
    header_.crc32c = Crc32c(&header_, offsetof(SegmentHeader, crc32c));
    if (status.ok()) status = file_->Append(&header_, sizeof(header_));
    if (status.ok()) status = file_->Overwrite(0, &header_, sizeof(header_));
    if (status.ok()) status = file_->Commit();
    if (!status.ok()) return status;
    *summary = {count, header_.token_count, header_.file_size, header_.crc32c};
    return Status::Ok();
  }

 private:
  const size_t row_bytes_;
  DocumentSource& source_;
  SegmentHeader header_{};
  std::vector<DocumentEntry> entries_;
  std::unique_ptr<DurableFile> file_;
  std::unique_ptr<SectionStream> stream_;
  size_t written_ = 0;  // documents whose tokens are
  uint64_t tokens_size_ = 0;
};

SegmentStream::SegmentStream(std::unique_ptr<Writing> writing) : writing_(std::move(writing)) {}
SegmentStream::~SegmentStream() = default;

Status SegmentStream::Create(const std::string& path, const VectorFormat& format,
                             DocumentSource& source, std::unique_ptr<SegmentStream>* stream) {
  const size_t count = source.document_count();
  if (count == 0 || count > kMaxSegmentDocuments) {
    return Status::Error("INVALID_ARGUMENT", "a segment holds 1 to %llu documents, not %zu.",
                         static_cast<unsigned long long>(kMaxSegmentDocuments), count);
  }
  auto writing = std::make_unique<Writing>(format, source);
  const Status status = writing->Begin(path);
  if (status.ok()) stream->reset(new SegmentStream(std::move(writing)));
  return status;
}

size_t SegmentStream::written() const { return writing_->written(); }
Status SegmentStream::AppendTokens(size_t end) { return writing_->AppendTokens(end); }
Status SegmentStream::Finish(SegmentSummary* summary) { return writing_->Finish(summary); }

Status WriteSegment(const std::string& path, const VectorFormat& format, DocumentSource& source,
                    SegmentSummary* summary) {
  std::unique_ptr<SegmentStream> stream;
  Status status = SegmentStream::Create(path, format, source, &stream);
  if (!status.ok()) return status;
  // Enough for all cores to have a share, and no more memory than that.
  constexpr size_t kDocuments = 64, kBytes = size_t{4} << 20;
  const size_t count = source.document_count(), row_bytes = format.TokenBytes();
  size_t ready = 0;
  while (ready < count && status.ok()) {
    size_t end = ready;
    for (size_t bytes = 0; end < count && end - ready < kDocuments && bytes < kBytes;) {
      bytes += source.TokenCount(end++) * row_bytes;
    }
    // While these are made ready, the ones before are written.
    source.Prepare(ready, end - ready, [&] { status = stream->AppendTokens(ready); });
    ready = end;
  }
  return status.ok() ? stream->Finish(summary) : status;
}

}  // namespace maxsim
