// What a Snapshot searches: queries in, the best of all documents out, and what was done for it.
#include "index/search.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "addon/codebook.h"
#include "addon/convert.h"
#include "addon/filter.h"
#include "addon/query.h"
#include "addon/snapshot.h"
#include "index/codes_writer.h"
#include "platform/thread_pool.h"

namespace maxsim::addon {

namespace {

constexpr double kMaxUint32 = 0xFFFFFFFF;
constexpr const char* kMethods[] = {"auto", "exhaustive", "scan", "lists"};

bool ToMethod(const Napi::Value& value, SearchMethod* method) {
  std::string name;
  if (!ToText(value, "method", &name)) return false;
  for (int i = 0; i < 4; i++) {
    if (name != kMethods[i]) continue;
    *method = static_cast<SearchMethod>(i);
    return true;
  }
  Throw(value.Env(),
        Status::Error("INVALID_ARGUMENT", "method must be auto, exhaustive, scan or lists."));
  return false;
}

bool ToFlag(const Napi::Value& value, const char* name, bool* flag) {
  if (value.IsBoolean()) {
    *flag = value.As<Napi::Boolean>().Value();
    return true;
  }
  Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "%s must be a boolean.", name));
  return false;
}

// Float64Array: documents, 1 if queries were measured that were really asked, then k, depth and
// margin again and again; empty where nothing was measured.
bool ToCurve(const Napi::Value& value, const char* name, SearchCurve* curve) {
  std::span<const double> numbers;
  if (!ToDoubles(value, name, &numbers)) return false;
  if (numbers.empty()) return true;
  bool valid = numbers.size() % 3 == 2 && numbers[0] >= 1 && numbers[0] <= kMaxUint32;
  curve->asked = numbers.size() > 1 && numbers[1] == 1;
  curve->documents = numbers[0];
  for (size_t i = 2; i + 2 < numbers.size() && valid; i += 3) {
    valid = numbers[i] >= 1 && numbers[i] <= kMaxUint32 && numbers[i + 1] >= 1 &&
            numbers[i + 1] <= kMaxUint32 && !std::isnan(numbers[i + 2]) &&
            (curve->points.empty() || numbers[i] > curve->points.back().k);
    curve->points.push_back({numbers[i], numbers[i + 1], numbers[i + 2]});
  }
  if (valid) return true;
  Throw(value.Env(),
        Status::Error(
            "INVALID_ARGUMENT",
            "%s must hold a number of documents, 1 or 0, then numbers k, ascending, with their "
            "depths and margins.",
            name));
  return false;
}

// { k, earlyExit, method, exact, depth, shared, scanDepths, listsDepths }
bool ToSearchOptions(const Napi::Value& value, SearchOptions* options) {
  const Napi::Env env = value.Env();
  if (!value.IsObject()) {
    Throw(env, Status::Error("INVALID_ARGUMENT", "options must be an object."));
    return false;
  }
  const Napi::Object object = value.As<Napi::Object>();
  uint64_t k, depth;
  bool shared;
  if (!ToInteger(PropertyOf(object, "k"), "k", 1, kMaxUint32, &k) ||
      !ToFlag(PropertyOf(object, "earlyExit"), "earlyExit", &options->rank.early_exit) ||
      !ToMethod(PropertyOf(object, "method"), &options->method) ||
      !ToFlag(PropertyOf(object, "exact"), "exact", &options->exact) ||
      !ToInteger(PropertyOf(object, "depth"), "depth", 0, kMaxUint32, &depth) ||
      !ToFlag(PropertyOf(object, "shared"), "shared", &shared) ||
      !ToCurve(PropertyOf(object, "scanDepths"), "scanDepths", &options->scan) ||
      !ToCurve(PropertyOf(object, "listsDepths"), "listsDepths", &options->lists)) {
    return false;
  }
  options->rank.k = static_cast<size_t>(k);
  options->depth = static_cast<size_t>(depth);
  options->threads = shared ? Threads::kShared : Threads::kCaller;
  return true;
}

