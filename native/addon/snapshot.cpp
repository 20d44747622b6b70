#include "addon/snapshot.h"

#include <algorithm>
#include <limits>

#include "addon/codebook.h"
#include "addon/convert.h"
#include "addon/query.h"
#include "maxsim/codec.h"
#include "maxsim/scan.h"

namespace maxsim::addon {
namespace {

constexpr napi_type_tag kSnapshotTag = {0x6d617873696d0003, 0x736e617073686f74};
constexpr double kMaxUint32 = 0xFFFFFFFF;

Napi::Number Count(Napi::Env env, uint64_t count) {
  return Napi::Number::New(env, static_cast<double>(count));
}

Status NotLive(size_t index, uint32_t ref) {
  return Status::Error("INVALID_ARGUMENT", "refs[%zu] is %u, which is no live document.", index,
                       ref);
}

bool ToSegmentSpec(const Napi::Value& value, SegmentSpec* spec) {
  const Napi::Env env = value.Env();
  if (!value.IsObject()) {
    Throw(env, Status::Error("INVALID_ARGUMENT", "segments must hold objects."));
    return false;
  }
  const Napi::Object object = value.As<Napi::Object>();
  uint64_t header_crc;
  constexpr double kMaxSafe = 9007199254740991;
  if (!ToText(PropertyOf(object, "file"), "segment.file", &spec->file) ||
      !ToInteger(PropertyOf(object, "documents"), "segment.documents", 1, kMaxUint32 - 1,
                 &spec->documents) ||
      !ToInteger(PropertyOf(object, "tokens"), "segment.tokens", 1, kMaxSafe, &spec->tokens) ||
      !ToInteger(PropertyOf(object, "headerCrc"), "segment.headerCrc", 0, kMaxUint32,
                 &header_crc)) {
    return false;
  }
  spec->header_crc32c = static_cast<uint32_t>(header_crc);
  const Napi::Value codes = PropertyOf(object, "codes");
  if (env.IsExceptionPending()) return false;
  if (codes.IsObject()) {
    uint64_t crc;
    if (!ToText(PropertyOf(codes.As<Napi::Object>(), "file"), "segment.codes.file",
                &spec->codes_file) ||
        !ToInteger(PropertyOf(codes.As<Napi::Object>(), "crc"), "segment.codes.crc", 0, kMaxUint32,
                   &crc)) {
      return false;
    }
    spec->codes_crc32c = static_cast<uint32_t>(crc);
  } else if (!codes.IsUndefined() && !codes.IsNull()) {
    Throw(env, Status::Error("INVALID_ARGUMENT", "segment.codes must be an object."));
    return false;
  }
  const Napi::Value dead = PropertyOf(object, "dead");
  if (env.IsExceptionPending()) return false;
  if (dead.IsUndefined() || dead.IsNull()) return true;
  if (!dead.IsObject()) {
    Throw(env, Status::Error("INVALID_ARGUMENT", "segment.dead must be an object."));
    return false;
  }
  return ToText(PropertyOf(dead.As<Napi::Object>(), "file"), "segment.dead.file",
                &spec->dead_file) &&
         ToInteger(PropertyOf(dead.As<Napi::Object>(), "count"), "segment.dead.count", 1,
                   static_cast<double>(spec->documents), &spec->dead_count);
}

// How the files of a snapshot are read: { verify?: 'on-use' | 'at-open', memory?: 'mapped' |
// 'populated' | 'huge-pages', verifyUpTo?: bytes }.
bool ToReadOptions(const Napi::Object& spec, ReadOptions* options) {
  const Napi::Env env = spec.Env();
  std::string verify = "on-use", memory = "mapped";
  const Napi::Value given_verify = PropertyOf(spec, "verify");
  const Napi::Value given_memory = PropertyOf(spec, "memory");
  if (env.IsExceptionPending() ||
      (!given_verify.IsUndefined() && !ToText(given_verify, "verify", &verify)) ||
      (!given_memory.IsUndefined() && !ToText(given_memory, "memory", &memory))) {
    return false;
  }
  if ((verify != "on-use" && verify != "at-open") ||
      (memory != "mapped" && memory != "populated" && memory != "huge-pages")) {
    Throw(env, Status::Error("INVALID_ARGUMENT",
                             "verify must be on-use or at-open, and memory mapped, populated or "
                             "huge-pages."));
    return false;
  }
  const Napi::Value up_to = PropertyOf(spec, "verifyUpTo");
  if (env.IsExceptionPending()) return false;
  if (!up_to.IsUndefined() &&
      !ToInteger(up_to, "verifyUpTo", 0, 9007199254740991, &options->verify_up_to)) {
    return false;
  }
  if (verify == "at-open") options->verify = ReadOptions::Verify::kAtOpen;
  if (memory == "populated") options->memory = ReadOptions::Memory::kPopulated;
  if (memory == "huge-pages") options->memory = ReadOptions::Memory::kHugePages;
  return true;
}

// (directory, { codec, scale, dim, segments, fields, verify?, memory? }, previous | null)
// -> Promise<Snapshot>
Napi::Value OpenSnapshot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  struct Job {
    std::string directory;
    VectorFormat format;
    ReadOptions options;
    std::vector<SegmentSpec> segments;
    std::vector<Field> fields;
    VectorFormat search;  // its codebook alone
    std::shared_ptr<const Snapshot> previous, snapshot;
  };
  auto job = std::make_shared<Job>();
  Napi::Array segments;
  if (!ToText(info[0], "directory", &job->directory) || !ToFormat(info[1], &job->format) ||
      !ToArray(PropertyOf(info[1].As<Napi::Object>(), "segments"), "segments", &segments) ||
      !ToReadOptions(info[1].As<Napi::Object>(), &job->options)) {
    return env.Undefined();
  }
  const Napi::Value fields = PropertyOf(info[1].As<Napi::Object>(), "fields");
  if (!fields.IsUndefined() && !ToFields(fields, &job->fields)) return env.Undefined();
  const Napi::Value search = PropertyOf(info[1].As<Napi::Object>(), "searchCodebook");
  if (env.IsExceptionPending() ||
      (!search.IsUndefined() && !search.IsNull() && !ToCodebook(search, &job->search))) {
    return env.Undefined();
  }
  if (job->search.tokens.codebook != nullptr &&
      job->search.tokens.codebook->contents().dim != job->format.dim) {
    return Throw(env, Status::Error("MODEL_MISMATCH", "searchCodebook has dim %u, but dim is %u.",
                                    job->search.tokens.codebook->contents().dim, job->format.dim));
  }
  if (!info[2].IsNull() && !info[2].IsUndefined() && !ToSnapshot(info[2], &job->previous)) {
    return env.Undefined();
  }
  const uint32_t count = segments.Length();
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    SegmentSpec spec;
    if (!ToSegmentSpec(PropertyOf(segments, i), &spec)) return env.Undefined();
    job->segments.push_back(std::move(spec));
  }
  return StartTask(
      env,
      [job] {
        bool missing = false;
        Status status = Snapshot::Open(job->directory, job->format, job->segments, job->options,
                                       job->previous.get(), &job->snapshot, &missing,
                                       {job->search.tokens.codebook, job->search.codebook_crc32c});
        job->previous.reset();
        if (status.ok()) status = job->snapshot->CheckFields(job->fields);
        // Not an IO_ERROR: the manifest says that the file is there.
        return missing ? Status::Error("CORRUPT_INDEX", "%s The manifest lists it.",
                                       status.message().c_str())
                       : status;
      },
      [job](Napi::Env e) { return SnapshotObject::Create(e, job->snapshot); });
}

}  // namespace

