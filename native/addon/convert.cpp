#include "addon/convert.h"

#include <cmath>
#include <cstring>
#include <exception>
#include <limits>

#include "addon/codebook.h"
#include "maxsim/query.h"

namespace maxsim::addon {
namespace {

const char* KindOf(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return "a boolean";
    case napi_number:
      return "a number";
    case napi_string:
      return "a string";
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_bigint:
      return "a bigint";
    default:
      break;
  }
  return value.IsArray() ? "an array" : value.IsTypedArray() ? "another typed array" : "an object";
}

// Failed conversions must not throw over an exception that a getter of the caller's has thrown.
bool Refuse(Napi::Env env, const Status& status) {
  Throw(env, status);
  return false;
}

bool Expected(const Napi::Value& value, const char* name, const char* expected) {
  return Refuse(value.Env(), Status::Error("INVALID_ARGUMENT", "%s must be %s, but %s was given.",
                                           name, expected, KindOf(value)));
}

template <typename T>
bool ToTyped(const Napi::Value& value, const char* name, napi_typedarray_type type,
             const char* expected, const char* code, std::span<const T>* out) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    return Refuse(value.Env(), Status::Error(code, "%s must be a %s, but %s was given.", name,
                                             expected, KindOf(value)));
  }
  // A detached buffer reads as length 0 with no data.
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(value.Env(), value, nullptr, &length, &data, nullptr, nullptr) !=
      napi_ok) {
    return Refuse(value.Env(), Status::Error(code, "%s cannot be read.", name));
  }
  *out = data == nullptr ? std::span<const T>() : std::span<const T>(static_cast<T*>(data), length);
  return true;
}

bool HasLoneSurrogate(const std::u16string& text) {
  for (size_t i = 0; i < text.size(); i++) {
    const char16_t unit = text[i];
    if (unit < 0xD800 || unit > 0xDFFF) continue;
    const bool pair =
        unit < 0xDC00 && i + 1 < text.size() && text[i + 1] >= 0xDC00 && text[i + 1] <= 0xDFFF;
    if (!pair) return true;
    i++;
  }
  return false;
}

class Task : public Napi::AsyncWorker {
 public:
  Task(Napi::Env env, std::function<Status()> work, std::function<Napi::Value(Napi::Env)> result,
       Napi::Object anchor)
      : Napi::AsyncWorker(env, "maxsim"),
        deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        result_(std::move(result)) {
    if (!anchor.IsEmpty()) anchor_ = Napi::Persistent(anchor);
  }

  Napi::Promise Promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      status_ = work_();
    } catch (const std::bad_alloc&) {
      status_ = Status::Error("IO_ERROR", "There is not enough memory for this operation.");
    } catch (const std::exception& error) {
      status_ = Status::Error("INTERNAL", "%s", error.what());
    }
  }

  void OnOK() override {
    const Napi::Env env = Env();
    const Napi::HandleScope scope(env);
    if (!status_.ok()) {
      deferred_.Reject(ToJsError(env, status_));
      return;
    }
    const Napi::Value value = result_(env);
    if (env.IsExceptionPending()) {
      deferred_.Reject(env.GetAndClearPendingException().Value());
    } else {
      deferred_.Resolve(value.IsEmpty() ? env.Undefined() : value);
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::function<Status()> work_;
  std::function<Napi::Value(Napi::Env)> result_;
  Napi::ObjectReference anchor_;
  Status status_ = Status::Ok();
};

}  // namespace

Napi::Value ToJsError(Napi::Env env, const Status& status) {
  Napi::Error error = Napi::Error::New(env, status.message());
  error.Value().Set("code", status.code());
  return error.Value();
}

Napi::Value Throw(Napi::Env env, const Status& status) {
  if (!env.IsExceptionPending()) {
    Napi::Error error = Napi::Error::New(env, status.message());
    error.Value().Set("code", status.code());
    error.ThrowAsJavaScriptException();
  }
  return env.Undefined();
}

bool ToText(const Napi::Value& value, const char* name, std::string* text) {
  if (!value.IsString()) return Expected(value, name, "a string");
  *text = value.As<Napi::String>().Utf8Value();
  // A NUL would end a path early and name another file.
  if (text->find('\0') != std::string::npos) {
    return Refuse(value.Env(), Status::Error("INVALID_ARGUMENT", "%s must not hold a NUL.", name));
  }
  return true;
}

