// Any bytes as a section of fields, and any words as a filter over its columns: they are refused,
// or every document can be read and asked without harm.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "index/filter.h"

using namespace maxsim;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint32_t documents = 1 + data[0] % 100;
  const size_t words = std::min<size_t>(data[1], size - 2);
  const std::vector<uint32_t> ops(data + 2, data + 2 + words);
  // Of its own, so that a step beyond its end is noticed; allocations are aligned as sections are.
  const std::vector<uint8_t> section(data + 2 + words, data + size);
  FieldsReader reader;
  uint64_t offset = 0;
  std::string problem;
  if (!FieldsReader::Open(section, documents, &reader, &offset, &problem)) {
    if (problem.empty() || offset > section.size()) std::abort();
    return 0;
  }
  std::vector<Field> fields;
  FieldsWriter writer([&] {
    for (const Column& column : reader.columns()) fields.push_back(column.field);
    return fields;
  }());
  FieldsWriter::TermMap codes;
  for (uint32_t i = 0; i < documents; i++) writer.Copy(reader, i, &codes);
  std::vector<uint8_t> copy;
  if (!writer.Finish(&copy).ok()) std::abort();
  FieldsReader again;
  if (!FieldsReader::Open(copy, documents, &again, &offset, &problem)) std::abort();

  Filter filter;
  if (!Filter::Parse(fields, ops, std::vector<double>{1, 2}, {"a", "b"}, &filter).ok()) return 0;
  CompiledFilter one, other;
  if (!filter.Compile(reader, &one).ok() || !filter.Compile(again, &other).ok()) std::abort();
  Bitmap range, list;
  one.Evaluate(0, documents, &range);
  std::vector<uint32_t> ordinals(documents);
  for (uint32_t i = 0; i < documents; i++) ordinals[i] = i;
  other.Evaluate(ordinals, &list);
  if (range != list) std::abort();
  return 0;
}
