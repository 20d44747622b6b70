// Kernels as measurements: every codec on every kernel set that this CPU can run.
#ifndef MAXSIM_BENCH_KERNELS_H_
#define MAXSIM_BENCH_KERNELS_H_

#include "data.h"
#include "measurement.h"

namespace maxsim::bench {

// Cold measurements draw from stores of at least `store_bytes`. `data` must outlive them.
void AddKernels(const Data& data, size_t store_bytes, Measurements* measurements);

// A query of 32 tokens prepared: quantised and packed.
void AddPreparation(const Data& data, Measurements* measurements);

// The peaks of this CPU: see peaks.h.
void AddPeaks(Measurements* measurements);

}  // namespace maxsim::bench

#endif  // MAXSIM_BENCH_KERNELS_H_
