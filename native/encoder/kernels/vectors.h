// What the layers are made of, over the vectors of an ISA: each kernel file includes it as static
// code after its struct I, which has
//   Float, Int: 16 lanes; Load, Store, Set, Zero, ToFloat, ToInt (to nearest, ties to even; what
//   does not fit is INT32_MIN); Add, Sub, Mul, Div, Fma, Min, Max (a < b ? a : b and a > b ? a :
//   b), Abs, Round; integer Add, Sub, MulInt, And, Or, ShiftLeft<n>, ShiftRight<n>;
//   Scale(a, whole): a * 2^whole, where that is no denormal; StoreHalves: high and
//   low bytes of 32 values below 2^16; StoreSigned: saturated to signed bytes, + 128;
//   StoreUnsigned: clamped to 0..255; Dot(rows, ...): a tile of products.
#ifndef MAXSIM_ENCODER_KERNELS_VECTORS_H_
#define MAXSIM_ENCODER_KERNELS_VECTORS_H_

#include <math.h>
#include <string.h>

#include "encoder/kernel.h"
#include "encoder/kernels/inline.h"

namespace {

// Nothing smaller is worth a step: keeps 127 / largest finite.
constexpr float kSmallest = 1e-20f;

template <typename I>
ENCODER_INLINE float LargestOf(typename I::Float lanes) {
  alignas(64) float lane[kEncoderLanes];
  I::Store(lane, lanes);
  float largest = lane[0];
  for (int l = 1; l < kEncoderLanes; l++) largest = lane[l] > largest ? lane[l] : largest;
  return largest;
}

// x * P(x <= X), P the normal distribution: 1/2 + x * p(x^2), fitted for the smallest largest error
// of the product, |x| clamped to 4. Within 1.3e-4 of the GELU, a fraction of a step of its bytes.
template <typename I>
ENCODER_INLINE typename I::Float Gelu(typename I::Float x) {
  typedef typename I::Float Float;
  const Float c = I::Max(I::Min(x, I::Set(4.f)), I::Set(-4.f)), t = I::Mul(c, c);
  Float p = I::Set(-1.30129298e-09f);
  p = I::Fma(p, t, I::Set(1.04195959e-07f));
  p = I::Fma(p, t, I::Set(-3.6571309e-06f));
  p = I::Fma(p, t, I::Set(7.48550232e-05f));
  p = I::Fma(p, t, I::Set(-0.00100649026f));
  p = I::Fma(p, t, I::Set(0.00950539785f));
  p = I::Fma(p, t, I::Set(-0.0658878423f));
  p = I::Fma(p, t, I::Set(0.398673394f));
  return I::Mul(x, I::Fma(p, c, I::Set(.5f)));
}

// 2^y * factor for y from -126 to 126: a cubic, within 8e-5 of it.
template <typename I>
ENCODER_INLINE typename I::Float PowerOfTwo(typename I::Float y, float factor) {
  typedef typename I::Float Float;
  const Float whole = I::Round(y), part = I::Sub(y, whole);
  Float p = I::Set(factor * 0.055088767f);
  p = I::Fma(p, part, I::Set(factor * 0.242604656f));
  p = I::Fma(p, part, I::Set(factor * 0.693276283f));
  p = I::Fma(p, part, I::Set(factor * 0.999928905f));
  return I::Scale(p, whole);
}

// x / (1 + 2^-(2 log2(e) sqrt(2 / pi) (x + 0.044715 x^3))): the GELU by tanh. The exponent is
// clamped where the quotient no longer changes.
template <typename I>
ENCODER_INLINE typename I::Float GeluTanh(typename I::Float x) {
  typedef typename I::Float Float;
  const Float cube = I::Mul(I::Mul(x, x), x);
  const Float inner = I::Fma(cube, I::Set(0.044715f), x);
  const Float y = I::Max(I::Min(I::Mul(inner, I::Set(-2.30220819f)), I::Set(30.f)), I::Set(-30.f));
  return I::Div(x, I::Add(I::Set(1.f), PowerOfTwo<I>(y, 1.f)));
}

template <typename I, EncoderActivation kActivation>
ENCODER_INLINE typename I::Float Activated(typename I::Float x) {
  if constexpr (kActivation == kEncoderGelu) return Gelu<I>(x);
  if constexpr (kActivation == kEncoderGeluTanh) return GeluTanh<I>(x);
  return I::Max(x, I::Zero());
}

// No value of an activation is further below zero.
ENCODER_INLINE float FloorOf(EncoderActivation activation) {
  return activation == kEncoderRelu ? 0.f : 0.17f;
}

}  // namespace

#endif  // MAXSIM_ENCODER_KERNELS_VECTORS_H_
