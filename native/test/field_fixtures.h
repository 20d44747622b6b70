// What the tests of fields and filters share: documents with random values, and their columns.
#ifndef MAXSIM_TEST_FIELD_FIXTURES_H_
#define MAXSIM_TEST_FIELD_FIXTURES_H_

#include <set>
#include <string>
#include <vector>

#include "fixtures.h"
#include "index/fields.h"

namespace maxsim {

// The values of one document, by field; a field has values of its own type alone.
struct FieldValues {
  std::set<std::string> keywords;
  std::set<double> numbers;
  std::set<bool> booleans;
  bool operator==(const FieldValues&) const = default;
};
using FieldDocument = std::vector<FieldValues>;

inline const std::vector<Field> kTestFields = {{"lang", FieldType::kKeyword},
                                               {"tags", FieldType::kKeyword},
                                               {"year", FieldType::kNumber},
                                               {"prices", FieldType::kNumber},
                                               {"draft", FieldType::kBoolean}};

// Few values, so that they meet; `tags` and `prices` have up to three.
inline FieldDocument RandomFields(Noise& noise, size_t terms) {
  const auto below = [&](size_t n) { return static_cast<size_t>(noise.Next() >> 33) % n; };
  const auto term = [&] {
    const size_t number = below(terms);
    return number == 0 ? std::string() : std::string(1 + number % 2, 'a') + std::to_string(number);
  };
  FieldDocument document(kTestFields.size());
  if (below(4) != 0) document[0].keywords.insert(term());
  for (size_t n = below(4); n > 0; n--) document[1].keywords.insert(term());
  if (below(4) != 0) document[2].numbers.insert(static_cast<double>(below(20)) - 10);
  for (size_t n = below(4); n > 0; n--)
    document[3].numbers.insert(static_cast<double>(below(8)) / 4);
  for (size_t n = below(3); n > 0; n--) document[4].booleans.insert(below(2) == 1);
  return document;
}

inline void AddTo(FieldsWriter& writer, const FieldDocument& document) {
  for (size_t i = 0; i < document.size(); i++) {
    for (const std::string& keyword : document[i].keywords) writer.AddKeyword(i, keyword);
    for (const double number : document[i].numbers) writer.AddNumber(i, number);
    for (const bool value : document[i].booleans) writer.AddBoolean(i, value);
  }
  writer.EndDocument();
}

inline FieldsWriter WriterOf(const std::vector<FieldDocument>& documents) {
  FieldsWriter writer(kTestFields);
  for (const FieldDocument& document : documents) AddTo(writer, document);
  return writer;
}

// What a reader's columns say about a document.
inline FieldDocument ReadFields(const FieldsReader& reader, uint32_t ordinal) {
  FieldDocument document;
  for (const Column& column : reader.columns()) {
    FieldValues& values = document.emplace_back();
    if (column.field.type == FieldType::kBoolean) {
      if (column.values[ordinal] & 1) values.booleans.insert(false);
      if (column.values[ordinal] & 2) values.booleans.insert(true);
      continue;
    }
    const uint64_t begin = column.multiple ? column.starts[ordinal] : ordinal;
    const uint64_t end = column.multiple ? column.starts[ordinal + 1] : ordinal + uint64_t{1};
    for (uint64_t place = begin; place < end; place++) {
      if (column.field.type == FieldType::kNumber) {
        if (column.Number(place) == column.Number(place))
          values.numbers.insert(column.Number(place));
      } else if (column.Code(place) != 0) {
        values.keywords.insert(std::string(column.Term(column.Code(place))));
      }
    }
  }
  return document;
}

}  // namespace maxsim

#endif  // MAXSIM_TEST_FIELD_FIXTURES_H_
