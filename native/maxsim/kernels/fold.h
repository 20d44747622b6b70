// The last step of every kernel: the maxima of all query tokens in, one score out.
// The ONE definition of the order of float operations; each kernel file includes it as static code,
// and is compiled with -ffp-contract=off, so equal maxima give the same score, bit for bit, on
// every CPU.
//   lane l = ((0 + m[0][l] * f[0][l]) + m[1][l] * f[1][l]) + ...   a product, rounded; a sum,
//   rounded score  = the 16 lanes added as a tree of widths 8, 4, 2, 1, times the document scale
// A maximum is an integer (int8), or a float: an exact integer, rounded, times the token's factor,
// rounded (int8-token, residual); or a dot product of floats, in any order (f32, f16, bf16).
#ifndef MAXSIM_MAXSIM_KERNELS_FOLD_H_
#define MAXSIM_MAXSIM_KERNELS_FOLD_H_

#include <math.h>

#include "maxsim/kernel.h"

namespace {

struct Fold {
  float lane[kMaxsimLanes] = {};

  template <typename Maximum>
  inline void Add(const Maximum (*maxima)[kMaxsimLanes], const float* factor,
                  uint32_t block_count) {
    for (uint32_t block = 0; block < block_count; block++) {
      for (int l = 0; l < kMaxsimLanes; l++) {
        const float product = (float)maxima[block][l] * factor[block * kMaxsimLanes + l];
        lane[l] = lane[l] + product;
      }
    }
  }

  inline float Score(float document_scale) const {
    float sum[kMaxsimLanes / 2];
    for (int l = 0; l < kMaxsimLanes / 2; l++) sum[l] = lane[l] + lane[l + kMaxsimLanes / 2];
    for (int width = kMaxsimLanes / 4; width > 0; width /= 2) {
      for (int l = 0; l < width; l++) sum[l] = sum[l] + sum[l + width];
    }
    return sum[0] * document_scale;
  }
};

// Whether a document of which the blocks before `next_block` are folded may be given up.
inline bool GivesUp(MaxsimExit* exit, const Fold& fold, float document_scale, uint32_t next_block) {
  if (exit == nullptr || !(fold.Score(document_scale) + exit->rest[next_block] < exit->threshold)) {
    return false;
  }
  exit->skipped++;
  return true;
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_FOLD_H_
