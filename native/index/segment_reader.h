// A segment file, mapped and proven whole before its first byte is used: after Open every accessor
// is plain pointer arithmetic that cannot leave the file. Immutable and thread-safe.
#ifndef MAXSIM_INDEX_SEGMENT_READER_H_
#define MAXSIM_INDEX_SEGMENT_READER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "index/fields.h"
#include "index/segment_format.h"
#include "maxsim/kernel.h"
#include "platform/mapped_file.h"
#include "platform/status.h"

namespace maxsim {

// What the manifest says about a segment; the file must agree.
struct SegmentExpectation {
  VectorFormat format;
  uint64_t documents;
  uint64_t tokens;
  uint32_t header_crc32c;
};

class SegmentReader {
 public:
  static constexpr uint32_t kUnknown = 0xFFFFFFFF;

  // Checks sizes, bounds, canonical layout and every checksum. CORRUPT_INDEX names file, section,
  // offset, what was found and what was expected; UNSUPPORTED_FORMAT a newer version; IO_ERROR the
  // operating system's reason (`*missing`: there is no such file).
  static Status Open(const std::string& path, const SegmentExpectation& expected,
                     std::shared_ptr<const SegmentReader>* segment, bool* missing = nullptr);
  // The same of a file that is mapped already, and may have lost its name meanwhile.
  static Status Open(std::unique_ptr<MappedFile> file, const SegmentExpectation& expected,
                     std::shared_ptr<const SegmentReader>* segment);

  const std::string& path() const { return file_->path(); }
  const SegmentHeader& header() const { return header_; }
  // As the manifest has it, and the file's header confirms.
  const VectorFormat& format() const { return format_; }
  uint32_t document_count() const { return static_cast<uint32_t>(header_.document_count); }
  uint64_t token_count() const { return header_.token_count; }

  // Ordinals are < document_count(); the caller has checked.
  std::string_view Id(uint32_t ordinal) const {
    const DocumentEntry& entry = documents_[ordinal];
    return {ids_ + entry.id_offset, entry.id_size};
  }
  std::span<const uint8_t> Record(uint32_t ordinal) const {
    const DocumentEntry& entry = documents_[ordinal];
    return {records_ + entry.record_offset, entry.record_size};
  }
  uint32_t TokenCount(uint32_t ordinal) const { return documents_[ordinal].token_count; }
  MaxsimDocument Document(uint32_t ordinal) const {
    const DocumentEntry& entry = documents_[ordinal];
    return {tokens_ + entry.tokens_offset, entry.token_count};
  }

  // What documents can be filtered by.
  const FieldsReader& fields() const { return fields_; }

  // `hash` is HashId(id, header().id_hash_seed). The ordinal, or kUnknown.
  uint32_t Find(std::string_view id, uint64_t hash) const;

 private:
  explicit SegmentReader(std::unique_ptr<MappedFile> file);

  Status Validate(const SegmentExpectation& expected);
  Status ValidateHeader(const SegmentExpectation& expected) const;
  Status ValidateSections() const;
  Status ValidateDocuments() const;
  Status ValidateResiduals(uint32_t document, uint64_t start) const;
  Status ValidateIdTable() const;
  Status OpenFields();
  Status ValidatePadding(const char* section, uint64_t begin, uint64_t end) const;
  Status Corrupt(const char* section, uint64_t offset, const char* format, ...) const
      MAXSIM_PRINTF(4, 5);

  std::unique_ptr<MappedFile> file_;
  SegmentHeader header_;  // a copy: the one thing read on every call
  VectorFormat format_{};
  const uint8_t* tokens_ = nullptr;
  const DocumentEntry* documents_ = nullptr;
  const char* ids_ = nullptr;
  const uint32_t* slots_ = nullptr;
  uint64_t slot_mask_ = 0;
  const uint8_t* records_ = nullptr;
  FieldsReader fields_;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SEGMENT_READER_H_
