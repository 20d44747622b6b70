// The fastest multiply-add loops of this CPU: the rooflines that the kernels are measured against.
#ifndef MAXSIM_BENCH_PEAKS_H_
#define MAXSIM_BENCH_PEAKS_H_

#include <cstdint>

namespace maxsim::bench {

// Each runs `rounds` rounds and returns how many multiply-adds that was. Call only what the CPU can
// run.
uint64_t PeakVnni512(uint64_t rounds);     // vpdpbusd zmm
uint64_t PeakBf16512(uint64_t rounds);     // vdpbf16ps zmm
uint64_t PeakFma512(uint64_t rounds);      // vfmadd231ps zmm
uint64_t PeakVnni256(uint64_t rounds);     // vpdpbusd ymm, VEX-encoded
uint64_t PeakMaddubs256(uint64_t rounds);  // vpmaddubsw + vpmaddwd + vpaddd ymm
uint64_t PeakFma256(uint64_t rounds);      // vfmadd231ps ymm

}  // namespace maxsim::bench

#endif  // MAXSIM_BENCH_PEAKS_H_
