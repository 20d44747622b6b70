// Proves a kernel set against the scalar one before it is trusted with a score.
#ifndef MAXSIM_MAXSIM_SELF_CHECK_H_
#define MAXSIM_MAXSIM_SELF_CHECK_H_

#include <string>

#include "maxsim/kernel.h"

namespace maxsim {

// Empty if `kernels` agrees with kMaxsimScalar on a few fixed cases of every codec (integer codecs
// bit for bit, floats to 1e-5); else one clause that names the first case that differs. Takes some
// milliseconds, most of them the scalar kernels'.
std::string SelfCheck(const MaxsimKernels& kernels);

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_SELF_CHECK_H_
