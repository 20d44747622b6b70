// class Filter: which documents may be searched, prepared once.
#ifndef MAXSIM_ADDON_FILTER_H_
#define MAXSIM_ADDON_FILTER_H_

#include <napi.h>

#include <memory>

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
// [{ name, type, counts: Uint32Array, values: string[] | Float64Array | Uint8Array }], or
// undefined: the values of `documents` documents, document after document, counts[i] of each.
bool ToFieldValues(const Napi::Value& value, uint32_t documents,
                   std::unique_ptr<FieldsWriter>* writer);

}  // namespace maxsim::addon

#endif  // MAXSIM_ADDON_FILTER_H_
