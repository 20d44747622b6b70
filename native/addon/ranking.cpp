// What a Snapshot scores and ranks: batches of queries and candidates in, scores or the best places
// out, at once or off the event loop. And which documents match a filter.
#include <algorithm>
#include <memory>
#include <vector>

#include "addon/convert.h"
#include "addon/filter.h"
#include "addon/query.h"
#include "addon/snapshot.h"

namespace maxsim::addon {

namespace {

constexpr double kMaxUint32 = 0xFFFFFFFF;

// Several queries and their candidates, back to back in one array of refs.
struct Batch {
  std::shared_ptr<const Snapshot> snapshot;
  std::vector<std::shared_ptr<const PreparedQuery>> queries;
  std::vector<uint32_t> refs, counts;
  TaskLimits limits;

  std::vector<Request> Requests() const {
    std::vector<Request> requests;
    size_t offset = 0;
    for (size_t i = 0; i < queries.size(); i++) {
      requests.push_back(
          {queries[i].get(), std::span<const uint32_t>(refs).subspan(offset, counts[i])});
      offset += counts[i];
    }
    return requests;
  }
};

// (queries: Query[], refs: Uint32Array, counts: Uint32Array of a count per query, ...)
bool ToBatch(const Napi::CallbackInfo& info, Batch* batch) {
  const Napi::Env env = info.Env();
  Napi::Array queries;
  std::span<const uint32_t> refs, counts;
  if (!ToArray(info[0], "queries", &queries)) return false;
  const uint32_t count = queries.Length();
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    if (!ToQuery(PropertyOf(queries, i), &batch->queries.emplace_back())) return false;
  }
  if (!ToUint32s(info[1], "refs", &refs) || !ToUint32s(info[2], "counts", &counts)) return false;
  uint64_t total = 0;
  for (const uint32_t one : counts) total += one;
  if (counts.size() != count || total != refs.size()) {
    Throw(env,
          Status::Error("INVALID_ARGUMENT",
                        "counts must hold a count for each of %u queries and add up to %zu "
                        "refs, but has %zu that add up to %llu.",
                        count, refs.size(), counts.size(), static_cast<unsigned long long>(total)));
    return false;
  }
  batch->refs.assign(refs.begin(), refs.end());
  batch->counts.assign(counts.begin(), counts.end());
  return true;
}

Napi::Value FromScores(Napi::Env env, const std::vector<std::vector<float>>& scores) {
  std::vector<float> flat;
  for (const std::vector<float>& one : scores) flat.insert(flat.end(), one.begin(), one.end());
  return FromFloats(env, flat);
}

// { counts, places, scores, skipped }: best first, query after query
Napi::Value FromRankings(Napi::Env env, const std::vector<Ranking>& rankings) {
  std::vector<uint32_t> counts, places, skipped;
  std::vector<float> scores;
  for (const Ranking& ranking : rankings) {
    counts.push_back(static_cast<uint32_t>(ranking.best.size()));
    skipped.push_back(static_cast<uint32_t>(std::min<uint64_t>(ranking.skipped, UINT32_MAX)));
    for (const ScoredDocument& document : ranking.best) {
      places.push_back(document.document);
      scores.push_back(document.score);
    }
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("counts", FromUint32s(env, counts));
  result.Set("places", FromUint32s(env, places));
  result.Set("scores", FromFloats(env, scores));
  result.Set("skipped", FromUint32s(env, skipped));
  return result;
}

bool ToRankOptions(const Napi::Value& k, const Napi::Value& early_exit, RankOptions* options) {
  uint64_t count;
  if (!ToInteger(k, "k", 1, kMaxUint32, &count)) return false;
  options->k = static_cast<size_t>(count);
  if (!early_exit.IsBoolean()) {
    Throw(k.Env(), Status::Error("INVALID_ARGUMENT", "earlyExit must be a boolean."));
    return false;
  }
  options->early_exit = early_exit.As<Napi::Boolean>().Value();
  return true;
}

}  // namespace

// (queries, refs, counts) -> Float32Array of a score per ref
Napi::Value SnapshotObject::Score(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Batch batch;
  if (!ToBatch(info, &batch)) return env.Undefined();
  const Snapshot* snapshot = Get(env);  // after everything that may run JavaScript
  if (snapshot == nullptr) return env.Undefined();
  std::vector<std::vector<float>> scores;
  const Status status = snapshot->Score(batch.Requests(), {}, Threads::kCaller, &scores);
  return status.ok() ? FromScores(env, scores) : Throw(env, status);
}

// (queries, refs, counts, limits?) -> Promise<Float32Array>
Napi::Value SnapshotObject::ScoreAsync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job : Batch {
    std::vector<std::vector<float>> scores;
  };
  auto job = std::make_shared<Job>();
  if (!ToLimits(info[3], &job->limits) || !ToBatch(info, job.get()) || Get(env) == nullptr) {
    return env.Undefined();
  }
  job->snapshot = snapshot_;
  return StartTask(
      env,
      [job] {
        return job->snapshot->Score(job->Requests(), job->limits.limits, Threads::kShared,
                                    &job->scores);
      },
      [job](Napi::Env e) -> Napi::Value { return FromScores(e, job->scores); });
}