Napi::Value FromReport(Napi::Env env, const SearchReport& report) {
  Napi::Object plan = Napi::Object::New(env);
  const auto set = [&](const char* name, auto number) {
    plan.Set(name, static_cast<double>(number));
  };
  plan.Set("method", kMethods[static_cast<int>(report.method)]);
  plan.Set("reason", report.reason);
  plan.Set("certified", report.certified);
  set("documents", report.documents);
  set("depth", report.depth);
  set("codes", report.codes);
  set("postings", report.postings);
  set("scored", report.scored);
  set("excluded", report.excluded);
  set("tableMs", report.table_ms);
  set("candidatesMs", report.candidates_ms);
  set("scoringMs", report.scoring_ms);
  set("exhaustiveEstimateMs", report.exhaustive_estimate_ms);
  set("scanEstimateMs", report.scan_estimate_ms);
  set("listsEstimateMs", report.lists_estimate_ms);
  return plan;
}

// { lists: 'auto' | 'never' | 'always', background }
bool ToCodesOptions(const Napi::Value& value, CodesOptions* options) {
  if (!value.IsObject()) {
    Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "options must be an object."));
    return false;
  }
  const Napi::Object object = value.As<Napi::Object>();
  std::string lists;
  if (!ToText(PropertyOf(object, "lists"), "lists", &lists) ||
      !ToFlag(PropertyOf(object, "background"), "background", &options->background)) {
    return false;
  }
  if (lists != "auto" && lists != "never" && lists != "always") {
    Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "lists must be auto, never or always."));
    return false;
  }
  options->lists = lists == "auto"    ? CodesOptions::Lists::kAuto
                   : lists == "never" ? CodesOptions::Lists::kNever
                                      : CodesOptions::Lists::kAlways;
  return true;
}

}  // namespace

// (queries: Query[], options, limits?, filter?) -> Promise<[{ refs, scores, skipped, plan }]>
Napi::Value SnapshotObject::Search(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::shared_ptr<const Snapshot> snapshot;
    std::vector<std::shared_ptr<const PreparedQuery>> queries;
    std::shared_ptr<const Filter> filter;
    SearchOptions options;
    TaskLimits limits;
    std::vector<Ranking> rankings;
    std::vector<SearchReport> reports;
  };
  auto job = std::make_shared<Job>();
  Napi::Array queries;
  if (!ToArray(info[0], "queries", &queries)) return env.Undefined();
  const uint32_t count = queries.Length();
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    if (!ToQuery(PropertyOf(queries, i), &job->queries.emplace_back())) return env.Undefined();
  }
  if (!ToSearchOptions(info[1], &job->options) || !ToLimits(info[2], &job->limits) ||
      (!info[3].IsUndefined() && !ToFilter(info[3], &job->filter)) || Get(env) == nullptr) {
    return env.Undefined();
  }
  job->snapshot = snapshot_;
  return StartTask(
      env,
      [job] {
        const size_t queries = job->queries.size();
        job->rankings.resize(queries);
        job->reports.resize(queries);
        std::vector<Status> statuses(queries, Status::Ok());
        const auto work = [&](size_t i) {
          statuses[i] =
              job->snapshot->Search(*job->queries[i], job->options, job->limits.limits,
                                    &job->rankings[i], &job->reports[i], job->filter.get());
        };
        // Queries side by side; one alone is spread over the cores by itself.
        if (queries > 1 && job->options.threads == Threads::kShared) {
          ThreadPool::Shared().For(queries, work);
        } else {
          for (size_t i = 0; i < queries; i++) work(i);
        }
        for (const Status& status : statuses) {
          if (!status.ok()) return status;
        }
        return Status::Ok();
      },
      [job](Napi::Env e) -> Napi::Value {
        Napi::Array results = Napi::Array::New(e);
        for (size_t i = 0; i < job->queries.size(); i++) {
          const Napi::HandleScope scope(e);
          std::vector<uint32_t> refs;
          std::vector<float> scores;
          for (const ScoredDocument& document : job->rankings[i].best) {
            refs.push_back(document.document);
            scores.push_back(document.score);
          }
          Napi::Object result = Napi::Object::New(e);
          result.Set("refs", FromUint32s(e, refs));
          result.Set("scores", FromFloats(e, scores));
          result.Set("skipped", static_cast<double>(job->rankings[i].skipped));
          result.Set("plan", FromReport(e, job->reports[i]));
          results.Set(static_cast<uint32_t>(i), result);
        }
        return results;
      });
}