bool ToInteger(const Napi::Value& value, const char* name, double min, double max,
               uint64_t* number) {
  if (!value.IsNumber()) return Expected(value, name, "a number");
  const double given = value.As<Napi::Number>().DoubleValue();
  if (!(given >= min && given <= max) || given != std::floor(given)) {
    return Refuse(value.Env(),
                  Status::Error("INVALID_ARGUMENT",
                                "%s must be an integer from %.0f to %.0f, but %g was given.", name,
                                min, max, given));
  }
  *number = static_cast<uint64_t>(given);
  return true;
}

bool ToBytes(const Napi::Value& value, const char* name, std::span<const uint8_t>* bytes) {
  return ToTyped(value, name, napi_uint8_array, "Uint8Array", "INVALID_ARGUMENT", bytes);
}

bool ToFloats(const Napi::Value& value, const char* name, std::span<const float>* floats) {
  return ToTyped(value, name, napi_float32_array, "Float32Array", "INVALID_VECTORS", floats);
}

bool ToUint32s(const Napi::Value& value, const char* name, std::span<const uint32_t>* numbers) {
  return ToTyped(value, name, napi_uint32_array, "Uint32Array", "INVALID_ARGUMENT", numbers);
}

bool ToInt32s(const Napi::Value& value, const char* name, std::span<const int32_t>* numbers) {
  return ToTyped(value, name, napi_int32_array, "Int32Array", "INVALID_ARGUMENT", numbers);
}

bool ToArray(const Napi::Value& value, const char* name, Napi::Array* array) {
  if (!value.IsArray()) return Expected(value, name, "an array");
  *array = value.As<Napi::Array>();
  return true;
}

bool Gather(const Napi::Array& from, uint32_t count, Napi::Array into, uint32_t offset) {
  const Napi::Env env = from.Env();
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    into.Set(offset + i, PropertyOf(from, i));
    if (env.IsExceptionPending()) return false;
  }
  return true;
}

bool ToFormat(const Napi::Value& value, VectorFormat* format) {
  if (!value.IsObject()) return Expected(value, "format", "an object { codec, scale, dim }");
  const Napi::Object object = value.As<Napi::Object>();
  const Napi::Value scale = PropertyOf(object, "scale");
  std::string codec;
  uint64_t dim;
  if (!ToText(PropertyOf(object, "codec"), "format.codec", &codec)) return false;
  if (!ToInteger(PropertyOf(object, "dim"), "format.dim", kMinDim, kMaxDim, &dim)) return false;
  if (!scale.IsNumber()) return Expected(scale, "format.scale", "a number");
  TokenFormat& tokens = format->tokens;
  format->dim = static_cast<uint32_t>(dim);
  tokens.scale = scale.As<Napi::Number>().FloatValue();
  if (!CodecOf(codec, &tokens.codec)) {
    return Refuse(value.Env(), Status::Error("INVALID_ARGUMENT",
                                             "format.codec must be the name of a codec, but '%s' "
                                             "was given.",
                                             codec.c_str()));
  }
  const float largest = std::numeric_limits<float>::max() / 128;
  const bool fits = tokens.codec != Codec::kInt8 ? tokens.scale == 1.f
                                                 : std::isnormal(tokens.scale) &&
                                                       tokens.scale > 0 && tokens.scale <= largest;
  if (!fits) {
    return Refuse(value.Env(),
                  Status::Error("INVALID_ARGUMENT",
                                "format.scale must be positive and finite (1 unless the codec is "
                                "int8), but %g was given.",
                                static_cast<double>(tokens.scale)));
  }
  if (ResidualBits(tokens.codec) == 0) return true;
  const Napi::Value codebook = PropertyOf(object, "codebook");
  if (value.Env().IsExceptionPending() || !ToCodebook(codebook, format)) return false;
  const CodebookContents& contents = tokens.codebook->contents();
  if (contents.dim == dim && contents.bits == ResidualBits(tokens.codec)) return true;
  return Refuse(
      value.Env(),
      Status::Error("INVALID_ARGUMENT",
                    "format.codebook has %u bits and dim %u, but %s of dim %llu was asked "
                    "for.",
                    contents.bits, contents.dim, codec.c_str(),
                    static_cast<unsigned long long>(dim)));
}

