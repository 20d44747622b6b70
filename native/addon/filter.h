// class Filter: which documents may be searched, prepared once.
#ifndef MAXSIM_ADDON_FILTER_H_
#define MAXSIM_ADDON_FILTER_H_

#include <napi.h>

#include <memory>
#include <string>
#include <vector>

#include "index/filter.h"

namespace maxsim::addon {

class FilterObject : public Napi::ObjectWrap<FilterObject> {
 public:
  explicit FilterObject(const Napi::CallbackInfo& info);

 private:
  friend bool ToFilter(const Napi::Value&, std::shared_ptr<const Filter>*);
  std::shared_ptr<const Filter> filter_;  // null only while a constructor fails
};

bool ToFilter(const Napi::Value& value, std::shared_ptr<const Filter>* filter);
// The values of documents as JavaScript gave them, copied; columns are made of them elsewhere.
class GivenFields {
 public:
  // [{ name, type, counts: Uint32Array, values: string[] | Float64Array | Uint8Array }], or
  // undefined: the values of `documents` documents, one after the other, counts[i] of each.
  bool Read(const Napi::Value& value, uint32_t documents);
  // Needs no JavaScript, so that any thread may do it.
  FieldsWriter Write() const;

 private:
  struct Values {
    std::vector<uint32_t> counts;
    std::vector<std::string> keywords;
    std::vector<double> numbers;
    std::vector<uint8_t> booleans;
    size_t size() const { return keywords.size() + numbers.size() + booleans.size(); }
  };
  static bool ReadField(const Napi::Value& value, const Field& field, uint32_t documents,
                        Values* values);

  std::vector<Field> fields_;
  std::vector<Values> values_;
  uint32_t documents_ = 0;
};

}  // namespace maxsim::addon

#endif  // MAXSIM_ADDON_FILTER_H_
