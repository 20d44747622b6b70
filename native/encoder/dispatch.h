// Chooses the encoder's kernels for this CPU once, at first use, as maxsim/dispatch.h does:
// the best set whose instructions CPU and OS support and whose self-check passes. MAXSIM_ISA=<name>
// forces one; of a name that is none here, the scalar set.
#ifndef MAXSIM_ENCODER_DISPATCH_H_
#define MAXSIM_ENCODER_DISPATCH_H_

#include <vector>

#include "encoder/kernel.h"

namespace maxsim {

// Sets that this CPU can run, best first; the scalar one is last.
std::vector<const EncoderKernels*> RunnableEncoderKernels();

// Thread-safe; the answer never changes within a process.
const EncoderKernels* ChosenEncoderKernels();

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_DISPATCH_H_