bool ToDoubles(const Napi::Value& value, const char* name, std::span<const double>* numbers) {
  return ToTyped(value, name, napi_float64_array, "Float64Array", "INVALID_ARGUMENT", numbers);
}

bool ToFields(const Napi::Value& value, std::vector<Field>* fields) {
  Napi::Array list;
  if (!ToArray(value, "fields", &list)) return false;
  const uint32_t count = list.Length();
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(value.Env());
    const Napi::Value entry = PropertyOf(list, i);
    if (!entry.IsObject()) return Expected(entry, "fields[]", "an object { name, type }");
    std::string type;
    Field field;
    if (!ToText(PropertyOf(entry.As<Napi::Object>(), "name"), "field.name", &field.name) ||
        !ToText(PropertyOf(entry.As<Napi::Object>(), "type"), "field.type", &type)) {
      return false;
    }
    if (i >= kMaxFields || !FieldTypeOf(type, &field.type) || field.name.empty() ||
        field.name.size() > kMaxFieldNameBytes) {
      return Refuse(value.Env(),
                    Status::Error("INVALID_ARGUMENT",
                                  "fields[%u] must be one of at most %zu, with a name of 1 to %zu "
                                  "bytes and a known type.",
                                  i, kMaxFields, kMaxFieldNameBytes));
    }
    fields->push_back(std::move(field));
  }
  return true;
}

namespace {

// Well-formed text of at most kMaxIdBytes; false without an exception for what is not.
bool ToShortText(const Napi::Value& value, const char* name, std::string* id) {
  if (!value.IsString()) return Expected(value, name, "a string");
  // One call for almost every id; room for one byte beyond the longest tells longer ones apart.
  // Writes whole characters only, so a cut one could hide up to 3 bytes of excess: hence + 8.
  char text[kMaxIdBytes + 8];
  size_t length = 0;
  if (napi_get_value_string_utf8(value.Env(), value, text, sizeof(text), &length) != napi_ok) {
    return false;
  }
  if (length > kMaxIdBytes) return false;
  id->assign(text, length);
  // V8 writes U+FFFD for a lone surrogate, which would find the document of another id.
  return id->find("\xEF\xBF\xBD") == std::string::npos ||
         !HasLoneSurrogate(value.As<Napi::String>().Utf16Value());
}

}  // namespace

bool ToId(const Napi::Value& value, std::string* id) {
  return ToShortText(value, "id", id) && !id->empty();
}

bool ToKeyword(const Napi::Value& value, std::string* keyword) {
  static_assert(kMaxKeywordBytes == kMaxIdBytes);
  return ToShortText(value, "keyword", keyword);
}

// While a worker thread is being terminated, V8 makes no more arrays: what should have been one is
// empty, and nobody will look at it.
Napi::Value FromFloats(Napi::Env env, std::span<const float> values) {
  Napi::Float32Array array = Napi::Float32Array::New(env, values.size());
  if (array.IsEmpty()) return env.Undefined();
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size_bytes());
  return array;
}

Napi::Value FromUint32s(Napi::Env env, std::span<const uint32_t> values) {
  Napi::Uint32Array array = Napi::Uint32Array::New(env, values.size());
  if (array.IsEmpty()) return env.Undefined();
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size_bytes());
  return array;
}

Napi::Value FromMatches(Napi::Env env, std::span<const TokenMatch> matches) {
  std::vector<uint32_t> tokens;
  std::vector<float> contributions;
  for (const TokenMatch& match : matches) {
    tokens.push_back(match.document_token);
    contributions.push_back(match.contribution);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("documentTokens", FromUint32s(env, tokens));
  result.Set("contributions", FromFloats(env, contributions));
  return result;
}

Napi::Value StartTask(Napi::Env env, std::function<Status()> work,
                      std::function<Napi::Value(Napi::Env)> result, Napi::Object anchor) {
  if (env.IsExceptionPending()) return env.Undefined();
  // Deletes itself after completion.
  Task* task = new Task(env, std::move(work), std::move(result), anchor);
  const Napi::Promise promise = task->Promise();
  task->Queue();
  return promise;
}

Classes& ClassesOf(Napi::Env env) {
  Classes* classes = env.GetInstanceData<Classes>();
  if (classes == nullptr) {
    classes = new Classes();
    env.SetInstanceData(classes);
  }
  return *classes;
}

}  // namespace maxsim::addon
