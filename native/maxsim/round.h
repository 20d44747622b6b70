// Rounding of quantised values: half to even, without a call to libm.
#ifndef MAXSIM_MAXSIM_ROUND_H_
#define MAXSIM_MAXSIM_ROUND_H_

namespace maxsim {

// nearbyintf(value) for |value| < 2^22: floats between 2^23 and 2^24 are the integers, so the
// addition rounds, half to even as all of IEEE 754 arithmetic does.
inline float RoundHalfToEven(float value) {
  constexpr float kMagic = 12582912.f;  // 1.5 * 2^23
  return (value + kMagic) - kMagic;
}

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_ROUND_H_
