// One head of one sequence: softmax(queries * keys) * values, all products of bytes. Included as
// static code by each kernel file.
#ifndef MAXSIM_ENCODER_KERNELS_ATTENTION_H_
#define MAXSIM_ENCODER_KERNELS_ATTENTION_H_

#include "encoder/kernels/layers.h"

namespace {

// In a longer sequence many small weights stand beside a large one: they get 16 bits, in two
// products, a high and a low byte.
constexpr uint32_t kCoarseTokens = 64;

template <typename I>
struct Attention {
  typedef typename I::Float Float;
  typedef typename I::Int Int;

  const EncoderHead& head;
  const EncoderScratch sizes;
  const uint32_t dim, tokens, padded, value_steps;
  int8_t *keys, *values;
  int32_t* key_sums;
  float *key_scale, *key_bias, *scores;
  uint8_t *high, *low;

  ENCODER_INLINE explicit Attention(const EncoderHead& h)
      : head(h),
        sizes(EncoderScratchOf(h.tokens, h.dim)),
        dim(h.dim),
        tokens(h.tokens),
        padded((uint32_t)sizes.padded),
        value_steps((h.tokens + 3) / 4) {
    uint8_t* at = h.scratch;
    keys = (int8_t*)at;
    values = (int8_t*)(at += sizes.keys);
    key_sums = (int32_t*)(at += sizes.values);
    key_scale = (float*)(at += sizes.key_sums);
    key_bias = (float*)(at += sizes.key_scale);
    scores = (float*)(at += sizes.key_bias);
    high = at += sizes.scores;
    low = high + kEncoderTile * sizes.padded;
  }

  // Keys to panels of 32 tokens, as signed bytes; those beyond the last are zero and score -1e30.
  ENCODER_INLINE void PackKeys() {
    const uint32_t steps = dim / 4;
    for (uint32_t first = 0; first < padded; first += kEncoderPanel) {
      uint32_t* panel = (uint32_t*)(keys + (size_t)first * dim);
      const uint32_t left = tokens - first;
      const uint32_t count = left < (uint32_t)kEncoderPanel ? left : (uint32_t)kEncoderPanel;
      for (uint32_t t = 0; t < count; t++) {
        const uint8_t* key = head.keys + (size_t)(first + t) * dim;
        for (uint32_t k = 0; k < steps; k++) {
          uint32_t four;
          memcpy(&four, key + 4 * k, sizeof(four));
          panel[k * kEncoderPanel + t] = four ^ 0x80808080u;
        }
        key_scale[first + t] = head.key_scale[first + t];
        key_bias[first + t] = 0;
      }
      for (uint32_t t = count; t < kEncoderPanel; t++) {
        for (uint32_t k = 0; k < steps; k++) panel[k * kEncoderPanel + t] = 0;
        key_scale[first + t] = 0;
        key_bias[first + t] = -1e30f;
      }
      for (uint32_t half = 0; half < kEncoderPanel; half += kEncoderLanes) {
        Int sum = I::SetInt(0);
        for (uint32_t k = 0; k < steps; k++) {
          I::AddProducts(sum, I::SetInt(0x01010101),
                         I::LoadInt((const int32_t*)panel + k * kEncoderPanel + half));
        }
        I::StoreInt(key_sums + first + half, sum);
      }
    }
  }

  // Values to panels of 32 dims, 4 tokens a step, with one scale per dim, which goes to `scale`.
  ENCODER_INLINE void PackValues(uint32_t panel, Float scale[2]) {
    const float* from = head.values + panel * kEncoderPanel;
    Float largest[2] = {I::Set(kSmallest), I::Set(kSmallest)};
    for (uint32_t t = 0; t < tokens; t++) {
      ENCODER_UNROLL for (int half = 0; half < 2; half++) {
        const Float value = I::Load(from + (size_t)t * dim + half * kEncoderLanes);
        largest[half] = I::Max(I::Abs(value), largest[half]);
      }
    }
    Float inverse[2];
    ENCODER_UNROLL for (int half = 0; half < 2; half++) {
      inverse[half] = I::Div(I::Set(127.f), largest[half]);
      scale[half] = I::Div(largest[half], I::Set(127.f));
    }
    int32_t* to = (int32_t*)(values + (size_t)panel * value_steps * 4 * kEncoderPanel);
    for (uint32_t k = 0; k < value_steps; k++) {
      ENCODER_UNROLL for (int half = 0; half < 2; half++) {
        const auto bytes = [&](uint32_t t) -> Int {
          if (t >= tokens) return I::SetInt(0);
          const Float value = I::Load(from + (size_t)t * dim + half * kEncoderLanes);
          return I::And(I::ToInt(I::Mul(value, inverse[half])), I::SetInt(255));
        };
        const Int low_half = I::Or(bytes(4 * k), I::template ShiftLeft<8>(bytes(4 * k + 1)));
        const Int high_half = I::Or(bytes(4 * k + 2), I::template ShiftLeft<8>(bytes(4 * k + 3)));
        I::StoreInt(to + k * kEncoderPanel + half * kEncoderLanes,
                    I::Or(low_half, I::template ShiftLeft<16>(high_half)));
      }
    }
  }

