// Scores of token vectors that no index holds. They pass through the codec first, so that a
// candidate scores as if it were stored.
#include <algorithm>
#include <memory>
#include <vector>

#include "addon/convert.h"
#include "addon/query.h"
#include "index/segment_writer.h"
#include "maxsim/codec.h"
#include "maxsim/scan.h"

namespace maxsim::addon {
namespace {

struct Job {
  std::shared_ptr<const PreparedQuery> query;
  VectorFormat format;
  std::vector<float> vectors;  // a copy: nobody else can change or detach it
  std::vector<uint32_t> token_counts;
  std::vector<float> scores;
  TaskLimits limits;
};

Status CheckDim(const PreparedQuery& query, const VectorFormat& format) {
  if (query.dim() == format.dim) return Status::Ok();
  return Status::Error("MODEL_MISMATCH", "The query has dim %zu, but the vectors have dim %u.",
                       query.dim(), format.dim);
}

bool ToJob(const Napi::CallbackInfo& info, Job* job) {
  std::span<const float> vectors;
  std::span<const uint32_t> counts;
  if (!ToQuery(info[0], &job->query) || !ToFormat(info[1], &job->format) ||
      !ToLimits(info[4], &job->limits) || !ToFloats(info[2], "vectors", &vectors) ||
      !ToUint32s(info[3], "tokenCounts", &counts)) {
    return false;
  }
  job->token_counts.assign(counts.begin(), counts.end());
  uint64_t tokens = 0;
  for (const uint32_t count : job->token_counts) tokens += count;
  // tokens < 2^64 / 2^10: at most 2^32 counts below 2^32... of which a JavaScript array holds
  // fewer.
  if (tokens > vectors.size() || tokens * job->format.dim != vectors.size()) {
    Throw(info.Env(),
          Status::Error("INVALID_VECTORS",
                        "vectors has %zu values, but tokenCounts asks for %llu tokens of dim %u.",
                        vectors.size(), static_cast<unsigned long long>(tokens), job->format.dim));
    return false;
  }
  const Status status = CheckDim(*job->query, job->format);
  if (!status.ok()) {
    Throw(info.Env(), status);
    return false;
  }
  job->vectors.assign(vectors.begin(), vectors.end());
  return true;
}

Status Run(Job& job) {
  std::vector<FloatDocuments::Document> documents;
  size_t offset = 0;
  for (size_t i = 0; i < job.token_counts.size(); i++) {
    const size_t size = size_t{job.token_counts[i]} * job.format.dim;
    documents.push_back({"vectors[" + std::to_string(i) + "]",
                         std::span<const float>(job.vectors).subspan(offset, size),
                         {}});
    offset += size;
  }
  FloatDocuments source(job.format, std::move(documents));
  Status status = source.Validate();
  if (!status.ok()) return status;
  job.scores.resize(job.token_counts.size());
  Scanner scanner(*job.query, job.format.tokens);
  // A chunk encoded at a time; kernels may read a little past the last document.
  constexpr size_t kChunk = 64;
  for (size_t first = 0; first < job.scores.size(); first += kChunk) {
    status = job.limits.limits.Check();
    if (!status.ok()) return status;
    const size_t count = std::min(kChunk, job.scores.size() - first);
    size_t tokens = 0;
    for (size_t i = first; i < first + count; i++) tokens += source.TokenCount(i);
    std::vector<uint8_t> bytes(tokens * job.format.TokenBytes() + kMaxsimResidualSlack);
    std::vector<MaxsimDocument> chunk;
    uint8_t* at = bytes.data();
    for (size_t i = first; i < first + count; i++) {
      const std::span<const uint8_t> block = source.Tokens(i);
      std::copy(block.begin(), block.end(), at);
      chunk.push_back({at, source.TokenCount(i)});
      at += block.size();
    }
    scanner.Prepare(chunk);
    scanner.Scan(chunk.data(), count, &job.scores[first]);
  }
  return Status::Ok();
}

// (query, format, vectors, tokenCounts) -> Float32Array
Napi::Value ScoreVectors(const Napi::CallbackInfo& info) {
  Job job;
  if (!ToJob(info, &job)) return info.Env().Undefined();
  const Status status = Run(job);
  if (!status.ok()) return Throw(info.Env(), status);
  return FromFloats(info.Env(), job.scores);
}

Napi::Value ScoreVectorsAsync(const Napi::CallbackInfo& info) {
  auto job = std::make_shared<Job>();
  if (!ToJob(info, job.get())) return info.Env().Undefined();
  return StartTask(
      info.Env(), [job] { return Run(*job); },
      [job](Napi::Env env) -> Napi::Value { return FromFloats(env, job->scores); });
}

// (query, format, vectors) -> { documentTokens, contributions }
Napi::Value ExplainVectors(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Job job;
  std::span<const float> vectors;
  if (!ToQuery(info[0], &job.query) || !ToFormat(info[1], &job.format) ||
      !ToFloats(info[2], "vectors", &vectors)) {
    return env.Undefined();
  }
  Status status = CheckDim(*job.query, job.format);
  if (!status.ok()) return Throw(env, status);
  job.vectors.assign(vectors.begin(), vectors.end());
  FloatDocuments source(job.format, {{"vectors", job.vectors, {}}});
  status = source.Validate();
  if (!status.ok()) return Throw(env, status);
  std::vector<TokenMatch> matches(job.query->token_count());
  Explain(*job.query, job.format.tokens, {source.Tokens(0).data(), source.TokenCount(0)},
          matches.data());
  return FromMatches(env, matches);
}

}  // namespace

void ExportVectors(Napi::Env env, Napi::Object exports) {
  exports.Set("scoreVectors", Napi::Function::New(env, ScoreVectors, "scoreVectors"));
  exports.Set("scoreVectorsAsync",
              Napi::Function::New(env, ScoreVectorsAsync, "scoreVectorsAsync"));
  exports.Set("explainVectors", Napi::Function::New(env, ExplainVectors, "explainVectors"));
}

}  // namespace maxsim::addon
