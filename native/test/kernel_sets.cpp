#include "kernel_sets.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>

#include "maxsim/dispatch.h"
#include "maxsim/self_check.h"
#include "platform/cpu.h"

#if defined(MAXSIM_AVXVNNI_EVEX)
extern "C" const MaxsimKernels kMaxsimAvxVnniEvex;  // avxvnni_evex.cpp
#endif

namespace maxsim {
namespace {

// A set may be unsupported because it is slow, which is no reason not to test it.
bool Runs(const KernelCandidate& candidate) {
  const CpuFeatures& cpu = Cpu();
  return candidate.supported ||
         (std::strcmp(candidate.kernels->name, "avx512bf16") == 0 && cpu.avx512f && cpu.avx512bw &&
          cpu.avx512vl && cpu.avx512dq && cpu.avx512vnni && cpu.avx512bf16);
}

}  // namespace

const MaxsimKernels* AvxVnniAsEvex() {
#if defined(MAXSIM_AVXVNNI_EVEX)
  static const MaxsimKernels kernels = [] {
    MaxsimKernels named = kMaxsimAvxVnniEvex;
    named.name = "avxvnni, test build with EVEX";
    return named;
  }();
  const CpuFeatures& cpu = Cpu();
  if (cpu.avx2 && cpu.fma && cpu.f16c && cpu.avx512vl && cpu.avx512vnni) return &kernels;
#endif
  return nullptr;
}

std::vector<const MaxsimKernels*> FastKernels() {
  const char* only = std::getenv("MAXSIM_ISA");
  std::vector<const MaxsimKernels*> kernels;
  for (const KernelCandidate& c : Kernels().candidates) {
    if (!Runs(c) || c.kernels == &kMaxsimScalar) continue;
    if (only == nullptr || std::strcmp(only, c.kernels->name) == 0) kernels.push_back(c.kernels);
  }
  const MaxsimKernels* test_build = AvxVnniAsEvex();
  if (test_build != nullptr && only == nullptr) kernels.push_back(test_build);
  return kernels;
}

std::vector<const MaxsimKernels*> AllKernels() {
  std::vector<const MaxsimKernels*> kernels = FastKernels();
  kernels.push_back(&kMaxsimScalar);
  return kernels;
}

// Registered nowhere, so the dispatch tests do not see it; the sweeps do.
#if defined(MAXSIM_AVXVNNI_EVEX)
TEST_CASE("the AVX-VNNI kernels, in a test build whose VPDPBUSD is EVEX, pass the self-check") {
  const MaxsimKernels* kernels = AvxVnniAsEvex();
  if (kernels == nullptr) {
    MESSAGE("skipped: this CPU lacks AVX-512 VNNI");
    return;
  }
  CHECK(SelfCheck(*kernels) == "");
  if (std::getenv("MAXSIM_ISA") == nullptr) CHECK(FastKernels().back() == kernels);
}
#endif

}  // namespace maxsim
