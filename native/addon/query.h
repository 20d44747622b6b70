// class Query: token vectors prepared once, scored many times. And class Cancel, the flag that ends
// a long task and the gauge of how far it is.
#ifndef MAXSIM_ADDON_QUERY_H_
#define MAXSIM_ADDON_QUERY_H_

#include <napi.h>

#include <atomic>
#include <memory>

#include "index/snapshot.h"
#include "maxsim/query.h"

namespace maxsim::addon {

class QueryObject : public Napi::ObjectWrap<QueryObject> {
 public:
  explicit QueryObject(const Napi::CallbackInfo& info);
  Napi::Value TokenCount(const Napi::CallbackInfo& info);
  Napi::Value Dim(const Napi::CallbackInfo& info);
  Napi::Value Bits(const Napi::CallbackInfo& info);
  Napi::Value Lengths(const Napi::CallbackInfo& info);

 private:
  friend bool ToQuery(const Napi::Value&, std::shared_ptr<const PreparedQuery>*);
  std::shared_ptr<const PreparedQuery> query_;  // null only while a constructor fails
};

class CancelObject : public Napi::ObjectWrap<CancelObject> {
 public:
  explicit CancelObject(const Napi::CallbackInfo& info);
  Napi::Value Cancel(const Napi::CallbackInfo& info);
  Napi::Value Progress(const Napi::CallbackInfo& info);

 private:
  friend bool ToLimits(const Napi::Value&, struct TaskLimits*);
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::atomic<float>> progress_ = std::make_shared<std::atomic<float>>(0.f);
};

// Limits that own what they look at.
struct TaskLimits {
  std::shared_ptr<std::atomic<bool>> cancelled;
  std::shared_ptr<std::atomic<float>> progress;  // what a long task reports, 0 to 1; may be null
  Limits limits;
};

bool ToQuery(const Napi::Value& value, std::shared_ptr<const PreparedQuery>* query);
// undefined, or { cancel?: Cancel, deadlineMs?: number } (from now on)
bool ToLimits(const Napi::Value& value, TaskLimits* limits);

}  // namespace maxsim::addon

#endif  // MAXSIM_ADDON_QUERY_H_
