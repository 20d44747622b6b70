// What this CPU can run, with the operating system's consent (XGETBV), for dispatch and `doctor`.
#ifndef MAXSIM_PLATFORM_CPU_H_
#define MAXSIM_PLATFORM_CPU_H_

#include <string>

namespace maxsim {

struct CpuFeatures {
  std::string brand;
  bool sse42 = false, avx2 = false, fma = false, f16c = false, avxvnni = false;
  bool avx512f = false, avx512bw = false, avx512vl = false, avx512dq = false, avx512vnni = false,
       avx512bf16 = false;
  bool neon = false, dotprod = false;
};

const CpuFeatures& Cpu();  // detected once

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_CPU_H_
