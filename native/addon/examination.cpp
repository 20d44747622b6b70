// What verify and repair ask for: segments read by somebody who expects damage.
#include <memory>
#include <vector>

#include "addon/codebook.h"
#include "addon/convert.h"
#include "addon/filter.h"
#include "addon/query.h"
#include "addon/store_tasks.h"
#include "index/codes_reader.h"
#include "index/segment_examination.h"
#include "index/segment_writer.h"
#include "index/tombstones.h"
#include "platform/crc32c.h"

namespace maxsim::addon {
namespace {

constexpr double kMaxUint32 = 0xFFFFFFFF;
constexpr double kMaxSafe = 9007199254740991;
constexpr uint32_t kNamedIds = 20;  // of the documents that one problem touches

struct ExaminationJob {
  std::string path;
  SegmentExpectation expected{};
  TaskLimits limits;
  std::unique_ptr<SegmentExamination> examination;

  Status Run() { return SegmentExamination::Run(path, expected, limits.limits, &examination); }
};

// (path, format, { documents, tokens, headerCrc }), from `first` on
bool ToJob(const Napi::CallbackInfo& info, size_t first, ExaminationJob* job) {
  uint64_t header_crc;
  if (!ToText(info[first], "path", &job->path) ||
      !ToFormat(info[first + 1], &job->expected.format)) {
    return false;
  }
  if (!info[first + 2].IsObject()) {
    Throw(info.Env(), Status::Error("INVALID_ARGUMENT", "segment must be an object."));
    return false;
  }
  const Napi::Object segment = info[first + 2].As<Napi::Object>();
  if (!ToInteger(PropertyOf(segment, "documents"), "segment.documents", 1, kMaxUint32 - 1,
                 &job->expected.documents) ||
      !ToInteger(PropertyOf(segment, "tokens"), "segment.tokens", 1, kMaxSafe,
                 &job->expected.tokens) ||
      !ToInteger(PropertyOf(segment, "headerCrc"), "segment.headerCrc", 0, kMaxUint32,
                 &header_crc)) {
    return false;
  }
  job->expected.header_crc32c = static_cast<uint32_t>(header_crc);
  return true;
}

// null: not known for sure
Napi::Value FromId(Napi::Env env, const SegmentExamination& examination, uint32_t ordinal) {
  const std::optional<std::string_view> id = examination.Id(ordinal);
  if (!id) return env.Null();
  return Napi::String::New(env, id->data(), id->size());
}

Napi::Value FromProblem(Napi::Env env, const SegmentExamination& examination,
                        const SegmentProblem& problem) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("section", problem.section);
  result.Set("offset", static_cast<double>(problem.offset));
  result.Set("size", static_cast<double>(problem.size));
  result.Set("message", problem.message);
  result.Set("remedy", problem.remedy == Remedy::kFlippedBit  ? "flipped-bit"
                       : problem.remedy == Remedy::kRewritten ? "rewritten"
                                                              : "none");
  result.Set("documents", static_cast<double>(problem.documents));
  Napi::Array ids = Napi::Array::New(env);
  for (uint32_t i = 0; i < problem.documents && ids.Length() < kNamedIds; i++) {
    const Napi::Value id = FromId(env, examination, problem.first_document + i);
    if (id.IsString()) ids.Set(ids.Length(), id);
  }
  result.Set("ids", ids);
  return result;
}

Napi::Value FromExamination(Napi::Env env, const SegmentExamination& examination, bool ids_too,
                            bool records_too) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("sizeBytes", static_cast<double>(examination.file_size()));
  Napi::Array problems = Napi::Array::New(env);
  for (const SegmentProblem& problem : examination.problems()) {
    const Napi::HandleScope scope(env);
    problems.Set(problems.Length(), FromProblem(env, examination, problem));
  }
  result.Set("problems", problems);
  std::vector<uint32_t> lost;
  const auto count = static_cast<uint32_t>(examination.expected().documents);
  for (uint32_t i = 0; i < count; i++) {
    if (!examination.IsWhole(i)) lost.push_back(i);
  }
  Napi::Array lost_ids = Napi::Array::New(env, lost.size());
  for (size_t i = 0; i < lost.size(); i++) {
    const Napi::HandleScope scope(env);
    lost_ids.Set(static_cast<uint32_t>(i), FromId(env, examination, lost[i]));
  }
  result.Set("lost", FromUint32s(env, lost));
  result.Set("lostIds", lost_ids);
  result.Set("hasFields", examination.HasFields());
  if (!ids_too) return result;
  Napi::Array ids = Napi::Array::New(env, count), records = Napi::Array::New(env, count);
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    const bool whole = examination.IsWhole(i);
    ids.Set(i, whole ? FromId(env, examination, i) : env.Null());
    if (!whole || !records_too) continue;
    const std::span<const uint8_t> record = examination.Record(i);
    records.Set(i, Napi::Buffer<uint8_t>::Copy(env, record.data(), record.size()));
  }
  result.Set("ids", ids);
  if (records_too) result.Set("records", records);
  return result;
}

