// A segment file, mapped. Open proves its header and tables whole, so that every accessor is plain
// pointer arithmetic that cannot leave the file; token blocks and records are proven when they are
// first used, or at open if asked. Immutable to its users, and thread-safe.
#ifndef MAXSIM_INDEX_SEGMENT_READER_H_
#define MAXSIM_INDEX_SEGMENT_READER_H_

#include <atomic>
#include <cstdint>
#include <functional>
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

struct ReadOptions {
  // When token blocks and records are compared with their checksums.
  enum class Verify { kOnUse, kAtOpen };
  // kMapped: pages come in when they are touched. kPopulated: all of them while the segment is
  // opened. kHugePages: tokens are copied into memory of this process, in huge pages, and verified.
  enum class Memory { kMapped, kPopulated, kHugePages };

  Verify verify = Verify::kOnUse;
  Memory memory = Memory::kMapped;
  // Smaller files are verified at open in any case.
  uint64_t verify_up_to = 0;
};

class SegmentReader {
 public:
  static constexpr uint32_t kUnknown = 0xFFFFFFFF;

  // Checks sizes, bounds, canonical layout and the checksums of header and tables. CORRUPT_INDEX
  // names file, section, offset, what was found and what was expected; UNSUPPORTED_FORMAT a newer
  // version; IO_ERROR the operating system's reason (`*missing`: there is no such file).
  static Status Open(const std::string& path, const SegmentExpectation& expected,
                     const ReadOptions& options, std::shared_ptr<const SegmentReader>* segment,
                     bool* missing = nullptr);
  // The same of a file that is mapped already, and may have lost its name meanwhile.
  static Status Open(std::unique_ptr<MappedFile> file, const SegmentExpectation& expected,
                     const ReadOptions& options, std::shared_ptr<const SegmentReader>* segment);

  const std::string& path() const { return file_->path(); }
  const SegmentHeader& header() const { return header_; }
  // As the manifest has it, and the file's header confirms.
  const VectorFormat& format() const { return format_; }
  uint32_t document_count() const { return static_cast<uint32_t>(header_.document_count); }
  uint64_t token_count() const { return header_.token_count; }

  // Ordinals are < document_count(); the caller has checked.
  std::string_view Id(uint32_t ordinal) const {
    const DocumentEntry& entry = documents_[ordinal];
    return {ids_ + entry.id_offset(), entry.id_size()};
  }
  uint32_t TokenCount(uint32_t ordinal) const { return documents_[ordinal].token_count(); }

  // The document's tokens; CORRUPT_INDEX when they are not what was written.
  Status Tokens(uint32_t ordinal, MaxsimDocument* document) const {
    const DocumentEntry& entry = documents_[ordinal];
    *document = {tokens_ + entry.tokens_offset(), entry.token_count()};
    return IsVerified(ordinal) ? Status::Ok() : VerifyTokens(ordinal);
  }
  // Verified each time: records are small, and read for few documents.
  Status Record(uint32_t ordinal, std::span<const uint8_t>* record) const;

  // What documents can be filtered by.
  const FieldsReader& fields() const { return fields_; }

  // `hash` is HashId(id, header().id_hash_seed). The ordinal, or kUnknown.
  uint32_t Find(std::string_view id, uint64_t hash) const;

 private:
  explicit SegmentReader(std::unique_ptr<MappedFile> file);

  bool IsVerified(uint32_t ordinal) const {
    return (verified_[ordinal >> 6].load(std::memory_order_acquire) >> (ordinal & 63)) & 1;
  }
  Status VerifyTokens(uint32_t ordinal) const;

  // What Open proves, in this order; segment_validation.cpp.
  Status Validate(const SegmentExpectation& expected);
  Status ValidateHeader(const SegmentExpectation& expected) const;
  Status ValidateSections() const;
  Status ValidateDocumentTable() const;
  Status ValidateIds() const;
  Status ValidateIdTable() const;
  Status ValidateDocuments() const;
  Status ValidateOwnIds() const;
  Status ValidateResiduals(uint32_t ordinal) const;
  Status OpenFields();
  Status ValidatePadding(const char* section, uint64_t begin, uint64_t end) const;
  // visit(offset in the section, bytes, size) for all of a section, piece by piece, in order.
  using Visit = std::function<Status(uint64_t, const uint8_t*, uint64_t)>;
  Status Walk(Section section, const Visit& visit) const;
  Status Corrupt(const char* section, uint64_t offset, const char* format, ...) const
      MAXSIM_PRINTF(4, 5);
  Status CopyTokens();

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
  std::unique_ptr<HugeBuffer> copied_;                 // of tokens, or none
  std::unique_ptr<std::atomic<uint64_t>[]> verified_;  // a bit per document
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SEGMENT_READER_H_
