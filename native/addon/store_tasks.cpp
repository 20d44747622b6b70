// What a writer asks for: durable files, written off the event loop, and the lock.
#include "addon/store_tasks.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "addon/convert.h"
#include "addon/filter.h"
#include "addon/query.h"
#include "addon/snapshot.h"
#include "index/burial.h"
#include "index/segment_writer.h"
#include "maxsim/codec.h"
#include "maxsim/query.h"
#include "platform/background.h"
#include "platform/crc32c.h"
#include "platform/durable_file.h"
#include "platform/lock_file.h"

namespace maxsim::addon {

Napi::Value FromSummary(Napi::Env env, const SegmentSummary& summary, uint64_t clipped) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("documents", static_cast<double>(summary.documents));
  result.Set("tokens", static_cast<double>(summary.tokens));
  result.Set("sizeBytes", static_cast<double>(summary.size_bytes));
  result.Set("headerCrc", static_cast<double>(summary.header_crc32c));
  result.Set("clipped", static_cast<double>(clipped));
  return result;
}

namespace {

// Ends the writing of a merged segment early: of a document without tokens none can be made.
class CancellableDocuments : public LiveDocuments {
 public:
  CancellableDocuments(std::shared_ptr<const Snapshot> snapshot, std::span<const uint32_t> segments,
                       const Limits& limits)
      : LiveDocuments(std::move(snapshot), segments), limits_(limits) {}

  std::span<const uint8_t> Tokens(size_t i) override {
    if (limit_.ok()) limit_ = limits_.Check();
    return limit_.ok() ? LiveDocuments::Tokens(i) : std::span<const uint8_t>();
  }
  Status status() const override { return limit_.ok() ? LiveDocuments::status() : limit_; }

 private:
  const Limits& limits_;
  Status limit_ = Status::Ok();
};

bool ToSegments(const Napi::Value& value, const Snapshot& snapshot,
                std::vector<uint32_t>* segments) {
  Napi::Array given;
  if (!ToArray(value, "segments", &given)) return false;
  const double last = static_cast<double>(snapshot.segments().size()) - 1;
  const uint32_t count = given.Length();
  for (uint32_t i = 0; i < count; i++) {
    uint64_t segment;
    if (!ToInteger(PropertyOf(given, i), "segment", 0, last, &segment)) return false;
    segments->push_back(static_cast<uint32_t>(segment));
  }
  return true;
}

// Ids of documents; their vectors go to `anchor`. Spans are to be taken from there when nothing of
// the caller's can run any more.
bool ToDocuments(const Napi::Array& ids, const Napi::Array& vectors, const Napi::Array& anchor,
                 std::vector<FloatDocuments::Document>* documents) {
  const Napi::Env env = ids.Env();
  const uint32_t count = ids.Length();
  for (uint32_t i = 0; i < count; i++) {  // grown as ids prove valid, see Find
    const Napi::HandleScope scope(env);
    if (ToId(PropertyOf(ids, i), &documents->emplace_back().id)) continue;
    Throw(env,
          Status::Error("INVALID_ARGUMENT", "ids[%u] must be 1 to %zu bytes of well-formed text.",
                        i, kMaxIdBytes));
    return false;
  }
  return Gather(vectors, count, anchor, 0);
}

// (format, ids, vectors) -> Promise<void>: whether writeSegment could store them
Napi::Value CheckDocumentsTask(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  VectorFormat format;
  Napi::Array ids, vectors;
  if (!ToFormat(info[0], &format) || !ToArray(info[1], "ids", &ids) ||
      !ToArray(info[2], "vectors", &vectors)) {
    return env.Undefined();
  }
  if (vectors.Length() != ids.Length()) {
    return Throw(env, Status::Error("INVALID_ARGUMENT",
                                    "ids and vectors must have one length, but have %u and %u.",
                                    ids.Length(), vectors.Length()));
  }
  std::vector<FloatDocuments::Document> documents;
  const Napi::Array anchor = Napi::Array::New(env);
  if (!ToDocuments(ids, vectors, anchor, &documents)) return env.Undefined();
  for (uint32_t i = 0; i < documents.size(); i++) {
    const Napi::HandleScope scope(env);
    if (!ToFloats(PropertyOf(anchor, i), "vectors", &documents[i].vectors)) return env.Undefined();
  }
  auto source = std::make_shared<FloatDocuments>(format, std::move(documents));
  return StartTask(
      env, [source] { return source->Validate(); }, [](Napi::Env e) { return e.Undefined(); },
      anchor);
}

// (path, snapshot, segments: number[], limits?) -> Promise<{ documents, tokens, sizeBytes,
// headerCrc, clipped }>; the live documents of those
// segments, bytes as they are, at low priority.
Napi::Value MergeSegments(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    std::shared_ptr<const Snapshot> snapshot;
    std::vector<uint32_t> segments;
    TaskLimits limits;
    SegmentSummary summary;
  };
  auto job = std::make_shared<Job>();
  if (!ToText(info[0], "path", &job->path) || !ToSnapshot(info[1], &job->snapshot) ||
      !ToSegments(info[2], *job->snapshot, &job->segments) || !ToLimits(info[3], &job->limits)) {
    return env.Undefined();
  }
  return StartTask(
      env,
      [job] {
        return RunInBackground([&] {
          CancellableDocuments source(job->snapshot, job->segments, job->limits.limits);
          return WriteSegment(job->path, job->snapshot->format(), source, &job->summary);
        });
      },
      [job](Napi::Env e) { return FromSummary(e, job->summary, 0); });
}

