#include "addon/query.h"

#include <cmath>

#include "addon/convert.h"

namespace maxsim::addon {
namespace {

// instanceof can be faked from JavaScript; tags cannot.
constexpr napi_type_tag kQueryTag = {0x6d617873696d0001, 0x7175657279000001};
constexpr napi_type_tag kCancelTag = {0x6d617873696d0002, 0x63616e63656c0002};

}  // namespace

QueryObject::QueryObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<QueryObject>(info) {
  const Napi::Env env = info.Env();
  uint64_t dim, bits;
  std::span<const float> vectors;
  if (!ToInteger(info[1], "dim", kMinDim, kMaxDim, &dim)) return;
  if (!ToInteger(info[2], "bits", 7, 8, &bits)) return;
  if (!ToFloats(info[0], "query", &vectors)) return;
  const size_t tokens = vectors.size() / dim;
  if (tokens == 0 || tokens > kMaxQueryTokens || tokens * dim != vectors.size()) {
    Throw(env,
          Status::Error("INVALID_VECTORS",
                        "query must hold 1 to %zu token vectors of dim %llu, but has %zu values.",
                        kMaxQueryTokens, static_cast<unsigned long long>(dim), vectors.size()));
    return;
  }
  // A copy first: a SharedArrayBuffer may change between check and use.
  const std::vector<float> values(vectors.begin(), vectors.end());
  for (size_t i = 0; i < values.size(); i++) {
    if (!(std::fabs(values[i]) <= kMaxMagnitude)) {
      Throw(env, Status::Error("INVALID_VECTORS",
                               "query must be finite and at most %g in magnitude, but value %zu of "
                               "token %zu is %g.",
                               static_cast<double>(kMaxMagnitude), i % dim, i / dim,
                               static_cast<double>(values[i])));
      return;
    }
  }
  query_ = std::make_shared<const PreparedQuery>(values.data(), tokens, dim,
                                                 static_cast<unsigned>(bits));
  info.This().As<Napi::Object>().TypeTag(&kQueryTag);
}

Napi::Value QueryObject::TokenCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(query_->token_count()));
}
Napi::Value QueryObject::Dim(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(query_->dim()));
}
Napi::Value QueryObject::Lengths(const Napi::CallbackInfo& info) {
  double sum = 0;
  for (const float length : query_->lengths()) sum += static_cast<double>(length);
  return Napi::Number::New(info.Env(), sum);
}

Napi::Value QueryObject::Bits(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), query_->bits());
}

CancelObject::CancelObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CancelObject>(info) {
  info.This().As<Napi::Object>().TypeTag(&kCancelTag);
}

Napi::Value CancelObject::Cancel(const Napi::CallbackInfo& info) {
  cancelled_->store(true, std::memory_order_relaxed);
  return info.Env().Undefined();
}

Napi::Value CancelObject::Progress(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), progress_->load(std::memory_order_relaxed));
}

bool ToQuery(const Napi::Value& value, std::shared_ptr<const PreparedQuery>* query) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kQueryTag)) {
    Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "query must be a Query."));
    return false;
  }
  *query = QueryObject::Unwrap(value.As<Napi::Object>())->query_;
  return true;
}

bool ToLimits(const Napi::Value& value, TaskLimits* limits) {
  if (value.IsUndefined() || value.IsEmpty()) return true;
  if (!value.IsObject()) {
    Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "limits must be an object."));
    return false;
  }
  const Napi::Value cancel = PropertyOf(value.As<Napi::Object>(), "cancel");
  const Napi::Value deadline = PropertyOf(value.As<Napi::Object>(), "deadlineMs");
  if (value.Env().IsExceptionPending()) return false;
  if (!cancel.IsUndefined()) {
    if (!cancel.IsObject() || !cancel.As<Napi::Object>().CheckTypeTag(&kCancelTag)) {
      Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "limits.cancel must be a Cancel."));
      return false;
    }
    const CancelObject* object = CancelObject::Unwrap(cancel.As<Napi::Object>());
    limits->cancelled = object->cancelled_;
    limits->progress = object->progress_;
    limits->limits.cancelled = limits->cancelled.get();
  }
  if (!deadline.IsUndefined()) {
    const double ms = deadline.IsNumber() ? deadline.As<Napi::Number>().DoubleValue() : -1;
    constexpr double kWeekMs = 7.0 * 24 * 3600 * 1000;
    if (!(ms >= 0)) {
      Throw(value.Env(),
            Status::Error("INVALID_ARGUMENT", "limits.deadlineMs must be a number of 0 or more."));
      return false;
    }
    limits->limits.deadline =
        std::chrono::steady_clock::now() +
        std::chrono::microseconds(static_cast<int64_t>(std::min(ms, kWeekMs) * 1000));
  }
  return true;
}

void ExportQuery(Napi::Env env, Napi::Object exports) {
  const Napi::Function query = QueryObject::DefineClass(
      env, "Query",
      {QueryObject::InstanceAccessor<&QueryObject::TokenCount>("tokenCount"),
       QueryObject::InstanceAccessor<&QueryObject::Dim>("dim"),
       QueryObject::InstanceAccessor<&QueryObject::Bits>("bits"),
       QueryObject::InstanceAccessor<&QueryObject::Lengths>("lengths")});
  const Napi::Function cancel = CancelObject::DefineClass(
      env, "Cancel",
      {CancelObject::InstanceMethod<&CancelObject::Cancel>("cancel"),
       CancelObject::InstanceAccessor<&CancelObject::Progress>("progress")});
  ClassesOf(env).query = Napi::Persistent(query);
  ClassesOf(env).cancel = Napi::Persistent(cancel);
  exports.Set("Query", query);
  exports.Set("Cancel", cancel);
}

}  // namespace maxsim::addon
