// The values that documents can be filtered by, column by column: the fields section of a segment,
// as docs/format.md describes it. A writer collects values document by document; a reader is a view
// of a validated section.
#ifndef MAXSIM_INDEX_FIELDS_H_
#define MAXSIM_INDEX_FIELDS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "platform/status.h"

namespace maxsim {

enum class FieldType : uint32_t { kKeyword = 1, kNumber = 2, kBoolean = 3 };

// "keyword", "number", "boolean"; null for what is no type.
const char* FieldTypeName(FieldType type);
bool FieldTypeOf(std::string_view name, FieldType* type);

struct Field {
  std::string name;  // 1 to kMaxFieldNameBytes bytes
  FieldType type;
  bool operator==(const Field&) const = default;
};

inline constexpr size_t kMaxFields = 65;  // 64 of the user's, and the tenant
inline constexpr size_t kMaxFieldNameBytes = 64;
inline constexpr size_t kMaxKeywordBytes = 512;

struct FieldsHeader {
  uint32_t column_count;
  uint32_t reserved;
};

struct ColumnEntry {
  uint32_t type;       // FieldType
  uint32_t multiple;   // 1: some document has several values
  uint32_t name_size;  // bytes
  uint32_t width;   // of a value: keyword codes 1, 2 or 4, the least that holds `terms`; number 8;
                    // boolean 1
  uint64_t offset;  // of the column within the section, multiple of 8
  uint64_t values;  // single: as many as documents
  uint32_t terms;   // distinct keywords; else 0
  uint32_t reserved;
};
static_assert(sizeof(FieldsHeader) == 8 && sizeof(ColumnEntry) == 40);

// What parts of a section are aligned to.
inline constexpr uint64_t AlignField(uint64_t size) { return (size + 7) & ~uint64_t{7}; }
// Bytes of a value; `terms` of a keyword column.
inline constexpr uint32_t ValueWidth(FieldType type, uint32_t terms) {
  if (type == FieldType::kNumber) return 8;
  return type == FieldType::kBoolean || terms <= 0xFF ? 1 : terms <= 0xFFFF ? 2 : 4;
}

// A column of a validated section. `code` of a keyword is its place among the sorted terms plus 1;
// 0 stands for no value, which single-valued columns alone have. A number that is not there is NaN.
// A boolean column holds a byte per document: 1 for a false, 2 for a true, 3 for both.
struct Column {
  Field field;
  bool multiple;
  uint32_t width;
  const uint32_t* starts;  // multiple: of the values of document i, with one more at the end
  const uint8_t* values;   // aligned to `width`
  uint32_t terms;
  const uint32_t* term_starts;  // keyword: terms + 1 of them
  const char* term_bytes;

  std::string_view Term(uint32_t code) const {  // 1..terms
    return {term_bytes + term_starts[code - 1], term_starts[code] - term_starts[code - 1]};
  }
  // The first code whose term is not less than `term` (or, with `after`, is greater); terms + 1
  // when there is none. Terms compare by bytes.
  uint32_t LowerBound(std::string_view term, bool after) const;
  uint32_t Code(uint64_t place) const;  // of a value
  double Number(uint64_t place) const { return reinterpret_cast<const double*>(values)[place]; }
};

class FieldsReader {
 public:
  // Proves the whole section before anything is read through it. On failure *problem says what is
  // wrong and *offset where, from the start of the section. An empty section has no columns.
  // `section` starts at a multiple of 8 in memory and must outlive the reader.
  static bool Open(std::span<const uint8_t> section, uint32_t document_count, FieldsReader* reader,
                   uint64_t* offset, std::string* problem);

  const std::vector<Column>& columns() const { return columns_; }

 private:
  std::vector<Column> columns_;
};

// Values of documents in their order. Which values a document has is a set: order and repetitions
// are not kept.
class FieldsWriter {
 public:
  explicit FieldsWriter(std::vector<Field> fields);
  FieldsWriter(FieldsWriter&&) = default;  // not copied: `names` points into `known`

  const std::vector<Field>& fields() const { return fields_; }
  // Values of the document under way, in the column of that number and type.
  void AddKeyword(size_t column, std::string_view term) { AddTerm(column, Intern(column, term)); }
  void AddNumber(size_t column, double number);  // finite
  void AddBoolean(size_t column, bool value);
  void EndDocument();
  // All values of one document of another segment, with the same fields; `codes` is what was
  // learned of that segment's terms, empty before its first document.
  using TermMap = std::vector<std::vector<uint32_t>>;
  void Copy(const FieldsReader& from, uint32_t ordinal, TermMap* codes);

  // The section; empty when there are no fields. INVALID_ARGUMENT when a column has more than
  // 2^32 - 1 values or bytes of terms.
  Status Finish(std::vector<uint8_t>* section) const;

 private:
  struct Values {
    std::vector<uint64_t> ends;  // of each document's values
    std::vector<uint32_t> terms;
    std::vector<double> numbers;
    std::vector<uint8_t> booleans;  // one per document
    std::unordered_map<std::string, uint32_t> known;
    std::vector<const std::string*> names;  // of the terms, by number
  };

  uint32_t Intern(size_t column, std::string_view term);
  void AddTerm(size_t column, uint32_t term) { values_[column].terms.push_back(term); }

  std::vector<Field> fields_;
  std::vector<Values> values_;
  uint64_t documents_ = 0;
  std::vector<uint8_t> pending_;  // booleans of the document under way
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_FIELDS_H_