// (path, snapshot, format) -> Promise<same>; all live documents in another codec.
Napi::Value RecodeSegments(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    std::shared_ptr<const Snapshot> snapshot;
    VectorFormat format;
    SegmentSummary summary;
    uint64_t clipped = 0;
  };
  auto job = std::make_shared<Job>();
  if (!ToText(info[0], "path", &job->path) || !ToSnapshot(info[1], &job->snapshot) ||
      !ToFormat(info[2], &job->format)) {
    return env.Undefined();
  }
  if (job->format.dim != job->snapshot->format().dim) {
    return Throw(env, Status::Error("MODEL_MISMATCH", "The format has dim %u, but the index %u.",
                                    job->format.dim, job->snapshot->format().dim));
  }
  return StartTask(
      env,
      [job] {
        std::vector<uint32_t> all(job->snapshot->segments().size());
        std::iota(all.begin(), all.end(), 0);
        LiveDocuments documents(job->snapshot, all);
        RecodedDocuments source(job->format, documents);
        Status status = source.Validate();
        if (status.ok()) status = WriteSegment(job->path, job->format, source, &job->summary);
        job->clipped = source.encoded().clamped;
        return status;
      },
      [job](Napi::Env e) { return FromSummary(e, job->summary, job->clipped); });
}

// (vectors: Float32Array[], dim) -> Promise<{ largest, best, longest }>: the largest magnitude that
// the int8 codec would have to hold, NaN if a value is not finite; the range that would change the
// vectors least; the length of the longest token
Napi::Value Int8RangeTask(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::vector<std::span<const float>> vectors;
    uint64_t dim = 0;
    float largest = 0, best = 0;
    double longest = 0;  // squared
  };
  auto job = std::make_shared<Job>();
  Napi::Array vectors;
  if (!ToArray(info[0], "vectors", &vectors) ||
      !ToInteger(info[1], "dim", kMinDim, kMaxDim, &job->dim)) {
    return env.Undefined();
  }
  const uint32_t count = vectors.Length();
  Napi::Array anchor = Napi::Array::New(env);
  if (!Gather(vectors, count, anchor, 0)) return env.Undefined();
  job->vectors.resize(count);
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    if (!ToFloats(PropertyOf(anchor, i), "vectors", &job->vectors[i])) return env.Undefined();
  }
  return StartTask(
      env,
      [job] {
        for (const std::span<const float> values : job->vectors) {
          const float largest =
              LargestStoredMagnitude(values.data(), values.size() / job->dim, job->dim);
          if (!(largest <= job->largest)) job->largest = largest;  // NaN stays
          if (std::isnan(job->largest)) return Status::Ok();
        }
        const auto range = std::make_unique<Int8Range>(job->largest);
        for (const std::span<const float> values : job->vectors) {
          range->Add(values.data(), values.size() / job->dim, job->dim);
          for (size_t at = 0; at + job->dim <= values.size(); at += job->dim) {
            double squares = 0;
            for (size_t d = 0; d < job->dim; d++) {
              squares += static_cast<double>(values[at + d]) * values[at + d];
            }
            job->longest = std::max(job->longest, squares);
          }
        }
        job->best = range->Best();
        return Status::Ok();
      },
      [job](Napi::Env e) -> Napi::Value {
        Napi::Object result = Napi::Object::New(e);
        result.Set("largest", job->largest);
        result.Set("best", job->best);
        result.Set("longest", std::sqrt(job->longest));
        return result;
      },
      anchor);
}

