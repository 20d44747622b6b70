#include "index/fields.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace maxsim {
namespace {

constexpr uint64_t kPlace = 8;  // what columns are aligned to

constexpr uint64_t Up(uint64_t size) { return (size + (kPlace - 1)) & ~(kPlace - 1); }

uint32_t CodeWidth(uint32_t terms) { return terms <= 0xFF ? 1 : terms <= 0xFFFF ? 2 : 4; }

uint32_t WidthOf(FieldType type, uint32_t terms) {
  return type == FieldType::kKeyword ? CodeWidth(terms) : type == FieldType::kNumber ? 8 : 1;
}

}  // namespace

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

// --- reading
// ----------------------------------------------------------------------------------------

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
    for (const uint64_t end = std::min<uint64_t>(Up(at_), section_.size()); at_ < end; at_++) {
      if (section_[at_] != 0) return Fail(at_, "padding that is not 0");
    }
    return at_ % kPlace == 0 || Fail(at_, "the section ends within padding");
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
                      (keyword || entry.terms == 0) && entry.width == WidthOf(type, entry.terms) &&
                      entry.terms <= entry.values &&
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

// --- writing
// ----------------------------------------------------------------------------------------

FieldsWriter::FieldsWriter(std::vector<Field> fields)
    : fields_(std::move(fields)), values_(fields_.size()), pending_(fields_.size()) {}

uint32_t FieldsWriter::Intern(size_t column, std::string_view term) {
  Values& values = values_[column];
  const auto [found, fresh] =
      values.known.try_emplace(std::string(term), static_cast<uint32_t>(values.names.size()));
  if (fresh) values.names.push_back(&found->first);
  return found->second;
}

void FieldsWriter::AddNumber(size_t column, double number) {
  values_[column].numbers.push_back(number == 0 ? 0 : number);  // no -0
}

void FieldsWriter::AddBoolean(size_t column, bool value) { pending_[column] |= value ? 2 : 1; }

void FieldsWriter::EndDocument() {
  for (size_t i = 0; i < fields_.size(); i++) {
    Values& values = values_[i];
    if (fields_[i].type == FieldType::kBoolean) {
      values.booleans.push_back(pending_[i]);
      pending_[i] = 0;
      continue;
    }
    const auto begin = static_cast<std::ptrdiff_t>(values.ends.empty() ? 0 : values.ends.back());
    if (fields_[i].type == FieldType::kKeyword) {
      std::sort(values.terms.begin() + begin, values.terms.end());
      values.terms.erase(std::unique(values.terms.begin() + begin, values.terms.end()),
                         values.terms.end());
      values.ends.push_back(values.terms.size());
    } else {
      std::sort(values.numbers.begin() + begin, values.numbers.end());
      values.numbers.erase(std::unique(values.numbers.begin() + begin, values.numbers.end()),
                           values.numbers.end());
      values.ends.push_back(values.numbers.size());
    }
  }
  documents_++;
}

void FieldsWriter::Copy(const FieldsReader& from, uint32_t ordinal, TermMap* codes) {
  constexpr uint32_t kUnseen = 0xFFFFFFFF;
  codes->resize(fields_.size());
  for (size_t i = 0; i < fields_.size(); i++) {
    const Column& column = from.columns()[i];
    if (column.field.type == FieldType::kBoolean) {
      pending_[i] = column.values[ordinal];
      continue;
    }
    const uint64_t begin = column.multiple ? column.starts[ordinal] : ordinal;
    const uint64_t end = column.multiple ? column.starts[ordinal + 1] : ordinal + uint64_t{1};
    for (uint64_t place = begin; place < end; place++) {
      if (column.field.type == FieldType::kNumber) {
        if (!std::isnan(column.Number(place))) AddNumber(i, column.Number(place));
        continue;
      }
      const uint32_t code = column.Code(place);
      if (code == 0) continue;
      std::vector<uint32_t>& known = (*codes)[i];
      if (known.empty()) known.assign(column.terms + size_t{1}, kUnseen);
      if (known[code] == kUnseen) known[code] = Intern(i, column.Term(code));
      AddTerm(i, known[code]);
    }
  }
  EndDocument();
}