SnapshotObject::SnapshotObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SnapshotObject>(info) {
  if (!info[0].IsExternal() ||
      !info[0].As<Napi::External<std::shared_ptr<const Snapshot>>>().CheckTypeTag(&kSnapshotTag)) {
    Throw(info.Env(), Status::Error("INVALID_ARGUMENT", "openSnapshot makes snapshots."));
    return;
  }
  snapshot_ = *info[0].As<Napi::External<std::shared_ptr<const Snapshot>>>().Data();
  info.This().As<Napi::Object>().TypeTag(&kSnapshotTag);
}

Napi::Value SnapshotObject::Create(Napi::Env env, std::shared_ptr<const Snapshot> snapshot) {
  auto external = Napi::External<std::shared_ptr<const Snapshot>>::New(env, &snapshot);
  if (external.IsEmpty()) return env.Undefined();  // the thread is being terminated
  external.TypeTag(&kSnapshotTag);
  // The constructor copies the pointer before this returns.
  return ClassesOf(env).snapshot.New({external});
}

bool ToSnapshot(const Napi::Value& value, std::shared_ptr<const Snapshot>* snapshot) {
  const Napi::Env env = value.Env();
  if (!value.IsObject() || value.IsExternal() ||
      !value.As<Napi::Object>().CheckTypeTag(&kSnapshotTag)) {
    Throw(env, Status::Error("INVALID_ARGUMENT", "snapshot must be a Snapshot."));
    return false;
  }
  SnapshotObject* object = SnapshotObject::Unwrap(value.As<Napi::Object>());
  if (object->Get(env) == nullptr) return false;
  *snapshot = object->snapshot_;
  return true;
}

