// What a writer asks for: durable files, written off the event loop, and the lock.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "addon/convert.h"
#include "addon/snapshot.h"
#include "index/segment_writer.h"
#include "maxsim/codec.h"
#include "maxsim/query.h"
#include "platform/crc32c.h"
#include "platform/durable_file.h"
#include "platform/lock_file.h"

namespace maxsim::addon {
namespace {

constexpr double kMaxUint32 = 0xFFFFFFFF;

Napi::Value FromSummary(Napi::Env env, const SegmentSummary& summary, uint64_t clipped) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("documents", static_cast<double>(summary.documents));
  result.Set("tokens", static_cast<double>(summary.tokens));
  result.Set("sizeBytes", static_cast<double>(summary.size_bytes));
  result.Set("headerCrc", static_cast<double>(summary.header_crc32c));
  result.Set("clipped", static_cast<double>(clipped));
  return result;
}

// (path, format, ids, vectors, records) -> Promise<{ documents, tokens, sizeBytes, headerCrc,
// clipped }>
Napi::Value WriteSegmentTask(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    VectorFormat format;
    std::unique_ptr<FloatDocuments> source;
    SegmentSummary summary;
  };
  auto job = std::make_shared<Job>();
  Napi::Array ids, vectors, records;
  if (!ToText(info[0], "path", &job->path) || !ToFormat(info[1], &job->format) ||
      !ToArray(info[2], "ids", &ids) || !ToArray(info[3], "vectors", &vectors) ||
      !ToArray(info[4], "records", &records)) {
    return env.Undefined();
  }
  const uint32_t count = ids.Length();
  if (count == 0 || vectors.Length() != count || records.Length() != count) {
    return Throw(env,
                 Status::Error("INVALID_ARGUMENT",
                               "ids, vectors and records must have one length of 1 or more, but "
                               "have %u, %u and %u.",
                               count, vectors.Length(), records.Length()));
  }
  std::vector<FloatDocuments::Document> documents;  // grown as ids prove valid, see Find
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    if (!ToId(PropertyOf(ids, i), &documents.emplace_back().id)) {
      return Throw(env, Status::Error("INVALID_ARGUMENT",
                                      "ids[%u] must be 1 to %zu bytes of well-formed text.", i,
                                      kMaxIdBytes));
    }
  }
  Napi::Array anchor = Napi::Array::New(env);
  if (!Gather(vectors, count, anchor, 0) || !Gather(records, count, anchor, count)) {
    return env.Undefined();
  }
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    if (!ToFloats(PropertyOf(anchor, i), "vectors", &documents[i].vectors) ||
        !ToBytes(PropertyOf(anchor, count + i), "records", &documents[i].record)) {
      return env.Undefined();
    }
  }
  job->source = std::make_unique<FloatDocuments>(job->format, std::move(documents));
  return StartTask(
      env,
      [job] {
        Status status = job->source->ValidateFirst();
        return status.ok() ? WriteSegment(job->path, job->format, *job->source, &job->summary)
                           : status;
      },
      [job](Napi::Env e) { return FromSummary(e, job->summary, job->source->encoded().clamped); },
      anchor);
}

// (path, snapshot, segments: number[]) -> Promise<same>; the live documents of those segments,
// bytes as they are.
Napi::Value MergeSegments(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    std::shared_ptr<const Snapshot> snapshot;
    std::vector<uint32_t> segments;
    SegmentSummary summary;
  };
  auto job = std::make_shared<Job>();
  Napi::Array segments;
  if (!ToText(info[0], "path", &job->path) || !ToSnapshot(info[1], &job->snapshot) ||
      !ToArray(info[2], "segments", &segments)) {
    return env.Undefined();
  }
  const uint32_t count = segments.Length();
  for (uint32_t i = 0; i < count; i++) {
    uint64_t segment;
    if (!ToInteger(PropertyOf(segments, i), "segment", 0,
                   static_cast<double>(job->snapshot->segments().size()) - 1, &segment)) {
      return env.Undefined();
    }
    job->segments.push_back(static_cast<uint32_t>(segment));
  }
  return StartTask(
      env,
      [job] {
        LiveDocuments source(job->snapshot, job->segments);
        return WriteSegment(job->path, job->snapshot->format(), source, &job->summary);
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

// (path, documentCount, dead: Uint32Array) -> Promise<number>: how many are dead
Napi::Value WriteTombstones(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    uint64_t documents, dead_count = 0;
    std::vector<uint32_t> dead;
  };
  auto job = std::make_shared<Job>();
  std::span<const uint32_t> dead;
  if (!ToText(info[0], "path", &job->path) ||
      !ToInteger(info[1], "documentCount", 1, kMaxUint32 - 1, &job->documents) ||
      !ToUint32s(info[2], "dead", &dead)) {
    return env.Undefined();
  }
  job->dead.assign(dead.begin(), dead.end());
  return StartTask(
      env,
      [job] {
        return Tombstones::Write(job->path, static_cast<uint32_t>(job->documents), job->dead,
                                 &job->dead_count);
      },
      [job](Napi::Env e) -> Napi::Value {
        return Napi::Number::New(e, static_cast<double>(job->dead_count));
      });
}

// (path, bytes) -> Promise<void>
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
  exports.Set("writeSegment", Napi::Function::New(env, WriteSegmentTask, "writeSegment"));
  exports.Set("mergeSegments", Napi::Function::New(env, MergeSegments, "mergeSegments"));
  exports.Set("recodeSegments", Napi::Function::New(env, RecodeSegments, "recodeSegments"));
  exports.Set("int8Range", Napi::Function::New(env, Int8RangeTask, "int8Range"));
  exports.Set("writeTombstones", Napi::Function::New(env, WriteTombstones, "writeTombstones"));
  exports.Set("writeFileDurably", Napi::Function::New(env, WriteFileDurably, "writeFileDurably"));
  exports.Set("removeFile", Napi::Function::New(env, RemoveFileTask, "removeFile"));
  exports.Set("flushDirectory", Napi::Function::New(env, FlushDirectoryTask, "flushDirectory"));
  exports.Set("lockIndex", Napi::Function::New(env, LockIndex, "lockIndex"));
  exports.Set("crc32c", Napi::Function::New(env, Crc, "crc32c"));
}

}  // namespace maxsim::addon
