#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "index/fields.h"

namespace maxsim {

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

void Align(std::vector<uint8_t>* section) { section->resize(AlignField(section->size())); }

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
             ValueWidth(field.type, terms),
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
