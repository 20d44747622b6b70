// The last step of every kernel: the maxima of all query tokens in, one score out.
// The ONE definition of the order of float operations; each kernel file includes it as static code,
// and is compiled with -ffp-contract=off, so equal maxima give the same score, bit for bit, on
// every CPU.
//   lane l   = ((0 + m[0][l] * f[0][l]) + m[1][l] * f[1][l]) + ...   a product, rounded; a sum,
//   rounded score    = the 16 lanes added as a tree of widths 8, 4, 2, 1, times the document's
//   scale
#ifndef MAXSIM_MAXSIM_KERNELS_FOLD_H_
#define MAXSIM_MAXSIM_KERNELS_FOLD_H_

#include "maxsim/kernel.h"

namespace {

// Blocks of 16 query tokens that a query may have: the maxima of all of them wait on the stack.
constexpr uint32_t kMaxBlocks = 64;

// Maximum is int32_t (a dot product of stored integers) or float; factor is the token's scale or
// weight.
template <typename Maximum>
inline float FoldMaxima(const Maximum (*maxima)[kMaxsimLanes], const float* factor,
                        uint32_t block_count, float document_scale) {
  float lane[kMaxsimLanes] = {};
  for (uint32_t block = 0; block < block_count; block++) {
    for (int l = 0; l < kMaxsimLanes; l++) {
      const float product = (float)maxima[block][l] * factor[block * kMaxsimLanes + l];
      lane[l] = lane[l] + product;
    }
  }
  for (int width = kMaxsimLanes / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; l++) lane[l] = lane[l] + lane[l + width];
  }
  return lane[0] * document_scale;
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_FOLD_H_
