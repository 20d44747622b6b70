// In: a prepared query and documents of one format. Out: their MaxSim scores, or why one is what it
// is.
#include "maxsim/scan.h"

#include <cstring>
#include <limits>
#include <vector>

#include "maxsim/dispatch.h"

namespace maxsim {
namespace {

// dots[lane] = the exact signed products of one block of query tokens with one row.
void BlockDots(const MaxsimQueryInt8& query, size_t block, const uint8_t* row,
               int32_t (&dots)[kMaxsimLanes]) {
  const int8_t* lanes = query.tokens + block * kMaxsimLanes * query.padded_dim;
  std::memcpy(dots, query.bias + block * kMaxsimLanes, sizeof(dots));
  for (size_t d = 0; d < query.padded_dim; d += 4, lanes += kMaxsimLanes * 4) {
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
      for (size_t i = 0; i < 4; i++) dots[lane] += lanes[lane * 4 + i] * row[d + i];
    }
  }
}

void BlockDots(const MaxsimQueryF32& query, size_t block, const uint8_t* row,
               float (&dots)[kMaxsimLanes]) {
  const float* lanes = query.tokens + block * kMaxsimLanes * query.padded_dim;
  for (float& dot : dots) dot = 0.f;
  for (size_t d = 0; d < query.padded_dim; d++, lanes += kMaxsimLanes) {
    float value;
    std::memcpy(&value, row + d * sizeof(float), sizeof(value));
    for (size_t lane = 0; lane < kMaxsimLanes; lane++)
      dots[lane] = dots[lane] + lanes[lane] * value;
  }
}

template <typename Dot, typename Query>
void ExplainRows(const Query& query, size_t query_tokens, const float* factor, float document_scale,
                 MaxsimDocument document, size_t row_bytes, TokenMatch* matches) {
  std::vector<Dot> best(query_tokens, std::numeric_limits<Dot>::lowest());
  for (size_t token = 0; token < query_tokens; token++) matches[token].document_token = 0;
  const uint8_t* row = static_cast<const uint8_t*>(document.tokens);
  for (uint32_t document_token = 0; document_token < document.token_count; document_token++) {
    for (size_t block = 0; block < query.block_count; block++) {
      Dot dots[kMaxsimLanes];
      BlockDots(query, block, row, dots);
      for (size_t token = block * kMaxsimLanes, lane = 0;
           lane < kMaxsimLanes && token < query_tokens; token++, lane++) {
        if (dots[lane] > best[token]) {
          best[token] = dots[lane];
          matches[token].document_token = document_token;
        }
      }
    }
    row += row_bytes;
  }
  for (size_t token = 0; token < query_tokens; token++) {
    matches[token].contribution = static_cast<float>(best[token]) * factor[token] * document_scale;
  }
}

}  // namespace

void Scan(const PreparedQuery& query, TokenFormat format, const MaxsimDocument* documents,
          size_t document_count, float* scores) {
  const MaxsimKernels& kernels = *Kernels().chosen;
  if (format.codec == Codec::kInt8) {
    const MaxsimQueryInt8 prepared = query.Int8(format.scale);
    kernels.score_int8(&prepared, documents, document_count, scores);
  } else {
    const MaxsimQueryF32 prepared = query.F32();
    kernels.score_f32(&prepared, documents, document_count, scores);
  }
}

void Explain(const PreparedQuery& query, TokenFormat format, MaxsimDocument document,
             TokenMatch* matches) {
  if (format.codec == Codec::kInt8) {
    const MaxsimQueryInt8 prepared = query.Int8(format.scale);
    ExplainRows<int32_t>(prepared, query.token_count(), prepared.scale, format.scale, document,
                         prepared.padded_dim, matches);
  } else {
    const MaxsimQueryF32 prepared = query.F32();
    ExplainRows<float>(prepared, query.token_count(), prepared.weight, 1.f, document,
                       prepared.padded_dim * sizeof(float), matches);
  }
}

}  // namespace maxsim
