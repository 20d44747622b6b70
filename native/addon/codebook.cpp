#include "addon/codebook.h"

#include <numeric>
#include <vector>

#include "addon/convert.h"
#include "addon/query.h"
#include "addon/snapshot.h"
#include "index/codebook_file.h"
#include "index/segment_writer.h"
#include "maxsim/training.h"

namespace maxsim::addon {
namespace {

constexpr napi_type_tag kCodebookTag = {0x6d617873696d0004, 0x636f6465626f6f6b};
using CodebookExternal = Napi::External<std::shared_ptr<const Codebook>>;

struct TrainingJob {
  TrainingOptions options;
  TaskLimits limits;
  std::unique_ptr<FloatDocuments> vectors;  // one of these two
  std::shared_ptr<const Snapshot> snapshot;
  std::shared_ptr<const Codebook> codebook;

  Status Run() {
    options.cancelled = limits.cancelled.get();
    options.progress = limits.progress.get();
    if (snapshot == nullptr) {
      Status status = vectors->Validate();
      return status.ok() ? TrainCodebook(*vectors, options, &codebook) : status;
    }
    std::vector<uint32_t> all(snapshot->segments().size());
    std::iota(all.begin(), all.end(), 0);
    const LiveDocuments documents(snapshot, all);
    const Status status = TrainCodebook(documents, options, &codebook);
    return status.ok() ? documents.status() : status;
  }
};

// { bits, dim, centroids (0: chosen), seed }
bool ToTrainingOptions(const Napi::Value& value, TrainingOptions* options) {
  if (!value.IsObject()) {
    Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "options must be an object."));
    return false;
  }
  const Napi::Object object = value.As<Napi::Object>();
  uint64_t bits, dim, centroids;
  if (!ToInteger(PropertyOf(object, "bits"), "options.bits", 1, 4, &bits) ||
      !ToInteger(PropertyOf(object, "dim"), "options.dim", kMinDim, kMaxDim, &dim) ||
      !ToInteger(PropertyOf(object, "centroids"), "options.centroids", 0, kMaxCentroids,
                 &centroids) ||
      !ToInteger(PropertyOf(object, "seed"), "options.seed", 0, 9007199254740991, &options->seed)) {
    return false;
  }
  if (bits == 3) {
    Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "options.bits must be 4, 2 or 1."));
    return false;
  }
  options->bits = static_cast<uint32_t>(bits);
  options->dim = static_cast<uint32_t>(dim);
  options->centroid_count = static_cast<uint32_t>(centroids);
  return true;
}

// (vectors: Float32Array[] | Snapshot, options, limits?) -> Promise<Codebook>. Arrays must not
// change, nor their buffers be transferred, before it settles.
Napi::Value Train(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = std::make_shared<TrainingJob>();
  if (!ToTrainingOptions(info[1], &job->options) || !ToLimits(info[2], &job->limits)) {
    return env.Undefined();
  }
  Napi::Array anchor = Napi::Array::New(env);
  if (info[0].IsArray()) {
    const Napi::Array vectors = info[0].As<Napi::Array>();
    const uint32_t count = vectors.Length();
    if (!Gather(vectors, count, anchor, 0)) return env.Undefined();
    std::vector<FloatDocuments::Document> documents(count);
    for (uint32_t i = 0; i < count; i++) {
      const Napi::HandleScope scope(env);
      documents[i].id = "vectors[" + std::to_string(i) + "]";
      if (!ToFloats(PropertyOf(anchor, i), "vectors", &documents[i].vectors)) {
        return env.Undefined();
      }
    }
    const VectorFormat floats{{Codec::kF32, 1.f}, job->options.dim};
    job->vectors = std::make_unique<FloatDocuments>(floats, std::move(documents));
  } else if (!ToSnapshot(info[0], &job->snapshot)) {
    return env.Undefined();
  } else if (job->snapshot->format().dim != job->options.dim) {
    return Throw(env,
                 Status::Error("MODEL_MISMATCH", "options.dim is %u, but the index has dim %u.",
                               job->options.dim, job->snapshot->format().dim));
  }
  return StartTask(
      env, [job] { return job->Run(); },
      [job](Napi::Env e) { return CodebookObject::Create(e, job->codebook); }, anchor);
}

// (path, codebook) -> Promise<void>
Napi::Value Write(const Napi::CallbackInfo& info) {
  std::string path;
  VectorFormat format{};
  if (!ToText(info[0], "path", &path) || !ToCodebook(info[1], &format)) {
    return info.Env().Undefined();
  }
  return StartTask(
      info.Env(),
      [path, codebook = format.tokens.codebook] { return WriteCodebook(path, *codebook); },
      [](Napi::Env e) { return e.Undefined(); });
}

