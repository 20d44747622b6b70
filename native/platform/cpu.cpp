// In: CPUID and XGETBV (x86-64), the auxiliary vector (Linux arm64). Out: CpuFeatures.
// A vector feature is reported only if the OS also saves the registers it uses.
#include "platform/cpu.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#define MAXSIM_X86 1
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace maxsim {
namespace {

#if defined(MAXSIM_X86)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
#if defined(_MSC_VER)
  int words[4];
  __cpuidex(words, static_cast<int>(leaf), static_cast<int>(subleaf));
  std::memcpy(&r, words, sizeof(r));
#else
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
#endif
  return r;
}

uint64_t Xcr0() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  // The mnemonic needs -mxsave, which would let the compiler use XSAVE elsewhere; the bytes do not.
  __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
#endif
}

bool Bit(uint64_t word, int bit) { return ((word >> bit) & 1) != 0; }

std::string Brand() {
  if (Cpuid(0x80000000).eax < 0x80000004) return "x86-64";
  char text[49] = {};
  for (uint32_t i = 0; i < 3; i++) {
    const Registers r = Cpuid(0x80000002 + i);
    std::memcpy(text + 16 * i, &r, 16);
  }
  std::string brand(text);
  const size_t first = brand.find_first_not_of(' ');
  if (first == std::string::npos) return "x86-64";
  return brand.substr(first, brand.find_last_not_of(' ') - first + 1);
}

CpuFeatures Detect() {
  CpuFeatures f;
  f.brand = Brand();
  const uint32_t highest = Cpuid(0).eax;
  const Registers one = Cpuid(1);
  f.sse42 = Bit(one.ecx, 20);
  const bool osxsave = Bit(one.ecx, 27);
  const uint64_t xcr0 = osxsave ? Xcr0() : 0;
  const bool os_ymm = (xcr0 & 0x06) == 0x06;  // SSE and AVX state
  const bool os_zmm = (xcr0 & 0xe6) == 0xe6;  // and opmask, ZMM 0-15 high halves, ZMM 16-31
  if (!os_ymm || !Bit(one.ecx, 28)) return f;
  f.fma = Bit(one.ecx, 12);
  f.f16c = Bit(one.ecx, 29);
  if (highest < 7) return f;
  const Registers seven = Cpuid(7);
  f.avx2 = Bit(seven.ebx, 5);
  const Registers seven_one = seven.eax >= 1 ? Cpuid(7, 1) : Registers{};
  f.avxvnni = Bit(seven_one.eax, 4);
  if (!os_zmm) return f;
  f.avx512f = Bit(seven.ebx, 16);
  f.avx512dq = Bit(seven.ebx, 17);
  f.avx512bw = Bit(seven.ebx, 30);
  f.avx512vl = Bit(seven.ebx, 31);
  f.avx512vnni = Bit(seven.ecx, 11);
  f.avx512bf16 = Bit(seven_one.eax, 5);
  return f;
}

#elif defined(__aarch64__) || defined(_M_ARM64)

CpuFeatures Detect() {
  CpuFeatures f;
  f.brand = "arm64";
  f.neon = true;  // part of the architecture
#if defined(__linux__)
  f.dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
  f.dotprod = true;  // every Apple silicon core has it
  char text[128];
  size_t size = sizeof(text);
  if (sysctlbyname("machdep.cpu.brand_string", text, &size, nullptr, 0) == 0) f.brand = text;
#endif
  return f;
}

#else

CpuFeatures Detect() {
  CpuFeatures f;
  f.brand = "unknown";
  return f;
}

#endif

}  // namespace

const CpuFeatures& Cpu() {
  static const CpuFeatures features = Detect();
  return features;
}

}  // namespace maxsim