// (directory, snapshot, refs: Uint32Array, generation) -> Promise<{ segment, count, file? }[]>:
// marks documents dead; per segment how many now are, and the tombstones if any is left alive
Napi::Value BuryDocuments(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string directory;
    std::shared_ptr<const Snapshot> snapshot;
    std::vector<uint32_t> refs;
    uint64_t generation = 0;
    std::vector<Burial> burials;
  };
  auto job = std::make_shared<Job>();
  std::span<const uint32_t> refs;
  if (!ToText(info[0], "directory", &job->directory) || !ToSnapshot(info[1], &job->snapshot) ||
      !ToInteger(info[3], "generation", 0, 9007199254740991, &job->generation) ||
      !ToUint32s(info[2], "refs", &refs)) {
    return env.Undefined();
  }
  job->refs.assign(refs.begin(), refs.end());
  return StartTask(
      env,
      [job] {
        Status status =
            Bury(job->directory, *job->snapshot, job->refs, job->generation, &job->burials);
        if (status.ok()) return status;
        for (const Burial& burial : job->burials) {
          if (!burial.file.empty()) (void)RemoveFile(job->directory + "/" + burial.file);
        }
        return status;
      },
      [job](Napi::Env e) -> Napi::Value {
        Napi::Array list = Napi::Array::New(e, job->burials.size());
        for (uint32_t i = 0; i < job->burials.size(); i++) {
          const Burial& burial = job->burials[i];
          Napi::Object entry = Napi::Object::New(e);
          entry.Set("segment", burial.segment);
          entry.Set("count", static_cast<double>(burial.dead_count));
          if (!burial.file.empty()) entry.Set("file", burial.file);
          list.Set(i, entry);
        }
        return list;
      });
}

// (path, merged: Snapshot, segments: number[], now: Snapshot) -> Promise<number>: how many of the
// merged documents have died since; their tombstones are at `path` unless none or all have
Napi::Value BuryMergedTask(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    std::shared_ptr<const Snapshot> merged, now;
    std::vector<uint32_t> segments;
    uint64_t dead_count = 0;
  };
  auto job = std::make_shared<Job>();
  if (!ToText(info[0], "path", &job->path) || !ToSnapshot(info[1], &job->merged) ||
      !ToSegments(info[2], *job->merged, &job->segments) || !ToSnapshot(info[3], &job->now)) {
    return env.Undefined();
  }
  return StartTask(
      env,
      [job] {
        return BuryMerged(job->path, *job->merged, job->segments, *job->now, &job->dead_count);
      },
      [job](Napi::Env e) -> Napi::Value {
        return Napi::Number::New(e, static_cast<double>(job->dead_count));
      });
}

