// NEON kernels (Armv8.2 with the dot product instructions): the passes of passes.h over 128-bit
// vectors. Dims of a document token are read 16 bytes at a time and multiplied by element, so
// nothing is broadcast.
#include <arm_neon.h>

#include "maxsim/kernels/passes.h"

namespace {

struct Neon {
  typedef int32x4_t Int;
  typedef float32x4_t Float;
  typedef uint8x16_t Bytes;
  typedef FetchAhead<1> FetchBytes;  // a line per 16 dims: the 4 rows of the next tile

  // 4 tokens x 4 vectors = 16 accumulators; with 4 vectors of document, 4 of query and 4 maxima, 28
  // of 32 registers. SDOT and FMLA have a latency of 3 or 4 and a rate of 2 to 4 a cycle: 16 chains
  // keep them busy.
  static constexpr uint32_t kLanes = 4, kPassBlocks = 1, kTile = 4, kSmallTile = 1;
  static constexpr uint32_t kResidualTile = kTile, kResidualOneBlockTile = kTile;
  static constexpr bool kSpecialDims = ::kSpecialDims;
  static constexpr size_t kStepDims = 16;
  template <size_t kDim>
  static constexpr size_t kTailDims = 0;

  struct Lanes {
    const int8_t* bytes;
    MAXSIM_INLINE Lanes(const int8_t* tokens, size_t /*dim*/) : bytes(tokens) {}
  };

  static MAXSIM_INLINE Int LoadInt(const int32_t* values) { return vld1q_s32(values); }
  static MAXSIM_INLINE Int LoadInt16(const int16_t* values) { return vmovl_s16(vld1_s16(values)); }
  static MAXSIM_INLINE Int SetInt(int32_t value) { return vdupq_n_s32(value); }
  static MAXSIM_INLINE Float SetFloat(float value) { return vdupq_n_f32(value); }
  static MAXSIM_INLINE Float BroadcastFloat(const uint8_t* bytes) {
    return SetFloat(ReadFloat(bytes));
  }
  static MAXSIM_INLINE Float ToFloat(Int value) { return vcvtq_f32_s32(value); }
  // SDOT multiplies value, not value + 128: the bias of -128 * sum(query) is not wanted.
  static MAXSIM_INLINE Int FromUnsigned(Int start, Int bias) { return vsubq_s32(start, bias); }
  static MAXSIM_INLINE Int Add(Int a, Int b) { return vaddq_s32(a, b); }
  static MAXSIM_INLINE Int ShiftLeft(Int value, Int count) { return vshlq_s32(value, count); }
  static MAXSIM_INLINE Int ShiftRight(Int value, Int count) {
    return vshlq_s32(value, vnegq_s32(count));
  }
  static MAXSIM_INLINE Int Max(Int a, Int b) { return vmaxq_s32(a, b); }
  static MAXSIM_INLINE Float Max(Float a, Float b) { return vmaxq_f32(a, b); }
  static MAXSIM_INLINE Float Multiply(Float a, Float b) { return vmulq_f32(a, b); }
  static MAXSIM_INLINE void Store(int32_t* to, Int value) { vst1q_s32(to, value); }
  static MAXSIM_INLINE void Store(float* to, Float value) { vst1q_f32(to, value); }
  static MAXSIM_INLINE void StoreInt16(int16_t* to, Int value) { vst1_s16(to, vqmovn_s32(value)); }
  static MAXSIM_INLINE void TakeLarger(Int& largest, Int& row_of, Int value, Int row) {
    const uint32x4_t larger = vcgtq_s32(value, largest);
    largest = vmaxq_s32(largest, value);
    row_of = vbslq_s32(larger, row, row_of);
  }

  // Stored bytes (value + 128) as the signed values that SDOT takes: less 128 is the top bit
  // flipped.
  static MAXSIM_INLINE int8x16_t Signed(uint8x16_t stored) {
    return vreinterpretq_s8_u8(veorq_u8(stored, vdupq_n_u8(0x80)));
  }