// (path) -> Promise<Codebook>
Napi::Value Read(const Napi::CallbackInfo& info) {
  struct Job {
    std::string path;
    std::shared_ptr<const Codebook> codebook;
  };
  auto job = std::make_shared<Job>();
  if (!ToText(info[0], "path", &job->path)) return info.Env().Undefined();
  return StartTask(
      info.Env(),
      [job] {
        bool missing = false;
        const Status status = ReadCodebook(job->path, &job->codebook, &missing);
        return missing ? Status::Error("CORRUPT_INDEX", "%s The manifest lists it.",
                                       status.message().c_str())
                       : status;
      },
      [job](Napi::Env e) { return CodebookObject::Create(e, job->codebook); });
}

// (path, bytes) -> Promise<Codebook>: of bytes that the file `path` should have
Napi::Value Parse(const Napi::CallbackInfo& info) {
  struct Job {
    std::unique_ptr<MappedFile> file;
    std::shared_ptr<const Codebook> codebook;
  };
  auto job = std::make_shared<Job>();
  std::string path;
  std::span<const uint8_t> bytes;
  if (!ToText(info[0], "path", &path) || !ToBytes(info[1], "bytes", &bytes)) {
    return info.Env().Undefined();
  }
  const Status status = MappedFile::Copy(path, bytes.data(), bytes.size(), &job->file);
  if (!status.ok()) return Throw(info.Env(), status);
  return StartTask(
      info.Env(), [job] { return ParseCodebook(*job->file, &job->codebook); },
      [job](Napi::Env e) { return CodebookObject::Create(e, job->codebook); });
}

}  // namespace

CodebookObject::CodebookObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<CodebookObject>(info) {
  if (!info[0].IsExternal() || !info[0].As<CodebookExternal>().CheckTypeTag(&kCodebookTag)) {
    Throw(info.Env(), Status::Error("INVALID_ARGUMENT", "trainCodebook makes codebooks."));
    return;
  }
  codebook_ = *info[0].As<CodebookExternal>().Data();
  crc32c_ = CodebookCrc32c(*codebook_);
  info.This().As<Napi::Object>().TypeTag(&kCodebookTag);
}

Napi::Value CodebookObject::Create(Napi::Env env, std::shared_ptr<const Codebook> codebook) {
  auto external = CodebookExternal::New(env, &codebook);
  if (external.IsEmpty()) return env.Undefined();  // the thread is being terminated
  external.TypeTag(&kCodebookTag);
  // The constructor copies the pointer before this returns.
  return ClassesOf(env).codebook.New({external});
}

Napi::Value CodebookObject::Bits(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), codebook_->contents().bits);
}
Napi::Value CodebookObject::Dim(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), codebook_->contents().dim);
}
Napi::Value CodebookObject::CentroidCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), codebook_->contents().centroid_count);
}
Napi::Value CodebookObject::TrainedTokens(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(codebook_->contents().trained_tokens));
}
Napi::Value CodebookObject::SizeBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(
      info.Env(), static_cast<double>(sizeof(CodebookHeader) + codebook_->contents().rows.size()));
}
Napi::Value CodebookObject::Crc(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), crc32c_);
}

bool ToCodebook(const Napi::Value& value, VectorFormat* format) {
  if (!value.IsObject() || value.IsExternal() ||
      !value.As<Napi::Object>().CheckTypeTag(&kCodebookTag)) {
    Throw(value.Env(), Status::Error("INVALID_ARGUMENT", "codebook must be a Codebook."));
    return false;
  }
  const CodebookObject* object = CodebookObject::Unwrap(value.As<Napi::Object>());
  format->tokens.codebook = object->codebook_;
  format->codebook_crc32c = object->crc32c_;
  return true;
}

void ExportCodebook(Napi::Env env, Napi::Object exports) {
  const Napi::Function codebook = CodebookObject::DefineClass(
      env, "Codebook",
      {CodebookObject::InstanceAccessor<&CodebookObject::Bits>("bits"),
       CodebookObject::InstanceAccessor<&CodebookObject::Dim>("dim"),
       CodebookObject::InstanceAccessor<&CodebookObject::CentroidCount>("centroidCount"),
       CodebookObject::InstanceAccessor<&CodebookObject::TrainedTokens>("trainedTokens"),
       CodebookObject::InstanceAccessor<&CodebookObject::SizeBytes>("sizeBytes"),
       CodebookObject::InstanceAccessor<&CodebookObject::Crc>("crc")});
  ClassesOf(env).codebook = Napi::Persistent(codebook);
  exports.Set("trainCodebook", Napi::Function::New(env, Train, "trainCodebook"));
  exports.Set("writeCodebook", Napi::Function::New(env, Write, "writeCodebook"));
  exports.Set("readCodebook", Napi::Function::New(env, Read, "readCodebook"));
  exports.Set("parseCodebook", Napi::Function::New(env, Parse, "parseCodebook"));
}

}  // namespace maxsim::addon