const Snapshot* SnapshotObject::Get(Napi::Env env) const {
  if (snapshot_ == nullptr) Throw(env, Status::Error("CLOSED", "The snapshot is closed."));
  return snapshot_.get();
}

bool SnapshotObject::ToRefs(const Napi::Value& value, std::vector<uint32_t>* refs) const {
  std::span<const uint32_t> given;
  if (!ToUint32s(value, "refs", &given)) return false;
  refs->assign(given.begin(), given.end());  // what is checked is what is used
  return true;
}

Napi::Value SnapshotObject::DocumentCount(const Napi::CallbackInfo& info) {
  const Snapshot* snapshot = Get(info.Env());
  return snapshot == nullptr ? info.Env().Undefined() : Count(info.Env(), snapshot->live_count());
}

Napi::Value SnapshotObject::TokenCount(const Napi::CallbackInfo& info) {
  const Snapshot* snapshot = Get(info.Env());
  return snapshot == nullptr ? info.Env().Undefined() : Count(info.Env(), snapshot->live_tokens());
}

Napi::Value SnapshotObject::Find(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array ids;
  if (Get(env) == nullptr || !ToArray(info[0], "ids", &ids)) return env.Undefined();
  // A getter in the array may close the snapshot under us.
  const std::shared_ptr<const Snapshot> snapshot = snapshot_;
  // Grown as ids prove valid: a sparse array of 2^32 holes must not be believed.
  std::vector<uint32_t> refs;
  const uint32_t count = ids.Length();
  std::string id;
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    const bool valid = ToId(PropertyOf(ids, i), &id);
    if (env.IsExceptionPending()) return env.Undefined();
    refs.push_back(valid ? snapshot->Find(id) : Snapshot::kUnknown);
  }
  return FromUint32s(env, refs);
}

Napi::Value SnapshotObject::Explain(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::shared_ptr<const PreparedQuery> query;
  uint64_t ref;
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr || !ToQuery(info[0], &query) ||
      !ToInteger(info[1], "ref", 0, kMaxUint32, &ref)) {
    return env.Undefined();
  }
  const VectorFormat& format = snapshot->format();
  if (query->dim() != format.dim) {
    return Throw(env,
                 Status::Error("MODEL_MISMATCH", "The query has dim %zu, but the index has dim %u.",
                               query->dim(), format.dim));
  }
  std::vector<MaxsimDocument> documents;
  const uint32_t refs[] = {static_cast<uint32_t>(ref)};
  const Status status = snapshot->Resolve(refs, &documents);
  if (!status.ok()) return Throw(env, status);
  std::vector<TokenMatch> matches(query->token_count());
  maxsim::Explain(*query, format.tokens, documents[0], matches.data());
  return FromMatches(env, matches);
}

Napi::Value SnapshotObject::Ids(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<uint32_t> refs;
  if (Get(env) == nullptr || !ToRefs(info[0], &refs)) return env.Undefined();
  // Setting elements can run setters of Array.prototype, which may close the snapshot under us.
  const std::shared_ptr<const Snapshot> snapshot = snapshot_;
  Napi::Array ids = Napi::Array::New(env, refs.size());
  for (uint32_t i = 0; i < refs.size(); i++) {
    const Napi::HandleScope scope(env);
    const Snapshot::Segment* segment;
    uint32_t ordinal;
    if (!snapshot->Locate(refs[i], &segment, &ordinal)) return Throw(env, NotLive(i, refs[i]));
    const std::string_view id = segment->reader->Id(ordinal);
    ids.Set(i, Napi::String::New(env, id.data(), id.size()));
  }
  return ids;
}