  // Adds 4 dims of every token, element kElement of `document`, to the products with 16 query
  // tokens.
  template <int kElement, uint32_t T>
  static MAXSIM_INLINE void MultiplyAdd(Int (&dot)[T][4], const int8x16_t (&document)[T],
                                        const int8_t* lanes) {
    MAXSIM_UNROLL for (int v = 0; v < 4; v++) {
      const int8x16_t query = vld1q_s8(lanes + v * 16);
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        dot[t][v] = vdotq_laneq_s32(dot[t][v], query, document[t], kElement);
      }
    }
  }
  // The same for one dim of f32.
  template <int kElement, uint32_t T>
  static MAXSIM_INLINE void MultiplyAdd(Float (&dot)[T][4], const float32x4_t (&document)[T],
                                        const float* lanes) {
    MAXSIM_UNROLL for (int v = 0; v < 4; v++) {
      const float32x4_t query = vld1q_f32(lanes + v * kLanes);
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        dot[t][v] = vfmaq_laneq_f32(dot[t][v], query, document[t], kElement);
      }
    }
  }

  // 1024 dims * 128 * 127 < 2^24: no overflow, and SDOT does not saturate.
  template <uint32_t T, uint32_t V, typename Hook>
  static MAXSIM_INLINE void Dot(Int (&dot)[T][V], const uint8_t* rows, size_t stride,
                                const Lanes& query, size_t /*dim*/, size_t begin, size_t end,
                                Hook& hook) {
    const int8_t* lanes = query.bytes + begin * kMaxsimLanes;
    const uint8_t* row = rows + begin;
    size_t d = begin;
    for (; d + 16 <= end; d += 16) {
      hook();
      int8x16_t document[T];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        document[t] = Signed(vld1q_u8(row + t * stride));
      }
      MultiplyAdd<0>(dot, document, lanes);
      MultiplyAdd<1>(dot, document, lanes + 64);
      MultiplyAdd<2>(dot, document, lanes + 128);
      MultiplyAdd<3>(dot, document, lanes + 192);
      row += 16;
      lanes += 256;
    }
    for (; d < end; d += 4) {  // rows whose dim is no multiple of 16 end here
      int8x16_t document[T];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        document[t] = Signed(vreinterpretq_u8_s32(vdupq_n_s32(ReadInt32(row + t * stride))));
      }
      MultiplyAdd<0>(dot, document, lanes);
      row += 4;
      lanes += 64;
    }
  }

  template <uint32_t T, uint32_t V, typename Hook>
  static MAXSIM_INLINE void DotFloats(Float (&dot)[T][V], const uint8_t* rows, const float* lanes,
                                      size_t dim, Hook& hook) {
    for (size_t d = 0; d < dim; d += 4) {
      hook();
      float32x4_t document[T];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        // As bytes, because a float in a mapped document may stand at any address.
        document[t] = vreinterpretq_f32_u8(vld1q_u8(rows + t * dim * sizeof(float)));
      }
      MultiplyAdd<0>(dot, document, lanes);
      MultiplyAdd<1>(dot, document, lanes + kMaxsimLanes);
      MultiplyAdd<2>(dot, document, lanes + 2 * kMaxsimLanes);
      MultiplyAdd<3>(dot, document, lanes + 3 * kMaxsimLanes);
      rows += 4 * sizeof(float);
      lanes += 4 * kMaxsimLanes;
    }
  }

  static MAXSIM_INLINE Bytes LoadBytes(const uint8_t (&values)[16]) { return vld1q_u8(values); }

  // One token's codes to bytes, plane after plane (kernel.h). Reads and writes whole vectors: the
  // next plane overwrites what one has written too much.
  template <uint32_t kBits>
  static MAXSIM_INLINE void Expand(Bytes weights, const uint8_t* codes, size_t code_bytes,
                                   uint8_t* row) {
    const uint8x16_t mask = vdupq_n_u8((1 << kBits) - 1);
    MAXSIM_UNROLL for (uint32_t plane = 0; plane < 8 / kBits; plane++) {
      const int8x16_t down = vdupq_n_s8((int8_t)(-(int)(plane * kBits)));
      for (size_t c = 0; c < code_bytes; c += 16) {
        const uint8x16_t code = vandq_u8(vshlq_u8(vld1q_u8(codes + c), down), mask);
        vst1q_u8(row + plane * code_bytes + c, vqtbl1q_u8(weights, code));
      }
    }
  }

  static MAXSIM_INLINE Float FourHalves(const uint8_t* values) {
    uint16x4_t stored;
    memcpy(&stored, values, sizeof(stored));
    return vcvt_f32_f16(vreinterpret_f16_u16(stored));
  }

  // Reads 4 halves: the ids follow, and kMaxsimResidualSlack.
  template <uint32_t T>
  static MAXSIM_INLINE void FactorsOf(const uint8_t* halves, float (&factors)[16]) {
    static_assert(T <= 4, "one load");
    vst1q_f32(factors, FourHalves(halves));
  }

  static MAXSIM_INLINE void FromHalves(const uint8_t* values, size_t count, float* floats) {
    for (size_t i = 0; i < count; i += 4) vst1q_f32(floats + i, FourHalves(values + i * 2));
  }
  static MAXSIM_INLINE void FromBfloat16s(const uint8_t* values, size_t count, float* floats) {
    for (size_t i = 0; i < count; i += 4) {
      uint16x4_t stored;
      memcpy(&stored, values + i * 2, sizeof(stored));
      vst1q_f32(floats + i, vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(stored), 16)));
    }
  }
};

}  // namespace

const MaxsimKernels kMaxsimNeon = {"neon",
                                   ScoreBytes<Neon, false>,
                                   ScoreBytes<Neon, true>,
                                   ScoreResidual<Neon>,
                                   ScoreFloats<Neon, F32Source<1>>,
                                   ScoreFloats<Neon, HalfSource<1, Neon::FromHalves>>,
                                   ScoreFloats<Neon, HalfSource<1, Neon::FromBfloat16s>>,
                                   FillTable<Neon>,
                                   Nearest<Neon>,
                                   EncodeInt8,
                                   ScanCodes,
                                   ToBytes};
