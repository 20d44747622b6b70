// The oracle: MaxSim as its definition reads, one multiplication at a time. Every other kernel must
// give the same scores of integer codecs, bit for bit. Compiled with vectorisation off, so that no
// compiler makes it anything else than what is written here.
#include <limits.h>
#include <math.h>
#include <string.h>

#include "maxsim/half.h"
#include "maxsim/kernel.h"
#define MAXSIM_NO_VECTORS
#include "maxsim/kernels/codes.h"
#include "maxsim/kernels/encode.h"
#include "maxsim/kernels/fold.h"

namespace {

float ReadF32(const uint8_t* bytes) {
  float value;
  memcpy(&value, bytes, sizeof(value));
  return value;
}

uint16_t ReadU16(const uint8_t* bytes) {
  uint16_t value;
  memcpy(&value, bytes, sizeof(value));
  return value;
}

// 1024 dims * 255 * 127 < 2^25, as is the bias: no int32 accumulator can overflow.
int32_t Dot(int32_t start, const int8_t* block, int lane, const uint8_t* row, size_t dim) {
  int32_t dot = start;
  for (size_t d = 0; d < dim; d++) {
    dot += block[(d / 4 * kMaxsimLanes + lane) * 4 + d % 4] * row[d];
  }
  return dot;
}

void ScoreInt8(const MaxsimQueryInt8* query, const MaxsimDocument* documents, size_t document_count,
               MaxsimExit* exit, float* scores) {
  const size_t dim = query->padded_dim;
  for (size_t i = 0; i < document_count; i++) {
    const uint8_t* rows = (const uint8_t*)documents[i].tokens;
    Fold fold;
    bool given_up = false;
    for (uint32_t block = 0; block < query->block_count && !given_up; block++) {
      const int8_t* tokens = query->tokens + block * dim * kMaxsimLanes;
      int32_t maxima[1][kMaxsimLanes];
      for (int lane = 0; lane < kMaxsimLanes; lane++) {
        const int32_t bias = query->bias[block * kMaxsimLanes + lane];
        maxima[0][lane] = INT_MIN;
        for (uint32_t row = 0; row < documents[i].token_count; row++) {
          const int32_t dot = Dot(bias, tokens, lane, rows + row * dim, dim);
          if (dot > maxima[0][lane]) maxima[0][lane] = dot;
        }
      }
      fold.Add(maxima, query->factor + block * kMaxsimLanes, 1);
      given_up =
          block + 1 < query->block_count && GivesUp(exit, fold, query->document_scale, block + 1);
    }
    scores[i] = given_up ? -INFINITY : fold.Score(query->document_scale);
  }
}

void ScoreInt8Token(const MaxsimQueryInt8* query, const MaxsimDocument* documents,
                    size_t document_count, MaxsimExit* exit, float* scores) {
  const size_t dim = query->padded_dim;
  for (size_t i = 0; i < document_count; i++) {
    const uint32_t count = documents[i].token_count;
    const uint8_t* rows = (const uint8_t*)documents[i].tokens;
    const uint8_t* scales = rows + count * dim;
    Fold fold;
    bool given_up = false;
    for (uint32_t block = 0; block < query->block_count && !given_up; block++) {
      const int8_t* tokens = query->tokens + block * dim * kMaxsimLanes;
      float maxima[1][kMaxsimLanes];
      for (int lane = 0; lane < kMaxsimLanes; lane++) {
        const int32_t bias = query->bias[block * kMaxsimLanes + lane];
        maxima[0][lane] = -INFINITY;
        for (uint32_t row = 0; row < count; row++) {
          const int32_t dot = Dot(bias, tokens, lane, rows + row * dim, dim);
          const float value = (float)dot * ReadF32(scales + row * sizeof(float));
          if (value > maxima[0][lane]) maxima[0][lane] = value;
        }
      }
      fold.Add(maxima, query->factor + block * kMaxsimLanes, 1);
      given_up =
          block + 1 < query->block_count && GivesUp(exit, fold, query->document_scale, block + 1);
    }
    scores[i] = given_up ? -INFINITY : fold.Score(query->document_scale);
  }
}

void ScoreResidual(const MaxsimQueryInt8* query, const MaxsimResidual* residual,
                   const MaxsimDocument* documents, size_t document_count, MaxsimExit* exit,
                   float* scores) {
  const size_t dim = query->padded_dim, code_bytes = residual->code_bytes;
  const uint32_t mask = (1u << residual->bits) - 1;
  for (size_t i = 0; i < document_count; i++) {
    const uint32_t count = documents[i].token_count;
    const uint8_t* codes = (const uint8_t*)documents[i].tokens;
    const uint8_t* factors = codes + count * code_bytes;
    const uint8_t* ids = factors + count * sizeof(uint16_t);
    Fold fold;
    bool given_up = false;
    for (uint32_t block = 0; block < query->block_count && !given_up; block++) {
      const int8_t* tokens = query->tokens + block * dim * kMaxsimLanes;
      float maxima[1][kMaxsimLanes];
      for (int lane = 0; lane < kMaxsimLanes; lane++) maxima[0][lane] = -INFINITY;
      for (uint32_t row = 0; row < count; row++) {
        uint8_t values[1024];
        for (size_t d = 0; d < dim; d++) {
          const uint32_t plane = (uint32_t)(d / code_bytes) * residual->bits;
          values[d] = residual->weights[codes[row * code_bytes + d % code_bytes] >> plane & mask];
        }
        uint32_t id = 0;
        memcpy(&id, ids + row * residual->id_bytes, residual->id_bytes);
        const int16_t* entry =
            residual->table + ((size_t)id * query->block_count + block) * kMaxsimLanes;
        const float factor = FromHalf(ReadU16(factors + row * sizeof(uint16_t)));
        for (int lane = 0; lane < kMaxsimLanes; lane++) {
          const int32_t start = (int32_t)((uint32_t)(int32_t)entry[lane] << residual->table_shift);
          const float value = (float)Dot(start, tokens, lane, values, dim) * factor;
          if (value > maxima[0][lane]) maxima[0][lane] = value;
        }
      }
      fold.Add(maxima, query->factor + block * kMaxsimLanes, 1);
      given_up =
          block + 1 < query->block_count && GivesUp(exit, fold, query->document_scale, block + 1);
    }
    scores[i] = given_up ? -INFINITY : fold.Score(query->document_scale);
  }
}

float ReadHalf(const uint8_t* bytes) { return FromHalf(ReadU16(bytes)); }
float ReadBfloat16(const uint8_t* bytes) { return FromBfloat16(ReadU16(bytes)); }

template <float (*kRead)(const uint8_t*), size_t kBytes>
void ScoreFloats(const MaxsimQueryF32* query, const MaxsimDocument* documents,
                 size_t document_count, MaxsimExit* exit, float* scores) {
  const size_t dim = query->padded_dim;
  for (size_t i = 0; i < document_count; i++) {
    const uint8_t* rows = (const uint8_t*)documents[i].tokens;
    Fold fold;
    bool given_up = false;
    for (uint32_t block = 0; block < query->block_count && !given_up; block++) {
      const float* tokens = query->tokens + block * dim * kMaxsimLanes;
      float maxima[1][kMaxsimLanes];
      for (int lane = 0; lane < kMaxsimLanes; lane++) {
        maxima[0][lane] = -INFINITY;
        for (uint32_t row = 0; row < documents[i].token_count; row++) {
          float dot = 0.f;
          for (size_t d = 0; d < dim; d++) {
            dot = dot + tokens[d * kMaxsimLanes + lane] * kRead(rows + (row * dim + d) * kBytes);
          }
          if (dot > maxima[0][lane]) maxima[0][lane] = dot;
        }
      }
      fold.Add(maxima, query->factor + block * kMaxsimLanes, 1);
      given_up =
          block + 1 < query->block_count && GivesUp(exit, fold, query->document_scale, block + 1);
    }
    scores[i] = given_up ? -INFINITY : fold.Score(query->document_scale);
  }
}

void FillTable(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids, const uint32_t* ids,
               size_t count) {
  const size_t dim = query->padded_dim;
  for (size_t i = 0; i < count; i++) {
    const size_t id = ids == nullptr ? i : ids[i];
    for (uint32_t block = 0; block < query->block_count; block++) {
      for (int lane = 0; lane < kMaxsimLanes; lane++) {
        const int32_t bias = query->bias[block * kMaxsimLanes + lane];
        const int32_t dot = Dot(bias, query->tokens + block * dim * kMaxsimLanes, lane,
                                centroids->rows + id * dim, dim);
        const int32_t exact = dot * (int32_t)(1u << centroids->centroid_shift) + bias;
        const int32_t half = (int32_t)(1u << centroids->table_shift >> 1);
        centroids->table[(id * query->block_count + block) * kMaxsimLanes + (size_t)lane] =
            (int16_t)((exact + half) >> centroids->table_shift);
      }
    }
  }
}

void Nearest(const int8_t* tokens, size_t block_count, const MaxsimRows* rows, uint32_t* best,
             int32_t* maxima) {
  const size_t dim = rows->padded_dim;
  for (size_t block = 0; block < block_count; block++, tokens += dim * kMaxsimLanes) {
    for (int lane = 0; lane < kMaxsimLanes; lane++, best++) {
      int32_t largest = INT_MIN;
      *best = 0;
      for (size_t row = 0; row < rows->count; row++) {
        const int32_t value = Dot(rows->terms[row], tokens, lane, rows->rows + row * dim, dim);
        if (value > largest) {
          largest = value;
          *best = (uint32_t)row;
        }
      }
      if (maxima != nullptr) *maxima++ = largest;
    }
  }
}

}  // namespace

const MaxsimKernels kMaxsimScalar = {"scalar",
                                     ScoreInt8,
                                     ScoreInt8Token,
                                     ScoreResidual,
                                     ScoreFloats<ReadF32, 4>,
                                     ScoreFloats<ReadHalf, 2>,
                                     ScoreFloats<ReadBfloat16, 2>,
                                     FillTable,
                                     Nearest,
                                     EncodeInt8,
                                     ScanCodes,
                                     ToBytes};
