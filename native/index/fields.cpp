#include "index/fields.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace maxsim {

const char* FieldTypeName(FieldType type) {
  switch (type) {
    case FieldType::kKeyword:
      return "keyword";
    case FieldType::kNumber:
      return "number";
    case FieldType::kBoolean:
      return "boolean";
  }
  return nullptr;
}

bool FieldTypeOf(std::string_view name, FieldType* type) {
  for (const FieldType one : {FieldType::kKeyword, FieldType::kNumber, FieldType::kBoolean}) {
    if (name != FieldTypeName(one)) continue;
    *type = one;
    return true;
  }
  return false;
}

uint32_t Column::LowerBound(std::string_view term, bool after) const {
  uint32_t first = 1, count = terms;
  while (count > 0) {
    const uint32_t half = count / 2;
    const std::string_view one = Term(first + half);
    if (after ? one <= term : one < term) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

uint32_t Column::Code(uint64_t place) const {
  if (width == 1) return values[place];
  if (width == 2) return reinterpret_cast<const uint16_t*>(values)[place];
  return reinterpret_cast<const uint32_t*>(values)[place];
}

namespace {

// Walks over a section; every step either moves within it or notes what is wrong.
class Walk {
 public:
  Walk(std::span<const uint8_t> section, uint64_t* offset, std::string* problem)
      : section_(section), offset_(offset), problem_(problem) {}

  bool Fail(uint64_t at, std::string what) {
    *offset_ = at;
    *problem_ = std::move(what);
    return false;
  }

  // The next `size` bytes; null, and noted, where there are fewer.
  const uint8_t* Take(uint64_t size) {
    if (size > section_.size() - at_) {
      Fail(at_, std::to_string(size) + " bytes expected, " + std::to_string(section_.size() - at_) +
                    " left");
      return nullptr;
    }
    const uint8_t* bytes = section_.data() + at_;
    at_ += size;
    return bytes;
  }

  // Zeros up to the next multiple of 8.
  bool Align() {
    for (const uint64_t end = std::min<uint64_t>(AlignField(at_), section_.size()); at_ < end;
         at_++) {
      if (section_[at_] != 0) return Fail(at_, "padding that is not 0");
    }
    return at_ % 8 == 0 || Fail(at_, "the section ends within padding");
  }

  uint64_t at() const { return at_; }
  bool AtEnd() const { return at_ == section_.size(); }

 private:
  std::span<const uint8_t> section_;
  uint64_t at_ = 0;
  uint64_t* offset_;
  std::string* problem_;
};

// Offsets that begin with 0, do not descend and end with `total`.
bool AreStarts(const uint32_t* starts, uint64_t count, uint64_t total) {
  if (starts[0] != 0 || starts[count] != total) return false;
  for (uint64_t i = 0; i < count; i++) {
    if (starts[i] > starts[i + 1]) return false;
  }
  return true;
}

bool OpenTerms(Walk& walk, Column* column) {
  const uint64_t at = walk.at();
  const uint8_t* starts = walk.Take((uint64_t{column->terms} + 1) * sizeof(uint32_t));
  if (starts == nullptr) return false;
  column->term_starts = reinterpret_cast<const uint32_t*>(starts);
  const uint32_t size = column->term_starts[column->terms];
  if (!AreStarts(column->term_starts, column->terms, size)) {
    return walk.Fail(at, "places of terms that descend");
  }
  const uint8_t* bytes = walk.Take(size);
  if (bytes == nullptr) return false;
  column->term_bytes = reinterpret_cast<const char*>(bytes);
  for (uint32_t code = 1; code <= column->terms; code++) {
    const bool sorted = code == 1 || column->Term(code - 1) < column->Term(code);
    if (sorted && column->Term(code).size() <= kMaxKeywordBytes) continue;
    return walk.Fail(at, "term " + std::to_string(code - 1) +
                             (sorted ? " is too long" : " is not greater than the one before"));
  }
  return walk.Align();
}

bool IsNoNumber(double number) {
  return std::bit_cast<uint64_t>(number) ==
         std::bit_cast<uint64_t>(std::numeric_limits<double>::quiet_NaN());
}

// Each value is one that the column can hold, and those of a document ascend.
bool CheckValues(Walk& walk, uint64_t at, const Column& column, uint64_t count) {
  const auto fail = [&](uint64_t place) {
    return walk.Fail(at + place * column.width, "value " + std::to_string(place) + " of field \"" +
                                                    column.field.name + "\" is none");
  };
  const uint32_t least = column.multiple ? 1 : 0;
  for (uint64_t i = 0; i < count; i++) {
    if (column.field.type == FieldType::kKeyword) {
      const uint32_t code = column.Code(i);
      if (code < least || code > column.terms) return fail(i);
    } else if (column.field.type == FieldType::kNumber) {
      const double number = column.Number(i);
      if (!std::isfinite(number) && (column.multiple || !IsNoNumber(number))) return fail(i);
    } else if (column.values[i] > 3) {
      return fail(i);
    }
  }
  return true;
}

bool CheckOrder(Walk& walk, uint64_t at, const Column& column, uint32_t documents) {
  for (uint32_t i = 0; i < documents; i++) {
    for (uint64_t place = column.starts[i] + uint64_t{1}; place < column.starts[i + 1]; place++) {
      const bool ascends = column.field.type == FieldType::kKeyword
                               ? column.Code(place - 1) < column.Code(place)
                               : column.Number(place - 1) < column.Number(place);
      if (ascends) continue;
      return walk.Fail(at, "values of document " + std::to_string(i) + " do not ascend");
    }
  }
  return true;
}

bool OpenColumn(Walk& walk, const ColumnEntry& entry, uint32_t documents, Column* column) {
  if (entry.offset != walk.at()) {
    return walk.Fail(walk.at(), "a column at " + std::to_string(entry.offset) + " is listed");
  }
  if (column->multiple) {
    const uint64_t at = walk.at();
    const uint8_t* starts = walk.Take((uint64_t{documents} + 1) * sizeof(uint32_t));
    if (starts == nullptr) return false;
    column->starts = reinterpret_cast<const uint32_t*>(starts);
    if (!AreStarts(column->starts, documents, entry.values)) {
      return walk.Fail(at, "places of values that descend");
    }
    if (!walk.Align()) return false;
  }
  const uint64_t at = walk.at();
  column->values = walk.Take(entry.values * column->width);  // at most 2^32 values of 8 bytes
  if (column->values == nullptr || !walk.Align() || !CheckValues(walk, at, *column, entry.values)) {
    return false;
  }
  if (column->multiple && !CheckOrder(walk, at, *column, documents)) return false;
  return column->field.type != FieldType::kKeyword || OpenTerms(walk, column);
}

}  // namespace

bool FieldsReader::Open(std::span<const uint8_t> section, uint32_t document_count,
                        FieldsReader* reader, uint64_t* offset, std::string* problem) {
  reader->columns_.clear();
  if (section.empty()) return true;
  Walk walk(section, offset, problem);
  FieldsHeader header;
  const uint8_t* bytes = walk.Take(sizeof(header));
  if (bytes == nullptr) return false;
  std::memcpy(&header, bytes, sizeof(header));
  if (header.column_count == 0 || header.column_count > kMaxFields || header.reserved != 0) {
    return walk.Fail(0, std::to_string(header.column_count) + " columns, expected 1 to " +
                            std::to_string(kMaxFields));
  }
  const uint64_t table = walk.at();
  std::vector<ColumnEntry> entries(header.column_count);
  bytes = walk.Take(entries.size() * sizeof(ColumnEntry));
  if (bytes == nullptr) return false;
  std::memcpy(entries.data(), bytes, entries.size() * sizeof(ColumnEntry));
  std::vector<Column> columns;
  for (size_t i = 0; i < entries.size(); i++) {
    const ColumnEntry& entry = entries[i];
    const auto type = static_cast<FieldType>(entry.type);
    const bool keyword = type == FieldType::kKeyword, multiple = entry.multiple == 1;
    const bool fits = FieldTypeName(type) != nullptr && entry.name_size >= 1 &&
                      entry.name_size <= kMaxFieldNameBytes && entry.reserved == 0 &&
                      entry.multiple <= (type == FieldType::kBoolean ? 0 : 1) &&
                      (keyword || entry.terms == 0) &&
                      entry.width == ValueWidth(type, entry.terms) && entry.terms <= entry.values &&
                      (multiple ? entry.values <= UINT32_MAX : entry.values == document_count);
    if (!fits) {
      return walk.Fail(table + i * sizeof(ColumnEntry),
                       "column " + std::to_string(i) + " has an entry of another shape");
    }
    const uint8_t* name = walk.Take(entry.name_size);
    if (name == nullptr) return false;
    columns.push_back({{std::string(reinterpret_cast<const char*>(name), entry.name_size), type},
                       multiple,
                       entry.width,
                       nullptr,
                       nullptr,
                       entry.terms,
                       nullptr,
                       nullptr});
  }
  if (!walk.Align()) return false;
  for (size_t i = 0; i < entries.size(); i++) {
    if (!OpenColumn(walk, entries[i], document_count, &columns[i])) return false;
  }
  if (!walk.AtEnd()) return walk.Fail(walk.at(), "bytes behind the last column");
  reader->columns_ = std::move(columns);
  return true;
}

}  // namespace maxsim
