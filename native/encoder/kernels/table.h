// All kernels over the vectors of an ISA. Included as static code by each kernel file.
#ifndef MAXSIM_ENCODER_KERNELS_TABLE_H_
#define MAXSIM_ENCODER_KERNELS_TABLE_H_

#include "encoder/kernels/attention.h"
#include "encoder/kernels/layers.h"
#include "encoder/kernels/rows.h"

namespace {

template <typename I>
constexpr EncoderKernels KernelsOf(const char* name) {
  return {name,        Linear<I>,    LinearResidual<I>, LinearActivate<I>, QuantiseActivated<I>,
          Quantise<I>, Normalise<I>, Attend<I>,         Project<I>};
}

}  // namespace

#endif  // MAXSIM_ENCODER_KERNELS_TABLE_H_
