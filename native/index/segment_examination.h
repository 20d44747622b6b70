// One segment file, read by somebody who expects damage. SegmentReader stops at the first wrong
// byte; this goes on, says all that is wrong, puts right what the checksums can put right, in
// memory alone, and knows which documents are whole.
#ifndef MAXSIM_INDEX_SEGMENT_EXAMINATION_H_
#define MAXSIM_INDEX_SEGMENT_EXAMINATION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/fields.h"
#include "index/segment_reader.h"
#include "index/segment_writer.h"
#include "index/snapshot.h"
#include "platform/mapped_file.h"
#include "platform/status.h"

namespace maxsim {

// How what is wrong can be put right.
enum class Remedy {
  kFlippedBit,  // its checksum says which bit it is
  kRewritten,   // it follows from what is whole, and is made anew with the segment
  kNone,        // what it held is lost
};

struct SegmentProblem {
  const char* section;  // one of kSectionNames, "header", "second header", "file"
  uint64_t offset;      // in the file
  uint64_t size;        // bytes that are wrong, or among which some are
  std::string message;  // what is wrong, without file and offset
  Remedy remedy;
  uint32_t first_document = 0, documents = 0;  // ordinals that it touches
};

namespace examination {

std::string Text(const char* format, ...) MAXSIM_PRINTF(1, 2);

inline void Flip(uint8_t* bytes, uint64_t bit) {
  bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ (1u << (bit % 8)));
}

}  // namespace examination

class SegmentExamination {
 public:
  // Reads all of it. Damage is no failure, nor is a file that is not there. Fails with IO_ERROR
  // (the file cannot be opened or mapped), UNSUPPORTED_FORMAT (a newer version, undamaged),
  // ABORTED.
  static Status Run(const std::string& path, const SegmentExpectation& expected,
                    const Limits& limits, std::unique_ptr<SegmentExamination>* examination);

  // By offset.
  const std::vector<SegmentProblem>& problems() const { return problems_; }
  uint64_t file_size() const { return file_ == nullptr ? 0 : file_->file_size(); }
  const SegmentExpectation& expected() const { return expected_; }
  // Of documents and ids, tokens and records, after what could be put right was.
  bool IsWhole(uint32_t ordinal) const { return states_[ordinal] == State::kWhole; }
  // Whether documents can be filtered by what is stored; else their fields are to be given anew.
  bool HasFields() const { return fields_whole_; }
  // Of a whole document.
  std::span<const uint8_t> Record(uint32_t ordinal) const;
  // Of any document, if it is known for sure.
  std::optional<std::string_view> Id(uint32_t ordinal) const;

 private:
  friend class SalvagedDocuments;
  enum class State : uint8_t { kWhole, kLost, kLostWithId };
  // A document that is not whole as it stands.
  struct Damage;

  explicit SegmentExamination(const SegmentExpectation& expected) : expected_(expected) {}

  Status Examine(const std::string& path, const Limits& limits);
  Status FindHeader(bool* found);
  bool HasPlausibleLayout() const;
  void ExamineUnreadable(const std::vector<MappedFile::Extent>& unreadable);
  void ExaminePadding(const char* section, uint64_t begin, uint64_t end);
  void ExamineDocumentTable();
  void ExamineIds();
  void ExamineIdTable();
  void ExamineFields();
  Status ExamineDocuments(const Limits& limits);
  void Judge(uint32_t ordinal, std::vector<Damage>* damaged) const;
  void Mend(const Damage& damage);
  void ExamineRepeats();

  bool RebuildDocumentTable();
  bool IsCanonicalTable() const;
  bool IsBetweenNeighbours(uint32_t ordinal) const;
  bool IsInBounds(const DocumentEntry& entry) const;
  bool HasPossibleResiduals(const DocumentEntry& entry) const;
  bool HasPlausibleTokens(const DocumentEntry& entry) const;
  uint32_t TokensCrc(const DocumentEntry& entry) const;
  uint32_t RecordCrc(const DocumentEntry& entry) const;
  DocumentEntry Entry(uint32_t ordinal) const;
  const uint8_t* At(Section section, uint64_t offset = 0) const;
  uint64_t SectionOffset(Section section) const { return header_.sections[section].offset; }
  uint64_t TokensSize(const DocumentEntry& entry) const;

  void Add(const char* section, uint64_t offset, uint64_t size, Remedy remedy, std::string message);
  static constexpr uint32_t kNoDocument = 0xFFFFFFFF;
  void AddBit(const char* section, uint64_t offset, unsigned bit, uint32_t ordinal = kNoDocument);
  void LoseAll();
  void Lose(Section section, uint32_t ordinal, uint64_t offset, uint64_t size);

  SegmentExpectation expected_;
  std::unique_ptr<MappedFile> file_;  // null: there is none
  SegmentHeader header_{};            // the right one
  bool readable_ = false;             // header_ is there, and fits the file
  bool table_whole_ = false, ids_whole_ = false, fields_whole_ = false;
  FieldsReader fields_;
  std::vector<State> states_;
  std::vector<SegmentProblem> problems_;
};

// What is whole of a segment, to be written as a new one.
class SalvagedDocuments : public DocumentSource {
 public:
  // Ordinals are whole, in ascending order. `fields` stand in for those of the segment, and are
  // required where these are not whole. The examination must outlive this.
  SalvagedDocuments(const SegmentExamination& examination, std::vector<uint32_t> ordinals,
                    const FieldsWriter* fields = nullptr)
      : examination_(examination), ordinals_(std::move(ordinals)), fields_(fields) {}

  size_t document_count() const override { return ordinals_.size(); }
  std::string_view Id(size_t document) const override;
  std::span<const uint8_t> Record(size_t document) const override;
  uint32_t TokenCount(size_t document) const override;
  std::span<const uint8_t> Tokens(size_t document) override;
  Status Fields(std::vector<uint8_t>* section) const override;
  EncodedTokens encoded() const override;

 private:
  const SegmentExamination& examination_;
  std::vector<uint32_t> ordinals_;
  const FieldsWriter* fields_;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SEGMENT_EXAMINATION_H_
