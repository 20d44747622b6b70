#include "encoder/dispatch.h"

#include <cstdlib>
#include <cstring>

#include "encoder/self_check.h"
#include "platform/cpu.h"

namespace maxsim {
namespace {

// The sets of the MaxSim kernels have names that mean one of ours.
bool Means(const char* name, const char* kernels) {
  return std::strcmp(name, kernels) == 0 ||
         (std::strcmp(name, "avx512bf16") == 0 && std::strcmp(kernels, "avx512") == 0);
}

const EncoderKernels* Choose(const char* forced) {
  for (const EncoderKernels* kernels : RunnableEncoderKernels()) {
    if (forced != nullptr && *forced != '\0' && !Means(forced, kernels->name)) continue;
    if (kernels == &kEncoderScalar || EncoderSelfCheck(*kernels).empty()) return kernels;
  }
  return &kEncoderScalar;
}

}  // namespace

std::vector<const EncoderKernels*> RunnableEncoderKernels() {
  std::vector<const EncoderKernels*> runnable;
  [[maybe_unused]] const CpuFeatures& cpu = Cpu();
#if defined(MAXSIM_AVX512)
  if (cpu.avx512f && cpu.avx512bw && cpu.avx512vl && cpu.avx512dq && cpu.avx512vnni) {
    runnable.push_back(&kEncoderAvx512);
  }
#endif
#if defined(MAXSIM_AVXVNNI)
  if (cpu.avx2 && cpu.fma && cpu.avxvnni) runnable.push_back(&kEncoderAvxVnni);
#endif
#if defined(MAXSIM_AVX2)
  if (cpu.avx2 && cpu.fma) runnable.push_back(&kEncoderAvx2);
#endif
  runnable.push_back(&kEncoderScalar);
  return runnable;
}

const EncoderKernels* ChosenEncoderKernels() {
  static const EncoderKernels* const chosen = Choose(std::getenv("MAXSIM_ISA"));
  return chosen;
}

}  // namespace maxsim
