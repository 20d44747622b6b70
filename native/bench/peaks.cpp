// Loops over registers only, in assembly: what a kernel could reach if loads, loops and maxima were
// free. Zeros are multiplied; the speed of these instructions does not depend on their values.
#include "peaks.h"

#include "kernels.h"
#include "platform/cpu.h"

namespace maxsim::bench {
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
#define BF16512(n) "vdpbf16ps %%zmm12, %%zmm13, %%zmm" n "\n\t"
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

uint64_t PeakBf16512(uint64_t rounds) {
  const uint64_t multiply_adds = rounds * kPerRound * 32;
  LOOP(BF16512);
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

namespace {

class Peak : public Measurement {
 public:
  Peak(const char* instruction, uint64_t (*loop)(uint64_t)) : loop_(loop) {
    name = std::string("peak ") + instruction;
    description = ",\"kind\":\"peak\"";
  }
  void Prepare() override { loop_(kRounds); }
  uint64_t Run() override { return loop_(kRounds); }

 private:
  static constexpr uint64_t kRounds = 20000;  // a few tenths of a millisecond, as a warm kernel
  uint64_t (*const loop_)(uint64_t);
};

}  // namespace

void AddPeaks(Measurements* measurements) {
  const CpuFeatures& cpu = Cpu();
  const auto add = [&](bool can, const char* instruction, uint64_t (*loop)(uint64_t)) {
    if (can) measurements->push_back(std::make_unique<Peak>(instruction, loop));
  };
  add(cpu.avx512f && cpu.avx512vnni, "vpdpbusd zmm", PeakVnni512);
  add(cpu.avx512f, "vfmadd zmm", PeakFma512);
  add(cpu.avx512f && cpu.avx512bf16, "vdpbf16ps zmm", PeakBf16512);
#if defined(MAXSIM_AVXVNNI)
  add(cpu.avxvnni, "vpdpbusd ymm", PeakVnni256);
#endif
  add(cpu.avx2, "vpmaddubsw ymm", PeakMaddubs256);
  add(cpu.avx2 && cpu.fma, "vfmadd ymm", PeakFma256);
}

}  // namespace maxsim::bench