  // Scores of a tile of queries, and the largest of each.
  ENCODER_INLINE void Score(uint32_t first, uint32_t count, float* largest) {
    alignas(64) int32_t sums[kEncoderTile * kEncoderPanel];
    alignas(64) float lanes[kEncoderTile * kEncoderLanes];
    for (uint32_t i = 0; i < count; i++) I::Store(lanes + i * kEncoderLanes, I::Set(-1e30f));
    for (uint32_t key = 0; key < padded; key += kEncoderPanel) {
      I::Dot(count, head.queries + (size_t)first * dim, dim, keys + (size_t)key * dim, dim / 4,
             key_sums + key, nullptr, 0, sums);
      const Float scale0 = I::Load(key_scale + key), bias0 = I::Load(key_bias + key);
      const Float scale1 = I::Load(key_scale + key + kEncoderLanes);
      const Float bias1 = I::Load(key_bias + key + kEncoderLanes);
      for (uint32_t i = 0; i < count; i++) {
        const int32_t* sum = sums + i * kEncoderPanel;
        const Float a = I::Fma(I::ToFloat(I::LoadInt(sum)), scale0, bias0);
        const Float b = I::Fma(I::ToFloat(I::LoadInt(sum + kEncoderLanes)), scale1, bias1);
        float* to = scores + (size_t)i * padded + key;
        I::Store(to, a);
        I::Store(to + kEncoderLanes, b);
        float* lane = lanes + i * kEncoderLanes;
        I::Store(lane, I::Max(I::Load(lane), I::Max(a, b)));
      }
    }
    for (uint32_t i = 0; i < count; i++) {
      largest[i] = LargestOf<I>(I::Load(lanes + i * kEncoderLanes));
    }
  }

  // 16 weights in units of 1 / 65280 of the largest.
  template <bool kFine>
  static ENCODER_INLINE Int Weight(Float score, Float top, Float factor) {
    const Float y = I::Max(I::Mul(I::Sub(score, top), factor), I::Set(-64.f));
    const Int weight = I::ToInt(PowerOfTwo<I>(y, 65280.f));
    if (kFine) return weight;
    return I::And(I::Add(weight, I::SetInt(128)), I::SetInt(0xff00));
  }

  // Weights of a row as bytes; returns 1 / their sum.
  template <bool kFine>
  ENCODER_INLINE float Weigh(uint32_t i, float scale, float largest) {
    const Float top = I::Set(largest), factor = I::Set(scale);
    const float* from = scores + (size_t)i * padded;
    uint8_t* high_row = high + (size_t)i * padded;
    uint8_t* low_row = low + (size_t)i * padded;
    Int sum = I::SetInt(0);
    for (uint32_t j = 0; j < padded; j += 2 * kEncoderLanes) {
      const Int a = Weight<kFine>(I::Load(from + j), top, factor);
      const Int b = Weight<kFine>(I::Load(from + j + kEncoderLanes), top, factor);
      sum = I::Add(sum, I::Add(a, b));
      I::StoreHalves(high_row + j, kFine ? low_row + j : nullptr, a, b);
    }
    return 1.f / (float)I::SumInt(sum);
  }

  template <bool kFine>
  ENCODER_INLINE void Run(const Float* value_scale) {
    const Tiles tiles(head.query_count);
    float largest[kEncoderTile], inverse[kEncoderTile];
    alignas(64) int32_t sums[2][kEncoderTile * kEncoderPanel];
    uint32_t first = 0;
    for (uint32_t tile = 0; tile < tiles.count; tile++) {
      const uint32_t count = tiles.Rows(tile);
      Score(first, count, largest);
      for (uint32_t i = 0; i < count; i++) {
        inverse[i] = Weigh<kFine>(i, head.query_scale[first + i], largest[i]);
      }
      for (uint32_t panel = 0; panel < dim / kEncoderPanel; panel++) {
        const int8_t* weights = values + (size_t)panel * value_steps * 4 * kEncoderPanel;
        I::Dot(count, high, padded, weights, value_steps, nullptr, nullptr, 0, sums[0]);
        if (kFine) I::Dot(count, low, padded, weights, value_steps, nullptr, nullptr, 0, sums[1]);
        for (uint32_t i = 0; i < count; i++) {
          const Float factor = I::Set(inverse[i]);
          float* to = head.context + (first + i) * head.context_stride + panel * kEncoderPanel;
          for (uint32_t half = 0; half < 2; half++) {
            const uint32_t at = i * kEncoderPanel + half * kEncoderLanes;
            Float sum = I::Mul(I::ToFloat(I::LoadInt(sums[0] + at)), I::Set(256.f));
            if (kFine) sum = I::Add(sum, I::ToFloat(I::LoadInt(sums[1] + at)));
            I::Store(to + half * kEncoderLanes,
                     I::Mul(I::Mul(sum, value_scale[2 * panel + half]), factor));
          }
        }
      }
      first += count;
    }
  }
};

constexpr uint32_t kMostHeadDim = 128;

template <typename I>
void Attend(const EncoderHead* head) {
  Attention<I> attention(*head);
  attention.PackKeys();
  typename I::Float value_scale[kMostHeadDim / kEncoderLanes];
  for (uint32_t panel = 0; panel < head->dim / kEncoderPanel; panel++) {
    attention.PackValues(panel, value_scale + 2 * panel);
  }
  if (head->tokens > kCoarseTokens) {
    attention.template Run<true>(value_scale);
  } else {
    attention.template Run<false>(value_scale);
  }
}

}  // namespace

#endif  // MAXSIM_ENCODER_KERNELS_ATTENTION_H_
