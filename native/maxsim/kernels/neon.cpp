// NEON kernels (Armv8.2 with the dot product instructions): a query and documents in, MaxSim scores
// out, int8 bit-equal to scalar.cpp. Query tokens lie in lanes (a block of 16 is four vectors);
// dims of a document token are read 16 bytes at a time and multiplied by element, so nothing is
// broadcast. Dot products and running maxima stay in registers until a document ends.
#include <arm_neon.h>
#include <limits.h>
#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/blocks.h"
#include "maxsim/kernels/rows.h"

namespace {

constexpr int kQuarters = 4;  // vectors per block
constexpr int kQuarterLanes = kMaxsimLanes / kQuarters;

// 4 tokens x 4 vectors = 16 accumulators; with 4 vectors of document, 4 of query and 4 maxima, 28
// of 32 registers. SDOT and FMLA have a latency of 3 or 4 and a rate of 2 to 4 a cycle: 16 chains
// keep them busy.
constexpr uint32_t kTile = 4;

// Stored bytes (value + 128) as the signed values that SDOT takes: less 128 is the top bit flipped.
MAXSIM_INLINE int8x16_t Signed(uint8x16_t stored) {
  return vreinterpretq_s8_u8(veorq_u8(stored, vdupq_n_u8(0x80)));
}

// Adds 4 dims of every token, element kElement of `document`, to the dot products with 16 query
// tokens.
template <int kElement, uint32_t kTokens>
MAXSIM_INLINE void MultiplyAdd(int32x4_t (&dot)[kTokens][kQuarters],
                               const int8x16_t (&document)[kTokens], const int8_t* lanes) {
  MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) {
    const int8x16_t query = vld1q_s8(lanes + q * 16);
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      dot[t][q] = vdotq_laneq_s32(dot[t][q], query, document[t], kElement);
    }
  }
}

// The same for one dim of f32.
template <int kElement, uint32_t kTokens>
MAXSIM_INLINE void MultiplyAdd(float32x4_t (&dot)[kTokens][kQuarters],
                               const float32x4_t (&document)[kTokens], const float* lanes) {
  MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) {
    const float32x4_t query = vld1q_f32(lanes + q * kQuarterLanes);
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      dot[t][q] = vfmaq_laneq_f32(dot[t][q], query, document[t], kElement);
    }
  }
}

// Maxima over all rows for one block of query tokens. Both factors are signed, so the accumulators
// start at 0 and the bias is not needed. 1024 dims * 128 * 127 < 2^24: no overflow, and SDOT does
// not saturate.
template <uint32_t kTokens>
void PassInt8(const int8_t* query, const Rows& rows, int32_t* maxima) {
  const size_t dim = rows.row_bytes;
  int32x4_t best[kQuarters];
  MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) best[q] = vdupq_n_s32(INT_MIN);
  for (TileWalk<kTokens> walk(rows); !walk.done; walk.Step(rows)) {
    int32x4_t dot[kTokens][kQuarters];
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) dot[t][q] = vdupq_n_s32(0);
    }
    const uint8_t* row = walk.row;
    const uint8_t* ahead = walk.ahead;
    const int8_t* lanes = query;
    size_t d = 0;
    for (; d + 16 <= dim; d += 16) {
      Fetch(ahead);  // a line per 16 dims: the 4 rows of the next tile
      ahead += 64;
      int8x16_t document[kTokens];
      MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
        document[t] = Signed(vld1q_u8(row + t * dim));
      }
      MultiplyAdd<0>(dot, document, lanes);
      MultiplyAdd<1>(dot, document, lanes + 64);
      MultiplyAdd<2>(dot, document, lanes + 128);
      MultiplyAdd<3>(dot, document, lanes + 192);
      row += 16;
      lanes += 256;
    }
    for (; d < dim; d += 4) {  // rows whose dim is no multiple of 16 end here
      int8x16_t document[kTokens];
      MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
        document[t] = Signed(vreinterpretq_u8_s32(vdupq_n_s32(ReadInt32(row + t * dim))));
      }
      MultiplyAdd<0>(dot, document, lanes);
      row += 4;
      lanes += 64;
    }
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) best[q] = vmaxq_s32(best[q], dot[t][q]);
    }
  }
  MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) vst1q_s32(maxima + q * kQuarterLanes, best[q]);
}

template <uint32_t kTokens>
void PassF32(const float* query, const Rows& rows, float* maxima) {
  const size_t dim = rows.row_bytes / sizeof(float);
  float32x4_t best[kQuarters];
  MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) best[q] = vdupq_n_f32(-INFINITY);
  for (TileWalk<kTokens> walk(rows); !walk.done; walk.Step(rows)) {
    float32x4_t dot[kTokens][kQuarters];
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) dot[t][q] = vdupq_n_f32(0);
    }
    const uint8_t* row = walk.row;
    const uint8_t* ahead = walk.ahead;
    const float* lanes = query;
    for (size_t d = 0; d < dim; d += 4) {
      Fetch(ahead);  // a line per 4 dims: the 4 rows of the next tile
      ahead += 64;
      float32x4_t document[kTokens];
      MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
        // As bytes, because a float in a mapped document may stand at any address.
        document[t] = vreinterpretq_f32_u8(vld1q_u8(row + t * rows.row_bytes));
      }
      MultiplyAdd<0>(dot, document, lanes);
      MultiplyAdd<1>(dot, document, lanes + kMaxsimLanes);
      MultiplyAdd<2>(dot, document, lanes + 2 * kMaxsimLanes);
      MultiplyAdd<3>(dot, document, lanes + 3 * kMaxsimLanes);
      row += 16;
      lanes += 4 * kMaxsimLanes;
    }
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) best[q] = vmaxq_f32(best[q], dot[t][q]);
    }
  }
  MAXSIM_UNROLL for (int q = 0; q < kQuarters; q++) vst1q_f32(maxima + q * kQuarterLanes, best[q]);
}

void BlockInt8(const MaxsimQueryInt8* /*query*/, const int8_t* tokens, const int32_t* /*bias*/,
               const Rows& rows, int32_t* maxima) {
  if (rows.count >= kTile) return PassInt8<kTile>(tokens, rows, maxima);
  PassInt8<1>(tokens, rows, maxima);
}

void BlockF32(const float* tokens, const Rows& rows, float* maxima) {
  if (rows.count >= kTile) return PassF32<kTile>(tokens, rows, maxima);
  PassF32<1>(tokens, rows, maxima);
}

}  // namespace

const MaxsimKernels kMaxsimNeon = {"neon", ScoreInt8<BlockInt8>, ScoreF32<BlockF32>};