// (path, format, segment, 'lost' | 'ids' | 'records', limits?) -> Promise<SegmentExamination>; see
// runtime/addon.ts
Napi::Value ExamineSegment(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = std::make_shared<ExaminationJob>();
  std::string wanted;
  if (!ToJob(info, 0, job.get()) || !ToText(info[3], "wanted", &wanted) ||
      !ToLimits(info[4], &job->limits)) {
    return env.Undefined();
  }
  return StartTask(
      env, [job] { return job->Run(); },
      [job, wanted](Napi::Env e) {
        return FromExamination(e, *job->examination, wanted != "lost", wanted == "records");
      });
}

// (target, path, format, segment, dead: Uint32Array, fields?: { documents, columns }, limits?) ->
// Promise<SegmentSummary>: what is whole and not dead, as a new segment; INVALID_ARGUMENT when
// nothing is, and when the fields are not those of as many documents.
Napi::Value SalvageSegment(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job : ExaminationJob {
    std::string target;
    std::vector<bool> dead;
    bool has_fields = false;
    uint64_t field_documents = 0;
    GivenFields fields;
    SegmentSummary summary;
  };
  auto job = std::make_shared<Job>();
  std::span<const uint32_t> dead;
  if (!ToText(info[0], "target", &job->target) || !ToJob(info, 1, job.get()) ||
      !ToUint32s(info[4], "dead", &dead) || !ToLimits(info[6], &job->limits)) {
    return env.Undefined();
  }
  job->has_fields = info[5].IsObject();
  if (job->has_fields) {
    const Napi::Object fields = info[5].As<Napi::Object>();
    if (!ToInteger(PropertyOf(fields, "documents"), "fields.documents", 1, kMaxUint32 - 1,
                   &job->field_documents) ||
        !job->fields.Read(PropertyOf(fields, "columns"),
                          static_cast<uint32_t>(job->field_documents))) {
      return env.Undefined();
    }
    // Getters have run since it was read.
    if (!ToUint32s(info[4], "dead", &dead)) return env.Undefined();
  }
  job->dead.resize(job->expected.documents);
  for (const uint32_t ordinal : dead) {
    if (ordinal < job->dead.size()) job->dead[ordinal] = true;
  }
  return StartTask(
      env,
      [job] {
        const Status status = job->Run();
        if (!status.ok()) return status;
        std::vector<uint32_t> kept;
        for (uint32_t i = 0; i < job->dead.size(); i++) {
          if (!job->dead[i] && job->examination->IsWhole(i)) kept.push_back(i);
        }
        if (job->has_fields && kept.size() != job->field_documents) {
          return Status::Error("INVALID_ARGUMENT",
                               "the fields are those of %llu documents, but %zu are whole.",
                               static_cast<unsigned long long>(job->field_documents), kept.size());
        }
        const FieldsWriter fields = job->fields.Write();
        SalvagedDocuments source(*job->examination, std::move(kept),
                                 job->has_fields ? &fields : nullptr);
        return WriteSegment(job->target, job->expected.format, source, &job->summary);
      },
      [job](Napi::Env e) { return FromSummary(e, job->summary, 0); });
}