// (ref, limit?) -> Buffer: a copy of the record, or of its first `limit` bytes
Napi::Value SnapshotObject::Record(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t ref, limit = UINT32_MAX;
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr || !ToInteger(info[0], "ref", 0, kMaxUint32, &ref)) {
    return env.Undefined();
  }
  if (!info[1].IsUndefined() && !ToInteger(info[1], "limit", 0, kMaxUint32, &limit)) {
    return env.Undefined();
  }
  const Snapshot::Segment* segment;
  uint32_t ordinal;
  if (!snapshot->Locate(static_cast<uint32_t>(ref), &segment, &ordinal)) {
    return Throw(env, NotLive(0, static_cast<uint32_t>(ref)));
  }
  std::span<const uint8_t> record;
  const Status status = segment->reader->Record(ordinal, &record);
  if (!status.ok()) return Throw(env, status);
  return Napi::Buffer<uint8_t>::Copy(env, record.data(),
                                     static_cast<size_t>(std::min<uint64_t>(limit, record.size())));
}

Napi::Value SnapshotObject::TokenCounts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<uint32_t> refs;
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr || !ToRefs(info[0], &refs)) return env.Undefined();
  for (size_t i = 0; i < refs.size(); i++) {
    const Snapshot::Segment* segment;
    uint32_t ordinal;
    if (!snapshot->Locate(refs[i], &segment, &ordinal)) return Throw(env, NotLive(i, refs[i]));
    refs[i] = segment->reader->TokenCount(ordinal);
  }
  return FromUint32s(env, refs);
}

Napi::Value SnapshotObject::Tokens(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t ref;
  std::vector<MaxsimDocument> documents;
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr || !ToInteger(info[0], "ref", 0, kMaxUint32, &ref)) {
    return env.Undefined();
  }
  const uint32_t refs[] = {static_cast<uint32_t>(ref)};
  const Status status = snapshot->Resolve(refs, &documents);
  if (!status.ok()) return Throw(env, status);
  const VectorFormat& format = snapshot->format();
  std::vector<float> vectors(size_t{documents[0].token_count} * format.dim);
  DecodeTokens(format.tokens, static_cast<const uint8_t*>(documents[0].tokens),
               documents[0].token_count, format.dim, vectors.data());
  return FromFloats(env, vectors);
}

// (from, count) -> the next `count` live refs, ascending, from `from` on
Napi::Value SnapshotObject::Refs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t from, count;
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr || !ToInteger(info[0], "from", 0, kMaxUint32, &from) ||
      !ToInteger(info[1], "count", 1, kMaxUint32, &count)) {
    return env.Undefined();
  }
  std::vector<uint32_t> refs;
  for (const Snapshot::Segment& segment : snapshot->segments()) {
    const uint64_t end = uint64_t{segment.base} + segment.reader->document_count();
    for (uint64_t ref = std::max<uint64_t>(from, segment.base); ref < end && refs.size() < count;
         ref++) {
      if (!segment.IsDead(static_cast<uint32_t>(ref - segment.base))) {
        refs.push_back(static_cast<uint32_t>(ref));
      }
    }
  }
  return FromUint32s(env, refs);
}

Napi::Value SnapshotObject::Locate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t ref;
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr || !ToInteger(info[0], "ref", 0, kMaxUint32, &ref)) {
    return env.Undefined();
  }
  const Snapshot::Segment* segment;
  uint32_t ordinal;
  if (!snapshot->Locate(static_cast<uint32_t>(ref), &segment, &ordinal)) {
    return Throw(env, NotLive(0, static_cast<uint32_t>(ref)));
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("segment", Count(env, static_cast<uint64_t>(segment - snapshot->segments().data())));
  result.Set("ordinal", Count(env, ordinal));
  return result;
}

Napi::Value SnapshotObject::DeadOrdinals(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  uint64_t segment;
  const Snapshot* snapshot = Get(env);
  if (snapshot == nullptr ||
      !ToInteger(info[0], "segment", 0, static_cast<double>(snapshot->segments().size()) - 1,
                 &segment)) {
    return env.Undefined();
  }
  return FromUint32s(env, snapshot->segments()[segment].DeadOrdinals());
}

