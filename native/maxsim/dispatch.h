// Chooses the kernels for this CPU once, at first use: the best set in priority order whose
// instructions the CPU and the OS support and whose self-check against the scalar kernels passes.
// MAXSIM_ISA=<name> forces one.
#ifndef MAXSIM_MAXSIM_DISPATCH_H_
#define MAXSIM_MAXSIM_DISPATCH_H_

#include <string>
#include <vector>

#include "maxsim/kernel.h"
#include "platform/status.h"

namespace maxsim {

struct KernelCandidate {
  const MaxsimKernels* kernels;
  bool supported;  // by CPU and OS
  std::string
      verdict;  // "chosen", or why not, e.g. "the CPU lacks avx512_vnni", "a better one was chosen"
  // Nothing is gained by it here: taken only when it is asked for by name.
  bool slow = false;
};

struct Dispatch {
  const MaxsimKernels* chosen;              // never null: scalar when nothing else will do
  std::vector<KernelCandidate> candidates;  // in priority order
  Status
      status;  // not ok when MAXSIM_ISA names an unknown or unsupported set: callers must report it
};

// The choice itself, without the environment: takes candidates in priority order, `supported` and
// (if not supported) `verdict` filled in. `forced` is a name or null. Exposed for tests.
Dispatch ChooseKernels(std::vector<KernelCandidate> candidates, const char* forced);

// Thread-safe; the answer never changes within a process.
const Dispatch& Kernels();

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_DISPATCH_H_