// (queries, refs, counts, k, earlyExit) -> { counts, places, scores, skipped }
Napi::Value SnapshotObject::Rank(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Batch batch;
  RankOptions options;
  if (!ToBatch(info, &batch) || !ToRankOptions(info[3], info[4], &options)) return env.Undefined();
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr) return env.Undefined();
  std::vector<Ranking> rankings;
  const Status status = snapshot->Rank(batch.Requests(), options, {}, Threads::kCaller, &rankings);
  return status.ok() ? FromRankings(env, rankings) : Throw(env, status);
}

// (queries, refs, counts, k, earlyExit, limits?) -> Promise<the same>
Napi::Value SnapshotObject::RankAsync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job : Batch {
    RankOptions options;
    std::vector<Ranking> rankings;
  };
  auto job = std::make_shared<Job>();
  if (!ToLimits(info[5], &job->limits) || !ToBatch(info, job.get()) ||
      !ToRankOptions(info[3], info[4], &job->options) || Get(env) == nullptr) {
    return env.Undefined();
  }
  job->snapshot = snapshot_;
  return StartTask(
      env,
      [job] {
        return job->snapshot->Rank(job->Requests(), job->options, job->limits.limits,
                                   Threads::kShared, &job->rankings);
      },
      [job](Napi::Env e) { return FromRankings(e, job->rankings); });
}

// (filter, refs) -> Uint8Array: 1 for each ref that matches, 0 for others and for what is unknown
Napi::Value SnapshotObject::Match(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::shared_ptr<const Filter> filter;
  std::vector<uint32_t> refs;
  if (!ToFilter(info[0], &filter) || !ToRefs(info[1], &refs)) return env.Undefined();
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr) return env.Undefined();
  std::vector<uint8_t> matches;
  const Status status = snapshot->Match(*filter, refs, &matches);
  if (!status.ok()) return Throw(env, status);
  Napi::Uint8Array array = Napi::Uint8Array::New(env, matches.size());
  if (array.IsEmpty()) return env.Undefined();
  std::copy(matches.begin(), matches.end(), array.Data());
  return array;
}

// (filter, from, count) -> { refs, next }
Napi::Value SnapshotObject::Matching(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::shared_ptr<const Filter> filter;
  uint64_t from, count;
  if (!ToFilter(info[0], &filter) || !ToInteger(info[1], "from", 0, kMaxUint32, &from) ||
      !ToInteger(info[2], "count", 1, kMaxUint32, &count)) {
    return env.Undefined();
  }
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr) return env.Undefined();
  std::vector<uint32_t> refs;
  uint32_t next;
  const Status status = snapshot->Matching(*filter, static_cast<uint32_t>(from),
                                           static_cast<size_t>(count), &refs, &next);
  if (!status.ok()) return Throw(env, status);
  Napi::Object result = Napi::Object::New(env);
  result.Set("refs", FromUint32s(env, refs));
  // Null where there are no more.
  result.Set("next", next == snapshot->ref_count() ? env.Null() : Napi::Number::New(env, next));
  return result;
}

// (filter, limits?) -> Promise<number>
Napi::Value SnapshotObject::CountMatching(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::shared_ptr<const Snapshot> snapshot;
    std::shared_ptr<const Filter> filter;
    TaskLimits limits;
    uint64_t documents = 0;
  };
  auto job = std::make_shared<Job>();
  if (!ToFilter(info[0], &job->filter) || !ToLimits(info[1], &job->limits) || Get(env) == nullptr) {
    return env.Undefined();
  }
  job->snapshot = snapshot_;
  return StartTask(
      env,
      [job] { return job->snapshot->Count(*job->filter, job->limits.limits, &job->documents); },
      [job](Napi::Env e) -> Napi::Value {
        return Napi::Number::New(e, static_cast<double>(job->documents));
      });
}

// (column) -> [{ keyword, documents, tokens }]
Napi::Value SnapshotObject::TallyKeywords(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t column;
  if (!ToInteger(info[0], "column", 0, kMaxFields, &column)) return env.Undefined();
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr) return env.Undefined();
  std::map<std::string, Tally> tallies;
  const Status status = snapshot->TallyKeywords(static_cast<size_t>(column), &tallies);
  if (!status.ok()) return Throw(env, status);
  Napi::Array list = Napi::Array::New(env);
  for (const auto& [keyword, tally] : tallies) {
    const Napi::HandleScope scope(env);
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("keyword", Napi::String::New(env, keyword));
    entry.Set("documents", static_cast<double>(tally.documents));
    entry.Set("tokens", static_cast<double>(tally.tokens));
    list.Set(list.Length(), entry);
  }
  return list;
}

}  // namespace maxsim::addon