// (path, documentCount, dead: Uint32Array) -> Promise<number>: how many are dead. The file's name
// survives from the next flushDirectory on.
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

// (path, { documents, headerCrc, codes: { crc } }, codebook) -> Promise<void>: rejects unless every
// byte of the codes file is what was written for that segment under that codebook
Napi::Value ExamineCodes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string path;
    CodesExpectation expected{};
  };
  auto job = std::make_shared<Job>();
  VectorFormat codebook{};
  uint64_t segment_crc, crc;
  if (!ToText(info[0], "path", &job->path) || !ToCodebook(info[2], &codebook)) {
    return env.Undefined();
  }
  const Napi::Value codes =
      info[1].IsObject() ? PropertyOf(info[1].As<Napi::Object>(), "codes") : env.Undefined();
  if (env.IsExceptionPending()) return env.Undefined();
  if (!codes.IsObject()) {
    return Throw(env, Status::Error("INVALID_ARGUMENT", "segment must be an object with codes."));
  }
  const Napi::Object segment = info[1].As<Napi::Object>();
  if (!ToInteger(PropertyOf(segment, "documents"), "segment.documents", 1, kMaxUint32 - 1,
                 &job->expected.documents) ||
      !ToInteger(PropertyOf(segment, "headerCrc"), "segment.headerCrc", 0, kMaxUint32,
                 &segment_crc) ||
      !ToInteger(PropertyOf(codes.As<Napi::Object>(), "crc"), "segment.codes.crc", 0, kMaxUint32,
                 &crc)) {
    return env.Undefined();
  }
  job->expected.header_crc32c = static_cast<uint32_t>(crc);
  job->expected.segment_crc32c = static_cast<uint32_t>(segment_crc);
  job->expected.codebook_crc32c = codebook.codebook_crc32c;
  job->expected.centroid_count = codebook.tokens.codebook->contents().centroid_count;
  return StartTask(
      env,
      [job] {
        std::unique_ptr<MappedFile> file;
        std::shared_ptr<const CodesReader> reader;
        Status status = MappedFile::Open(job->path, &file);
        if (status.ok()) status = CodesReader::Open(std::move(file), job->expected, &reader);
        return status.ok() ? reader->VerifyWhole() : status;
      },
      [](Napi::Env e) { return e.Undefined(); });
}

// (size, syndrome) -> Promise<number | null>: see FindFlippedBit
Napi::Value FindFlippedBitTask(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    uint64_t size, syndrome;
    std::optional<uint64_t> bit;
  };
  auto job = std::make_shared<Job>();
  if (!ToInteger(info[0], "size", 0, kMaxSafe, &job->size) ||
      !ToInteger(info[1], "syndrome", 0, kMaxUint32, &job->syndrome)) {
    return env.Undefined();
  }
  return StartTask(
      env,
      [job] {
        job->bit = FindFlippedBit(job->size, static_cast<uint32_t>(job->syndrome));
        return Status::Ok();
      },
      [job](Napi::Env e) -> Napi::Value {
        if (!job->bit) return e.Null();
        return Napi::Number::New(e, static_cast<double>(*job->bit));
      });
}

}  // namespace

void ExportExamination(Napi::Env env, Napi::Object exports) {
  exports.Set("examineSegment", Napi::Function::New(env, ExamineSegment, "examineSegment"));
  exports.Set("salvageSegment", Napi::Function::New(env, SalvageSegment, "salvageSegment"));
  exports.Set("writeTombstones", Napi::Function::New(env, WriteTombstones, "writeTombstones"));
  exports.Set("examineCodes", Napi::Function::New(env, ExamineCodes, "examineCodes"));
  exports.Set("findFlippedBit", Napi::Function::New(env, FindFlippedBitTask, "findFlippedBit"));
}

}  // namespace maxsim::addon
