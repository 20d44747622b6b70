// The oracle: MaxSim as its definition reads, one multiplication at a time. Every other kernel must
// give the same int8 scores, bit for bit. Compiled with vectorisation off, so that no compiler
// makes it anything else than what is written here.
#include <limits.h>
#include <math.h>
#include <string.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/fold.h"

namespace {

// 1024 dims * 255 * 127 < 2^25, as is the bias: no int32 accumulator can overflow.
void ScoreInt8(const MaxsimQueryInt8* query, const MaxsimDocument* documents, size_t document_count,
               float* scores) {
  const size_t dim = query->padded_dim;
  for (size_t i = 0; i < document_count; i++) {
    const uint8_t* rows = (const uint8_t*)documents[i].tokens;
    int32_t maxima[kMaxBlocks][kMaxsimLanes];
    for (uint32_t block = 0; block < query->block_count; block++) {
      const int8_t* tokens = query->tokens + block * dim * kMaxsimLanes;
      for (int lane = 0; lane < kMaxsimLanes; lane++) {
        int32_t best = INT_MIN;
        for (uint32_t row = 0; row < documents[i].token_count; row++) {
          int32_t dot = query->bias[block * kMaxsimLanes + lane];
          for (size_t d = 0; d < dim; d++) {
            dot += tokens[(d / 4 * kMaxsimLanes + lane) * 4 + d % 4] * rows[row * dim + d];
          }
          if (dot > best) best = dot;
        }
        maxima[block][lane] = best;
      }
    }
    scores[i] = FoldMaxima(maxima, query->scale, query->block_count, query->document_scale);
  }
}

void ScoreF32(const MaxsimQueryF32* query, const MaxsimDocument* documents, size_t document_count,
              float* scores) {
  const size_t dim = query->padded_dim;
  for (size_t i = 0; i < document_count; i++) {
    const uint8_t* rows = (const uint8_t*)documents[i].tokens;
    float maxima[kMaxBlocks][kMaxsimLanes];
    for (uint32_t block = 0; block < query->block_count; block++) {
      const float* tokens = query->tokens + block * dim * kMaxsimLanes;
      for (int lane = 0; lane < kMaxsimLanes; lane++) {
        float best = -INFINITY;
        for (uint32_t row = 0; row < documents[i].token_count; row++) {
          float dot = 0.f;
          for (size_t d = 0; d < dim; d++) {
            float value;  // mapped bytes, perhaps not aligned
            memcpy(&value, rows + (row * dim + d) * sizeof(float), sizeof(value));
            dot = dot + tokens[d * kMaxsimLanes + lane] * value;
          }
          if (dot > best) best = dot;
        }
        maxima[block][lane] = best;
      }
    }
    scores[i] = FoldMaxima(maxima, query->weight, query->block_count, 1.f);
  }
}

}  // namespace

const MaxsimKernels kMaxsimScalar = {"scalar", ScoreInt8, ScoreF32};
