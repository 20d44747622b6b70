// What happens to a row: from floats to bytes, and LayerNorm. Included as static code by each
// kernel file.
#ifndef MAXSIM_ENCODER_KERNELS_ROWS_H_
#define MAXSIM_ENCODER_KERNELS_ROWS_H_

#include "encoder/kernels/vectors.h"

namespace {

template <typename I>
void QuantiseActivated(const EncoderOutput* values, uint32_t count, uint32_t columns,
                       EncoderActivation activation, const float* largest, uint8_t* bytes,
                       float* scale, int32_t* zero) {
  const float floor = FloorOf(activation);
  for (uint32_t r = 0; r < count; r++) {
    float top = LargestOf<I>(I::Load(largest + (size_t)r * kEncoderLanes));
    top = top > 1e-3f ? top : 1e-3f;
    const float inverse = 255.f / (top + floor);
    const int32_t zero_code = (int32_t)(floor * inverse + 0.5f);
    scale[r] = 1.f / inverse;
    zero[r] = zero_code;
    const typename I::Float factor = I::Set(inverse);
    const typename I::Int shift = I::SetInt(zero_code);
    const float* from = values->values + r * values->row_stride;
    uint8_t* to = bytes + (size_t)r * columns;
    for (uint32_t c = 0; c < columns; c += kEncoderPanel) {
      I::StoreUnsigned(to + c, I::Add(I::ToInt(I::Mul(I::Load(from), factor)), shift));
      I::StoreUnsigned(to + c + kEncoderLanes,
                       I::Add(I::ToInt(I::Mul(I::Load(from + kEncoderLanes), factor)), shift));
      from += values->panel_stride;
    }
  }
}

template <typename I>
void Quantise(const float* values, size_t stride, uint32_t count, uint32_t columns, float factor,
              uint8_t* bytes, float* scale) {
  typedef typename I::Float Float;
  for (uint32_t r = 0; r < count; r++) {
    const float* from = values + r * stride;
    Float lanes = I::Set(kSmallest);
    for (uint32_t c = 0; c < columns; c += kEncoderLanes) {
      lanes = I::Max(I::Abs(I::Load(from + c)), lanes);
    }
    const float largest = LargestOf<I>(lanes);
    const Float inverse = I::Set(127.f / largest);
    uint8_t* to = bytes + (size_t)r * columns;
    for (uint32_t c = 0; c < columns; c += kEncoderLanes) {
      I::StoreSigned(to + c, I::ToInt(I::Mul(I::Load(from + c), inverse)));
    }
    scale[r] = largest / 127.f * factor;
  }
}

// What the slots of a split take of a row in steps of its bytes.
template <typename I>
ENCODER_INLINE void StoreSlots(const EncoderSplit& split, const float* normal, float inverse,
                               uint8_t* bytes) {
  typedef typename I::Float Float;
  alignas(64) float channel[kEncoderSlots];
  for (int i = 0; i < kEncoderSlots; i++) channel[i] = normal[split.channel[i]];
  const Float value = I::Mul(I::Load(channel), I::Set(inverse));
  const Float above = I::Sub(I::Round(I::Abs(value)), I::Load(split.below));
  const Float part = I::Min(I::Max(above, I::Zero()), I::Set(127.f));
  alignas(64) uint8_t slots[kEncoderSlots];
  I::StoreSigned(slots, I::ToInt(I::WithSign(part, value)));
  for (uint32_t i = 0; i < split.slots; i += 4) memcpy(bytes + i, slots + i, 4);
}

template <typename I>
void Normalise(const float* values, uint32_t count, const EncoderNorm* norm,
               const EncoderSplit* split, float* normal, uint8_t* bytes, float* scale) {
  typedef typename I::Float Float;
  const uint32_t hidden = norm->hidden;
  for (uint32_t r = 0; r < count; r++) {
    const float* from = values + (size_t)r * hidden;
    float* to = normal + (size_t)r * hidden;
    Float a = I::Zero(), b = I::Zero();
    for (uint32_t i = 0; i < hidden; i += 2 * kEncoderLanes) {
      a = I::Add(a, I::Load(from + i));
      b = I::Add(b, I::Load(from + i + kEncoderLanes));
    }
    const float mean = I::Sum(I::Add(a, b)) / (float)hidden;
    const Float centre = I::Set(mean);
    a = b = I::Zero();
    for (uint32_t i = 0; i < hidden; i += 2 * kEncoderLanes) {
      const Float c = I::Sub(I::Load(from + i), centre);
      const Float d = I::Sub(I::Load(from + i + kEncoderLanes), centre);
      a = I::Fma(c, c, a);
      b = I::Fma(d, d, b);
    }
    const float variance = I::Sum(I::Add(a, b)) / (float)hidden;
    const Float inverse_deviation = I::Set(1.f / I::SquareRoot(variance + norm->epsilon));
    Float lanes = I::Set(kSmallest);
    for (uint32_t i = 0; i < hidden; i += kEncoderLanes) {
      const Float x = I::Mul(I::Sub(I::Load(from + i), centre), inverse_deviation);
      const Float y = I::Fma(x, I::Load(norm->gamma + i), I::Load(norm->beta + i));
      I::Store(to + i, y);
      if (split) lanes = I::Max(I::Mul(I::Abs(y), I::Load(split->share + i)), lanes);
    }
    if (!split) continue;
    const float largest = LargestOf<I>(lanes), inverse = 127.f / largest;
    const Float steps = I::Set(inverse), most = I::Set(127.f), least = I::Set(-127.f);
    uint8_t* row = bytes + (size_t)r * (hidden + split->slots);
    for (uint32_t i = 0; i < hidden; i += kEncoderLanes) {
      const Float value = I::Mul(I::Load(to + i), steps);
      I::StoreSigned(row + i, I::ToInt(I::Min(I::Max(value, least), most)));
    }
    if (split->slots > 0) StoreSlots<I>(*split, to, inverse, row + hidden);
    scale[r] = largest / 127.f;
  }
}

}  // namespace

#endif  // MAXSIM_ENCODER_KERNELS_ROWS_H_
