// Proves a kernel set against the scalar one before it is trusted with a text.
#ifndef MAXSIM_ENCODER_SELF_CHECK_H_
#define MAXSIM_ENCODER_SELF_CHECK_H_

#include <string>

#include "encoder/kernel.h"

namespace maxsim {

// Empty if `kernels` agrees with kEncoderScalar to the bit on a few fixed cases of every kernel;
// else one clause that names the first that differs. Takes some ten milliseconds, most of them
// the scalar kernels'.
std::string EncoderSelfCheck(const EncoderKernels& kernels);

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_SELF_CHECK_H_
