// class Snapshot: one generation of an index, as JavaScript sees it. Holds the core's snapshot
// until close(); tasks in flight hold it too.
#ifndef MAXSIM_ADDON_SNAPSHOT_H_
#define MAXSIM_ADDON_SNAPSHOT_H_

#include <napi.h>

#include <memory>

#include "index/snapshot.h"

namespace maxsim::addon {

class SnapshotObject : public Napi::ObjectWrap<SnapshotObject> {
 public:
  // From JavaScript it cannot be constructed: openSnapshot and share() do.
  explicit SnapshotObject(const Napi::CallbackInfo& info);
  static Napi::Value Create(Napi::Env env, std::shared_ptr<const Snapshot> snapshot);

  Napi::Value DocumentCount(const Napi::CallbackInfo& info);
  Napi::Value TokenCount(const Napi::CallbackInfo& info);
  Napi::Value Find(const Napi::CallbackInfo& info);
  Napi::Value Score(const Napi::CallbackInfo& info);
  Napi::Value ScoreAsync(const Napi::CallbackInfo& info);
  Napi::Value Rank(const Napi::CallbackInfo& info);
  Napi::Value RankAsync(const Napi::CallbackInfo& info);
  Napi::Value Search(const Napi::CallbackInfo& info);
  Napi::Value Candidates(const Napi::CallbackInfo& info);
  Napi::Value Match(const Napi::CallbackInfo& info);
  Napi::Value Matching(const Napi::CallbackInfo& info);
  Napi::Value CountMatching(const Napi::CallbackInfo& info);
  Napi::Value TallyKeywords(const Napi::CallbackInfo& info);
  Napi::Value Explain(const Napi::CallbackInfo& info);
  Napi::Value Ids(const Napi::CallbackInfo& info);
  Napi::Value Record(const Napi::CallbackInfo& info);
  Napi::Value TokenCounts(const Napi::CallbackInfo& info);
  Napi::Value Tokens(const Napi::CallbackInfo& info);
  Napi::Value Refs(const Napi::CallbackInfo& info);
  Napi::Value Locate(const Napi::CallbackInfo& info);
  Napi::Value DeadOrdinals(const Napi::CallbackInfo& info);
  Napi::Value Segments(const Napi::CallbackInfo& info);
  Napi::Value Share(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

 private:
  friend bool ToSnapshot(const Napi::Value&, std::shared_ptr<const Snapshot>*);
  // Null, and CLOSED thrown, after close().
  const Snapshot* Get(Napi::Env env) const;
  bool ToRefs(const Napi::Value& value, std::vector<uint32_t>* refs) const;

  std::shared_ptr<const Snapshot> snapshot_;
};

bool ToSnapshot(const Napi::Value& value, std::shared_ptr<const Snapshot>* snapshot);

}  // namespace maxsim::addon

#endif  // MAXSIM_ADDON_SNAPSHOT_H_
