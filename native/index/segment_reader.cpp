#include "index/segment_reader.h"

#include <algorithm>
#include <cstring>

#include "platform/crc32c.h"
#include "platform/thread_pool.h"

namespace maxsim {

SegmentReader::SegmentReader(std::unique_ptr<MappedFile> file) : file_(std::move(file)) {
  std::memset(&header_, 0, sizeof(header_));
}

Status SegmentReader::Open(const std::string& path, const SegmentExpectation& expected,
                           const ReadOptions& options,
                           std::shared_ptr<const SegmentReader>* segment, bool* missing) {
  std::unique_ptr<MappedFile> file;
  const Status status = MappedFile::Open(path, &file, missing);
  return status.ok() ? Open(std::move(file), expected, options, segment) : status;
}

Status SegmentReader::Open(std::unique_ptr<MappedFile> file, const SegmentExpectation& expected,
                           const ReadOptions& options,
                           std::shared_ptr<const SegmentReader>* segment) {
  std::shared_ptr<SegmentReader> reader(new SegmentReader(std::move(file)));
  Status status = reader->Validate(expected);
  if (!status.ok()) return status;
  if (options.memory == ReadOptions::Memory::kHugePages) {
    status = reader->CopyTokens();
  } else if (options.memory == ReadOptions::Memory::kPopulated) {
    reader->file_->Populate(0, reader->file_->size());
  }
  const bool at_open = options.verify == ReadOptions::Verify::kAtOpen;
  if (status.ok() && (at_open || reader->file_->size() <= options.verify_up_to)) {
    status = reader->ValidateDocuments();
    if (status.ok() && at_open) status = reader->ValidateOwnIds();
  }
  if (status.ok()) *segment = std::move(reader);
  return status;
}

// What is copied is verified in the copy, document by document, when it is first used or below.
Status SegmentReader::CopyTokens() {
  const SectionEntry& section = header_.sections[kTokens];
  // Kernels may look at up to 64 bytes behind a block.
  copied_ = HugeBuffer::Create(section.size + kAlignment);
  if (copied_ == nullptr) {
    return Status::Error("IO_ERROR", "%s: no memory for a copy of its %llu token bytes.",
                         file_->path().c_str(), static_cast<unsigned long long>(section.size));
  }
  constexpr uint64_t kPiece = uint64_t{4} << 20;
  const uint64_t pieces = (section.size + kPiece - 1) / kPiece;
  ThreadPool::Shared().For(pieces, [&](size_t i) {
    const uint64_t begin = i * kPiece, size = std::min(kPiece, section.size - begin);
    std::memcpy(copied_->data() + begin, tokens_ + begin, size);
    file_->Release(section.offset + begin, size);
  });
  tokens_ = copied_->data();
  return Status::Ok();
}

Status SegmentReader::VerifyTokens(uint32_t ordinal) const {
  const DocumentEntry& entry = documents_[ordinal];
  const uint64_t size = entry.token_count() * format_.TokenBytes();
  const uint32_t crc = Crc32c(tokens_ + entry.tokens_offset(), size);
  if (crc != entry.tokens_crc32c) {
    return Corrupt("tokens", header_.sections[kTokens].offset + entry.tokens_offset(),
                   "checksum %08x found for document %u, expected %08x", crc, ordinal,
                   entry.tokens_crc32c);
  }
  const Status status = ValidateResiduals(ordinal);
  if (status.ok()) {
    verified_[ordinal >> 6].fetch_or(uint64_t{1} << (ordinal & 63), std::memory_order_release);
  }
  return status;
}

Status SegmentReader::Record(uint32_t ordinal, std::span<const uint8_t>* record) const {
  const DocumentEntry& entry = documents_[ordinal];
  const std::string_view id = Id(ordinal);
  *record = {records_ + entry.record_offset(), entry.record_size};
  const uint32_t crc = Crc32c(record->data(), record->size(), Crc32c(id.data(), id.size()));
  if (crc == entry.record_crc32c) return Status::Ok();
  return Corrupt("records", header_.sections[kRecords].offset + entry.record_offset(),
                 "checksum %08x found for document %u, expected %08x", crc, ordinal,
                 entry.record_crc32c);
}

uint32_t SegmentReader::Find(std::string_view id, uint64_t hash) const {
  for (uint64_t slot = hash & slot_mask_; slots_[slot] != 0; slot = (slot + 1) & slot_mask_) {
    const uint32_t ordinal = slots_[slot] - 1;
    if (Id(ordinal) == id) return ordinal;
  }
  return kUnknown;
}

}  // namespace maxsim