// [{ file, documents, dead, tokens, sizeBytes, sections: { tokens, … }, tombstoneBytes }]
Napi::Value SnapshotObject::Segments(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (Get(env) == nullptr) return env.Undefined();
  const std::shared_ptr<const Snapshot> snapshot = snapshot_;  // as in Ids
  Napi::Array list = Napi::Array::New(env);
  for (const Snapshot::Segment& segment : snapshot->segments()) {
    const SegmentHeader& header = segment.reader->header();
    Napi::Object sections = Napi::Object::New(env);
    const char* names[kSectionCount] = {"tokens",  "documentTable", "ids",
                                        "idTable", "fields",        "records"};
    for (uint32_t i = 0; i < kSectionCount; i++) {
      sections.Set(names[i], Count(env, header.sections[i].size));
    }
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("file", segment.file);
    entry.Set("documents", Count(env, header.document_count));
    entry.Set("dead", Count(env, segment.dead_count()));
    entry.Set("tokens", Count(env, header.token_count));
    entry.Set("sizeBytes", Count(env, header.file_size));
    entry.Set("tombstoneBytes",
              Count(env, segment.tombstones ? segment.tombstones->size_bytes() : 0));
    entry.Set("sections", sections);
    if (segment.codes != nullptr) {
      const CodesHeader& header_of_codes = segment.codes->header();
      Napi::Object codes = Napi::Object::New(env);
      codes.Set("file", segment.codes_file);
      codes.Set("sizeBytes", Count(env, header_of_codes.file_size));
      codes.Set("codes", Count(env, header_of_codes.code_count));
      codes.Set("tokens", Count(env, header_of_codes.token_count));
      codes.Set("cosineSum", header_of_codes.cosine_sum);
      codes.Set("lists", header_of_codes.list_blocks != 0);
      entry.Set("codes", codes);
    }
    list.Set(list.Length(), entry);
  }
  return list;
}

Napi::Value SnapshotObject::Share(const Napi::CallbackInfo& info) {
  return Get(info.Env()) == nullptr ? info.Env().Undefined() : Create(info.Env(), snapshot_);
}

Napi::Value SnapshotObject::Close(const Napi::CallbackInfo& info) {
  snapshot_.reset();
  return info.Env().Undefined();
}

void ExportSnapshot(Napi::Env env, Napi::Object exports) {
  using S = SnapshotObject;
  const Napi::Function snapshot =
      S::DefineClass(env, "Snapshot",
                     {S::InstanceAccessor<&S::DocumentCount>("documentCount"),
                      S::InstanceAccessor<&S::TokenCount>("tokenCount"),
                      S::InstanceMethod<&S::Find>("find"),
                      S::InstanceMethod<&S::Score>("score"),
                      S::InstanceMethod<&S::ScoreAsync>("scoreAsync"),
                      S::InstanceMethod<&S::Rank>("rank"),
                      S::InstanceMethod<&S::RankAsync>("rankAsync"),
                      S::InstanceMethod<&S::Search>("search"),
                      S::InstanceMethod<&S::Candidates>("candidates"),
                      S::InstanceMethod<&S::Match>("match"),
                      S::InstanceMethod<&S::Matching>("matching"),
                      S::InstanceMethod<&S::CountMatching>("countMatching"),
                      S::InstanceMethod<&S::TallyKeywords>("tallyKeywords"),
                      S::InstanceMethod<&S::Explain>("explain"),
                      S::InstanceMethod<&S::Ids>("ids"),
                      S::InstanceMethod<&S::Record>("record"),
                      S::InstanceMethod<&S::TokenCounts>("tokenCounts"),
                      S::InstanceMethod<&S::Tokens>("tokens"),
                      S::InstanceMethod<&S::Refs>("refs"),
                      S::InstanceMethod<&S::Locate>("locate"),
                      S::InstanceMethod<&S::DeadOrdinals>("deadOrdinals"),
                      S::InstanceMethod<&S::Segments>("segments"),
                      S::InstanceMethod<&S::Share>("share"),
                      S::InstanceMethod<&S::Close>("close")});
  ClassesOf(env).snapshot = Napi::Persistent(snapshot);
  exports.Set("openSnapshot", Napi::Function::New(env, OpenSnapshot, "openSnapshot"));
}

}  // namespace maxsim::addon