namespace {

void Append(std::vector<uint8_t>* section, const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  section->insert(section->end(), bytes, bytes + size);
}

void Align(std::vector<uint8_t>* section) { section->resize(Up(section->size())); }

template <typename T>
void AppendAs(std::vector<uint8_t>* section, const std::vector<uint32_t>& codes) {
  const std::vector<T> narrow(codes.begin(), codes.end());
  Append(section, narrow.data(), narrow.size() * sizeof(T));
}

void AppendCodes(std::vector<uint8_t>* section, const std::vector<uint32_t>& codes,
                 uint32_t width) {
  if (width == 1) AppendAs<uint8_t>(section, codes);
  if (width == 2) AppendAs<uint16_t>(section, codes);
  if (width == 4) AppendAs<uint32_t>(section, codes);
}

// One value per document where none has several: `flat` holds those that are there.
template <typename T>
std::vector<T> OnePerDocument(const std::vector<T>& flat, const std::vector<uint64_t>& ends,
                              T none) {
  std::vector<T> values(ends.size(), none);
  for (size_t i = 0; i < ends.size(); i++) {
    if (ends[i] > (i == 0 ? 0 : ends[i - 1])) values[i] = flat[ends[i] - 1];
  }
  return values;
}

bool HasSeveral(const std::vector<uint64_t>& ends) {
  for (size_t i = 0; i < ends.size(); i++) {
    if (ends[i] - (i == 0 ? 0 : ends[i - 1]) > 1) return true;
  }
  return false;
}

}  // namespace

Status FieldsWriter::Finish(std::vector<uint8_t>* section) const {
  section->clear();
  if (fields_.empty()) return Status::Ok();
  const FieldsHeader header{static_cast<uint32_t>(fields_.size()), 0};
  Append(section, &header, sizeof(header));
  const size_t table = section->size();
  std::vector<ColumnEntry> entries(fields_.size());
  section->resize(table + entries.size() * sizeof(ColumnEntry));
  for (const Field& field : fields_) Append(section, field.name.data(), field.name.size());
  Align(section);
  for (size_t i = 0; i < fields_.size(); i++) {
    const Field& field = fields_[i];
    const Values& values = values_[i];
    ColumnEntry& entry = entries[i];
    const bool multiple = HasSeveral(values.ends);
    const uint64_t flat = values.ends.empty() ? documents_ : values.ends.back();
    // Sorted: a code is a rank, so that a range of terms is a range of codes.
    std::vector<uint32_t> order(values.names.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](uint32_t a, uint32_t b) { return *values.names[a] < *values.names[b]; });
    uint64_t term_bytes = 0;
    for (const std::string* name : values.names) term_bytes += name->size();
    if ((multiple && flat > UINT32_MAX) || term_bytes > UINT32_MAX) {
      return Status::Error("INVALID_ARGUMENT",
                           "field \"%s\" has more values than fit into one segment.",
                           field.name.c_str());
    }
    const auto terms = static_cast<uint32_t>(order.size());
    entry = {static_cast<uint32_t>(field.type),
             multiple ? 1u : 0u,
             static_cast<uint32_t>(field.name.size()),
             WidthOf(field.type, terms),
             section->size(),
             multiple ? flat : documents_,
             terms,
             0};
    if (multiple) {
      std::vector<uint32_t> starts(1);
      starts.insert(starts.end(), values.ends.begin(), values.ends.end());
      Append(section, starts.data(), starts.size() * sizeof(uint32_t));
      Align(section);
    }
    if (field.type == FieldType::kBoolean) {
      Append(section, values.booleans.data(), values.booleans.size());
    } else if (field.type == FieldType::kNumber) {
      const std::vector<double> numbers =
          multiple ? values.numbers
                   : OnePerDocument(values.numbers, values.ends,
                                    std::numeric_limits<double>::quiet_NaN());
      Append(section, numbers.data(), numbers.size() * sizeof(double));
    } else {
      std::vector<uint32_t> codes(terms);
      for (uint32_t rank = 0; rank < terms; rank++) codes[order[rank]] = rank + 1;
      std::vector<uint32_t> flat_codes(values.terms.size());
      for (size_t v = 0; v < flat_codes.size(); v++) flat_codes[v] = codes[values.terms[v]];
      uint64_t begin = 0;
      for (const uint64_t end : values.ends) {
        std::sort(flat_codes.begin() + static_cast<std::ptrdiff_t>(begin),
                  flat_codes.begin() + static_cast<std::ptrdiff_t>(end));
        begin = end;
      }
      AppendCodes(section,
                  multiple ? flat_codes : OnePerDocument<uint32_t>(flat_codes, values.ends, 0),
                  entry.width);
    }
    Align(section);
    if (field.type != FieldType::kKeyword) continue;
    std::vector<uint32_t> term_starts(1);
    for (const uint32_t term : order) {
      term_starts.push_back(term_starts.back() + static_cast<uint32_t>(values.names[term]->size()));
    }
    Append(section, term_starts.data(), term_starts.size() * sizeof(uint32_t));
    for (const uint32_t term : order) {
      Append(section, values.names[term]->data(), values.names[term]->size());
    }
    Align(section);
  }
  std::memcpy(section->data() + table, entries.data(), entries.size() * sizeof(ColumnEntry));
  return Status::Ok();
}

}  // namespace maxsim
