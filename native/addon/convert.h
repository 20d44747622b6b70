// JavaScript values to C++ and back, checked. Every To… function reads one value; on failure it
// throws a JavaScript Error with `.code` and returns false, and the caller returns at once. Spans
// point into JavaScript memory: they are good until the next call into JavaScript, unless the value
// is anchored and nobody else can reach its buffer.
#ifndef MAXSIM_ADDON_CONVERT_H_
#define MAXSIM_ADDON_CONVERT_H_

#include <napi.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "index/fields.h"
#include "index/segment_format.h"
#include "maxsim/scan.h"
#include "platform/status.h"

namespace maxsim::addon {

Napi::Value ToJsError(Napi::Env env, const Status& status);
// Throws; returns undefined, so that a function can `return Throw(…)`.
Napi::Value Throw(Napi::Env env, const Status& status);

// A property; undefined when a getter threw (the exception stays pending). Object::Get would return
// an empty value without an environment, which no other function may be given.
template <typename Key>
Napi::Value PropertyOf(const Napi::Object& object, Key key) {
  const Napi::Value value = object.Get(key);
  return value.IsEmpty() ? object.Env().Undefined() : value;
}

bool ToText(const Napi::Value& value, const char* name, std::string* text);
bool ToInteger(const Napi::Value& value, const char* name, double min, double max,
               uint64_t* number);
bool ToBytes(const Napi::Value& value, const char* name, std::span<const uint8_t>* bytes);
bool ToFloats(const Napi::Value& value, const char* name, std::span<const float>* floats);
bool ToUint32s(const Napi::Value& value, const char* name, std::span<const uint32_t>* numbers);
bool ToInt32s(const Napi::Value& value, const char* name, std::span<const int32_t>* numbers);
bool ToArray(const Napi::Value& value, const char* name, Napi::Array* array);
// Collects `count` elements in an array of our own, from `offset` on. Reading `from` can run
// JavaScript (getters, proxies), so pointers are to be taken from the copy, afterwards. False when
// that threw.
bool Gather(const Napi::Array& from, uint32_t count, Napi::Array into, uint32_t offset);
// { codec, scale, dim, codebook? }
bool ToFormat(const Napi::Value& value, VectorFormat* format);
// False without an exception for what cannot be an id (too long, empty, a lone surrogate): no
// document has it. An exception only for what is no string.
bool ToId(const Napi::Value& value, std::string* id);
// The same for the keyword of a field, which may be empty.
bool ToKeyword(const Napi::Value& value, std::string* keyword);
// [{ name, type }]
bool ToFields(const Napi::Value& value, std::vector<Field>* fields);
bool ToDoubles(const Napi::Value& value, const char* name, std::span<const double>* numbers);

Napi::Value FromFloats(Napi::Env env, std::span<const float> values);
Napi::Value FromUint32s(Napi::Env env, std::span<const uint32_t> values);
// { documentTokens: Uint32Array, contributions: Float32Array }
Napi::Value FromMatches(Napi::Env env, std::span<const TokenMatch> matches);

// Runs `work` off the event loop. The promise resolves with what `result` makes on the event loop,
// or rejects with the status. Both own what they capture; `anchor` keeps JavaScript values alive.
Napi::Value StartTask(Napi::Env env, std::function<Status()> work,
                      std::function<Napi::Value(Napi::Env)> result,
                      Napi::Object anchor = Napi::Object());

// Constructors of this environment (there is one per worker thread).
struct Classes {
  Napi::FunctionReference query, filter, snapshot, lock, cancel, codebook, encoder;
};
Classes& ClassesOf(Napi::Env env);

void ExportCodebook(Napi::Env env, Napi::Object exports);
void ExportEncoder(Napi::Env env, Napi::Object exports);
void ExportExamination(Napi::Env env, Napi::Object exports);
void ExportFilter(Napi::Env env, Napi::Object exports);
void ExportQuery(Napi::Env env, Napi::Object exports);
void ExportSearch(Napi::Env env, Napi::Object exports);
void ExportSegmentWriter(Napi::Env env, Napi::Object exports);
void ExportSnapshot(Napi::Env env, Napi::Object exports);
void ExportStoreTasks(Napi::Env env, Napi::Object exports);
void ExportVectors(Napi::Env env, Napi::Object exports);

}  // namespace maxsim::addon

#endif  // MAXSIM_ADDON_CONVERT_H_
