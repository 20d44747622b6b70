// The kernel sets that the tests of this room hold against the scalar one, and the shapes at which
// they do.
#ifndef MAXSIM_TEST_KERNEL_SETS_H_
#define MAXSIM_TEST_KERNEL_SETS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "maxsim/kernel.h"

namespace maxsim {

// All that this CPU can run beside the scalar set; with MAXSIM_ISA, the one of that name alone.
std::vector<const MaxsimKernels*> FastKernels();
// The same, and the scalar set.
std::vector<const MaxsimKernels*> AllKernels();

// The AVX-VNNI kernels built with AVX-512's VPDPBUSD, or null where they cannot run.
const MaxsimKernels* AvxVnniAsEvex();

// Tokens of a document below, at and above every tile (12, 6, 4 and 3 tokens), and eight tiles and
// two tokens of each.
inline const std::vector<uint32_t> kLengths = {1,  2,  3,  4,  5,  6,  7,  11, 12, 13,
                                               23, 24, 25, 26, 34, 50, 96, 98, 180};

// compare(query tokens, dim) for every number of query tokens at some dims, and for every dim at
// some numbers.
template <typename Compare>
void ForShapes(Compare compare) {
  for (const size_t query_tokens : {1, 8, 15, 16, 17, 31, 32, 33, 48, 64, 100, 1024}) {
    for (const size_t dim : {8, 12, 100, 128}) compare(query_tokens, dim);
  }
  for (const size_t dim : {9, 10, 48, 64, 96, 384, 1024}) {
    for (const size_t query_tokens : {1, 17, 32}) compare(query_tokens, dim);
  }
}

// The score of one document.
template <typename Query>
float ScoreOne(void (*score)(const Query*, const MaxsimDocument*, size_t, MaxsimExit*, float*),
               const Query& query, MaxsimDocument document) {
  float result = -1e30f;
  score(&query, &document, 1, nullptr, &result);
  return result;
}
inline float ScoreOne(MaxsimScoreResidual score, const MaxsimQueryInt8& query,
                      const MaxsimResidual& residual, MaxsimDocument document) {
  float result = -1e30f;
  score(&query, &residual, &document, 1, nullptr, &result);
  return result;
}

}  // namespace maxsim

#endif  // MAXSIM_TEST_KERNEL_SETS_H_
