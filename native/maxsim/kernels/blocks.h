// The way through documents of the kernel sets that take one query block per pass (all SIMD sets
// but avx512, which takes two). kBlock finds the maxima of one block's 16 query tokens over all
// rows. Included as static code by each kernel file.
#ifndef MAXSIM_MAXSIM_KERNELS_BLOCKS_H_
#define MAXSIM_MAXSIM_KERNELS_BLOCKS_H_

#include "maxsim/kernel.h"
#include "maxsim/kernels/fold.h"
#include "maxsim/kernels/rows.h"

namespace {

template <void (*kBlock)(const MaxsimQueryInt8* query, const int8_t* tokens, const int32_t* bias,
                         const Rows& rows, int32_t* maxima)>
void ScoreInt8(const MaxsimQueryInt8* query, const MaxsimDocument* documents, size_t document_count,
               float* scores) {
  const size_t row_bytes = query->padded_dim, block_values = row_bytes * kMaxsimLanes;
  for (size_t i = 0; i < document_count; i++) {
    alignas(64) int32_t maxima[kMaxBlocks][kMaxsimLanes];
    for (uint32_t block = 0; block < query->block_count; block++) {
      const bool last_pass = block + 1 == query->block_count;
      const Rows rows = RowsOf(documents, document_count, i, row_bytes, last_pass);
      kBlock(query, query->tokens + block * block_values, query->bias + block * kMaxsimLanes, rows,
             maxima[block]);
    }
    scores[i] = FoldMaxima(maxima, query->scale, query->block_count, query->document_scale);
  }
}

template <void (*kBlock)(const float* tokens, const Rows& rows, float* maxima)>
void ScoreF32(const MaxsimQueryF32* query, const MaxsimDocument* documents, size_t document_count,
              float* scores) {
  const size_t row_bytes = query->padded_dim * sizeof(float);
  const size_t block_values = (size_t)query->padded_dim * kMaxsimLanes;
  for (size_t i = 0; i < document_count; i++) {
    alignas(64) float maxima[kMaxBlocks][kMaxsimLanes];
    for (uint32_t block = 0; block < query->block_count; block++) {
      const bool last_pass = block + 1 == query->block_count;
      const Rows rows = RowsOf(documents, document_count, i, row_bytes, last_pass);
      kBlock(query->tokens + block * block_values, rows, maxima[block]);
    }
    scores[i] = FoldMaxima(maxima, query->weight, query->block_count, 1.f);
  }
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_BLOCKS_H_
