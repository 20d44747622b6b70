#include "addon/filter.h"

#include <cmath>

#include "addon/convert.h"

namespace maxsim::addon {
namespace {

constexpr napi_type_tag kFilterTag = {0x6d617873696d0005, 0x66696c7465720005};

bool Refuse(Napi::Env env, const Status& status) {
  Throw(env, status);
  return false;
}

}  // namespace

bool GivenFields::ReadField(const Napi::Value& value, const Field& field, uint32_t documents,
                            Values* values) {
  const Napi::Env env = value.Env();
  const Napi::Object object = value.As<Napi::Object>();
  const Napi::Value counts = PropertyOf(object, "counts"), given = PropertyOf(object, "values");
  if (env.IsExceptionPending()) return false;
  if (field.type == FieldType::kKeyword) {
    Napi::Array keywords;
    if (!ToArray(given, "values", &keywords)) return false;
    const uint32_t count = keywords.Length();
    for (uint32_t i = 0; i < count; i++) {
      const Napi::HandleScope scope(env);
      if (ToKeyword(PropertyOf(keywords, i), &values->keywords.emplace_back())) continue;
      return Refuse(env, Status::Error("INVALID_ARGUMENT",
                                       "field \"%s\" must hold at most %zu bytes of well-formed "
                                       "text.",
                                       field.name.c_str(), kMaxKeywordBytes));
    }
  } else if (field.type == FieldType::kNumber) {
    std::span<const double> numbers;
    if (!ToDoubles(given, "values", &numbers)) return false;
    values->numbers.assign(numbers.begin(), numbers.end());
    for (const double number : values->numbers) {
      if (std::isfinite(number)) continue;
      return Refuse(env, Status::Error("INVALID_ARGUMENT", "field \"%s\" must hold finite numbers.",
                                       field.name.c_str()));
    }
  } else {
    std::span<const uint8_t> booleans;
    if (!ToBytes(given, "values", &booleans)) return false;
    values->booleans.assign(booleans.begin(), booleans.end());
  }
  std::span<const uint32_t> lengths;
  if (!ToUint32s(counts, "counts", &lengths)) return false;
  values->counts.assign(lengths.begin(), lengths.end());
  uint64_t total = 0;
  for (const uint32_t count : values->counts) total += count;
  if (values->counts.size() == documents && total == values->size()) return true;
  return Refuse(env, Status::Error("INVALID_ARGUMENT",
                                   "field \"%s\" must have a count for each of %u documents that "
                                   "add up to its %zu values.",
                                   field.name.c_str(), documents, values->size()));
}

FilterObject::FilterObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FilterObject>(info) {
  const Napi::Env env = info.Env();
  std::vector<Field> fields;
  Napi::Array list;
  if (!ToFields(info[0], &fields) || !ToArray(info[3], "keywords", &list)) return;
  std::vector<std::string> keywords;
  const uint32_t count = list.Length();
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    if (i < kMaxFilterValues && ToKeyword(PropertyOf(list, i), &keywords.emplace_back())) continue;
    Throw(env, Status::Error("INVALID_ARGUMENT",
                             "keywords must be at most %zu, each of at most %zu bytes of "
                             "well-formed text.",
                             kMaxFilterValues, kMaxKeywordBytes));
    return;
  }
  std::span<const uint32_t> ops;
  std::span<const double> numbers;
  if (!ToUint32s(info[1], "ops", &ops) || !ToDoubles(info[2], "numbers", &numbers)) return;
  // Copies first: a SharedArrayBuffer may change between check and use.
  const std::vector<uint32_t> tree(ops.begin(), ops.end());
  const std::vector<double> values(numbers.begin(), numbers.end());
  auto filter = std::make_shared<Filter>();
  const Status status =
      Filter::Parse(std::move(fields), tree, values, std::move(keywords), filter.get());
  if (!status.ok()) {
    Throw(env, status);
    return;
  }
  filter_ = std::move(filter);
  info.This().As<Napi::Object>().TypeTag(&kFilterTag);
}

bool ToFilter(const Napi::Value& value, std::shared_ptr<const Filter>* filter) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kFilterTag)) {
    return Refuse(value.Env(), Status::Error("INVALID_ARGUMENT", "filter must be a Filter."));
  }
  *filter = FilterObject::Unwrap(value.As<Napi::Object>())->filter_;
  return true;
}

bool GivenFields::Read(const Napi::Value& value, uint32_t documents) {
  documents_ = documents;
  if (value.IsUndefined()) return true;
  if (!ToFields(value, &fields_)) return false;
  const Napi::Array list = value.As<Napi::Array>();
  values_.resize(fields_.size());
  for (uint32_t i = 0; i < fields_.size(); i++) {
    const Napi::HandleScope scope(value.Env());
    const Napi::Value entry = PropertyOf(list, i);
    if (value.Env().IsExceptionPending()) return false;
    if (!entry.IsObject()) {
      return Refuse(value.Env(), Status::Error("INVALID_ARGUMENT", "fields must hold objects."));
    }
    if (!ReadField(entry, fields_[i], documents, &values_[i])) return false;
  }
  return true;
}

FieldsWriter GivenFields::Write() const {
  FieldsWriter writer(fields_);
  std::vector<size_t> next(fields_.size());
  for (uint32_t document = 0; document < documents_; document++) {
    for (size_t i = 0; i < fields_.size(); i++) {
      const Values& values = values_[i];
      const FieldType type = fields_[i].type;
      for (uint32_t n = 0; n < values.counts[document]; n++, next[i]++) {
        if (type == FieldType::kKeyword) writer.AddKeyword(i, values.keywords[next[i]]);
        if (type == FieldType::kNumber) writer.AddNumber(i, values.numbers[next[i]]);
        if (type == FieldType::kBoolean) writer.AddBoolean(i, values.booleans[next[i]] != 0);
      }
    }
    writer.EndDocument();
  }
  return writer;
}

void ExportFilter(Napi::Env env, Napi::Object exports) {
  const Napi::Function filter = FilterObject::DefineClass(env, "Filter", {});
  ClassesOf(env).filter = Napi::Persistent(filter);
  exports.Set("Filter", filter);
}

}  // namespace maxsim::addon