// (path, bytes) -> Promise<void>: durable, and so is the name of every file written beside it
// before
Napi::Value WriteFileDurably(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    std::vector<uint8_t> bytes;
  };
  auto job = std::make_shared<Job>();
  std::span<const uint8_t> bytes;
  if (!ToText(info[0], "path", &job->path) || !ToBytes(info[1], "bytes", &bytes)) {
    return env.Undefined();
  }
  job->bytes.assign(bytes.begin(), bytes.end());
  return StartTask(
      env, [job] { return WriteDurably(job->path, job->bytes.data(), job->bytes.size()); },
      [](Napi::Env e) { return e.Undefined(); });
}

// (path) -> Promise<void>
Napi::Value RemoveFileTask(const Napi::CallbackInfo& info) {
  std::string path;
  if (!ToText(info[0], "path", &path)) return info.Env().Undefined();
  return StartTask(
      info.Env(), [path] { return RemoveFile(path); }, [](Napi::Env e) { return e.Undefined(); });
}

// (path) -> Promise: what was renamed or made in the directory survives a power loss from then on
Napi::Value FlushDirectoryTask(const Napi::CallbackInfo& info) {
  std::string path;
  if (!ToText(info[0], "path", &path)) return info.Env().Undefined();
  return StartTask(
      info.Env(), [path] { return FlushDirectory(path); },
      [](Napi::Env e) { return e.Undefined(); });
}

Napi::Value Crc(const Napi::CallbackInfo& info) {
  std::span<const uint8_t> bytes;
  if (!ToBytes(info[0], "bytes", &bytes)) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), Crc32c(bytes.data(), bytes.size()));
}

class LockObject : public Napi::ObjectWrap<LockObject> {
 public:
  // (path): throws INDEX_LOCKED with `.pid` of the holder when known. Two system calls, so it is
  // sync.
  explicit LockObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LockObject>(info) {
    const Napi::Env env = info.Env();
    std::string path;
    if (!ToText(info[0], "path", &path)) return;
    long holder = 0;
    const Status status = LockFile::Acquire(path, &lock_, &holder);
    if (status.ok()) return;
    const Napi::Value error = ToJsError(env, status);
    if (holder != 0) error.As<Napi::Object>().Set("pid", static_cast<double>(holder));
    Napi::Error(env, error).ThrowAsJavaScriptException();
  }

  Napi::Value Release(const Napi::CallbackInfo& info) {
    lock_.reset();
    return info.Env().Undefined();
  }

 private:
  std::unique_ptr<LockFile> lock_;
};

Napi::Value LockIndex(const Napi::CallbackInfo& info) {
  return ClassesOf(info.Env()).lock.New({info[0]});
}

}  // namespace

void ExportStoreTasks(Napi::Env env, Napi::Object exports) {
  const Napi::Function lock = LockObject::DefineClass(
      env, "Lock", {LockObject::InstanceMethod<&LockObject::Release>("release")});
  ClassesOf(env).lock = Napi::Persistent(lock);
  exports.Set("checkDocuments", Napi::Function::New(env, CheckDocumentsTask, "checkDocuments"));
  exports.Set("mergeSegments", Napi::Function::New(env, MergeSegments, "mergeSegments"));
  exports.Set("recodeSegments", Napi::Function::New(env, RecodeSegments, "recodeSegments"));
  exports.Set("int8Range", Napi::Function::New(env, Int8RangeTask, "int8Range"));
  exports.Set("buryDocuments", Napi::Function::New(env, BuryDocuments, "buryDocuments"));
  exports.Set("buryMerged", Napi::Function::New(env, BuryMergedTask, "buryMerged"));
  exports.Set("writeFileDurably", Napi::Function::New(env, WriteFileDurably, "writeFileDurably"));
  exports.Set("removeFile", Napi::Function::New(env, RemoveFileTask, "removeFile"));
  exports.Set("flushDirectory", Napi::Function::New(env, FlushDirectoryTask, "flushDirectory"));
  exports.Set("lockIndex", Napi::Function::New(env, LockIndex, "lockIndex"));
  exports.Set("crc32c", Napi::Function::New(env, Crc, "crc32c"));
}

}  // namespace maxsim::addon