// (query, method: 'scan' | 'lists', depth, limits?) -> Promise<{ refs, scores }>
Napi::Value SnapshotObject::Candidates(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::shared_ptr<const Snapshot> snapshot;
    std::shared_ptr<const PreparedQuery> query;
    SearchMethod method;
    uint64_t depth;
    TaskLimits limits;
    std::vector<ScoredDocument> candidates;
  };
  auto job = std::make_shared<Job>();
  if (!ToQuery(info[0], &job->query) || !ToMethod(info[1], &job->method) ||
      !ToInteger(info[2], "depth", 1, kMaxUint32, &job->depth) ||
      !ToLimits(info[3], &job->limits) || Get(env) == nullptr) {
    return env.Undefined();
  }
  if (job->method != SearchMethod::kScan && job->method != SearchMethod::kLists) {
    return Throw(env, Status::Error("INVALID_ARGUMENT", "method must be scan or lists."));
  }
  job->snapshot = snapshot_;
  return StartTask(
      env,
      [job] {
        return job->snapshot->Candidates(*job->query, job->method, static_cast<size_t>(job->depth),
                                         job->limits.limits, &job->candidates);
      },
      [job](Napi::Env e) -> Napi::Value {
        std::vector<uint32_t> refs;
        std::vector<float> scores;
        for (const ScoredDocument& candidate : job->candidates) {
          refs.push_back(candidate.document);
          scores.push_back(candidate.score);
        }
        Napi::Object result = Napi::Object::New(e);
        result.Set("refs", FromUint32s(e, refs));
        result.Set("scores", FromFloats(e, scores));
        return result;
      });
}

namespace {

// (path, snapshot, segment, codebook, options, from?: { snapshot, segments }, limits?)
// -> Promise<{ crc, sizeBytes }>: the codes of a segment's documents; `from`: what it was merged
// of.
Napi::Value WriteCodesTask(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    std::shared_ptr<const Snapshot> snapshot, from;
    uint64_t segment;
    VectorFormat codebook;
    CodesOptions options;
    CodesSource source;
    TaskLimits limits;
    CodesSummary summary;
  };
  auto job = std::make_shared<Job>();
  if (!ToText(info[0], "path", &job->path) || !ToSnapshot(info[1], &job->snapshot) ||
      !ToInteger(info[2], "segment", 0, static_cast<double>(job->snapshot->segments().size()) - 1,
                 &job->segment) ||
      !ToCodebook(info[3], &job->codebook) || !ToCodesOptions(info[4], &job->options) ||
      !ToLimits(info[6], &job->limits)) {
    return env.Undefined();
  }
  if (job->codebook.tokens.codebook->contents().dim != job->snapshot->format().dim) {
    return Throw(env, Status::Error("MODEL_MISMATCH", "The codebook has dim %u, but the index %u.",
                                    job->codebook.tokens.codebook->contents().dim,
                                    job->snapshot->format().dim));
  }
  if (!info[5].IsUndefined() && !info[5].IsNull()) {
    Napi::Array segments;
    if (!info[5].IsObject() ||
        !ToSnapshot(PropertyOf(info[5].As<Napi::Object>(), "snapshot"), &job->from) ||
        !ToArray(PropertyOf(info[5].As<Napi::Object>(), "segments"), "segments", &segments)) {
      return env.IsExceptionPending()
                 ? env.Undefined()
                 : Throw(env, Status::Error("INVALID_ARGUMENT", "from must be an object."));
    }
    job->source.snapshot = job->from.get();
    const uint32_t count = segments.Length();
    for (uint32_t i = 0; i < count; i++) {
      uint64_t number;
      if (!ToInteger(PropertyOf(segments, i), "segments", 0,
                     static_cast<double>(job->from->segments().size()) - 1, &number)) {
        return env.Undefined();
      }
      job->source.segments.push_back(static_cast<uint32_t>(number));
    }
  }
  job->options.cancelled = job->limits.cancelled.get();
  return StartTask(
      env,
      [job] {
        return WriteCodes(job->path, job->snapshot->segments()[job->segment],
                          *job->codebook.tokens.codebook, job->codebook.codebook_crc32c,
                          job->source, job->options, &job->summary);
      },
      [job](Napi::Env e) -> Napi::Value {
        Napi::Object result = Napi::Object::New(e);
        result.Set("crc", static_cast<double>(job->summary.header_crc32c));
        result.Set("sizeBytes", static_cast<double>(job->summary.size_bytes));
        return result;
      });
}

}  // namespace

void ExportSearch(Napi::Env env, Napi::Object exports) {
  exports.Set("writeCodes", Napi::Function::New(env, WriteCodesTask, "writeCodes"));
}

}  // namespace maxsim::addon
