// Loops over registers only, in assembly: what a kernel could reach if loads, loops and maxima were
// free. Zeros are multiplied; the speed of these instructions does not depend on their values.
#include "peaks.h"

namespace maxsim {
namespace {

#define TWELVE(X) \
  X("0") X("1") X("2") X("3") X("4") X("5") X("6") X("7") X("8") X("9") X("10") X("11")
#define ZERO(n) "vpxor %%xmm" n ", %%xmm" n ", %%xmm" n "\n\t"
#define REGISTERS                                                                          \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc"

// 12 independent chains per repetition, 4 repetitions per round. (VPXOR clears the whole register.)
#define LOOP(body)                                                                              \
  __asm__ volatile(TWELVE(ZERO) ZERO("12") ZERO("13") ".p2align 6\n1:\n\t" TWELVE(body)         \
                       TWELVE(body) TWELVE(body) TWELVE(body) "decq %0\n\tjnz 1b\n\tvzeroupper" \
                   : "+r"(rounds)                                                               \
                   :                                                                            \
                   : REGISTERS)

#define VNNI512(n) "vpdpbusd %%zmm12, %%zmm13, %%zmm" n "\n\t"
#define FMA512(n) "vfmadd231ps %%zmm12, %%zmm13, %%zmm" n "\n\t"
#define VNNI256(n) "%{vex%} vpdpbusd %%ymm12, %%ymm13, %%ymm" n "\n\t"
#define FMA256(n) "vfmadd231ps %%ymm12, %%ymm13, %%ymm" n "\n\t"
#define MADDUBS256(n)                                                              \
  "vpmaddubsw %%ymm12, %%ymm13, %%ymm14\n\tvpmaddwd %%ymm12, %%ymm14, %%ymm14\n\t" \
  "vpaddd %%ymm14, %%ymm" n ", %%ymm" n "\n\t"

constexpr uint64_t kPerRound = 48;

}  // namespace

uint64_t PeakVnni512(uint64_t rounds) {
  const uint64_t multiply_adds = rounds * kPerRound * 64;
  LOOP(VNNI512);
  return multiply_adds;
}

uint64_t PeakFma512(uint64_t rounds) {
  const uint64_t multiply_adds = rounds * kPerRound * 16;
  LOOP(FMA512);
  return multiply_adds;
}

#if defined(MAXSIM_AVXVNNI)
uint64_t PeakVnni256(uint64_t rounds) {
  const uint64_t multiply_adds = rounds * kPerRound * 32;
  LOOP(VNNI256);
  return multiply_adds;
}
#endif

uint64_t PeakMaddubs256(uint64_t rounds) {
  const uint64_t multiply_adds = rounds * kPerRound * 32;
  LOOP(MADDUBS256);
  return multiply_adds;
}

uint64_t PeakFma256(uint64_t rounds) {
  const uint64_t multiply_adds = rounds * kPerRound * 8;
  LOOP(FMA256);
  return multiply_adds;
}

}  // namespace maxsim
