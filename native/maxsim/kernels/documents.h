// What the passes of every codec share: document after document, pass after pass. See passes.h.
#ifndef MAXSIM_MAXSIM_KERNELS_DOCUMENTS_H_
#define MAXSIM_MAXSIM_KERNELS_DOCUMENTS_H_

#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/fold.h"
#include "maxsim/kernels/rows.h"

namespace {

// What `pass` finds in each document, folded into scores.
// pass(document, upcoming, block, blocks, maxima): `upcoming` is what is read after the document.
template <uint32_t kPassBlocks, typename Maximum, typename Query, typename Pass>
MAXSIM_INLINE void ForDocuments(const Query* query, const MaxsimDocument* documents,
                                size_t document_count, MaxsimExit* exit, float* scores, Pass pass) {
  for (size_t i = 0; i < document_count; i++) {
    Fold fold;
    bool given_up = false;
    for (uint32_t block = 0; block < query->block_count && !given_up;) {
      const uint32_t left = query->block_count - block;
      const uint32_t blocks = left < kPassBlocks ? left : kPassBlocks;
      const bool ends = blocks == left;
      alignas(64) Maximum maxima[kPassBlocks][kMaxsimLanes];
      pass(documents[i], documents[ends && i + 1 < document_count ? i + 1 : i], block, blocks,
           maxima);
      fold.Add(maxima, query->factor + block * kMaxsimLanes, blocks);
      block += blocks;
      given_up = !ends && GivesUp(exit, fold, query->document_scale, block);
    }
    scores[i] = given_up ? -INFINITY : fold.Score(query->document_scale);
  }
}

// Calls pass.template Run<T, B>(): the largest tile that the document fills, the blocks of the
// pass.
template <typename I, uint32_t kTile, uint32_t kOneBlockTile, typename Pass>
MAXSIM_INLINE void WithTile(uint32_t token_count, uint32_t blocks, const Pass& pass) {
  if (I::kPassBlocks > 1 && blocks == I::kPassBlocks) {
    if (token_count >= kTile) return pass.template Run<kTile, I::kPassBlocks>();
    if (token_count >= I::kSmallTile) return pass.template Run<I::kSmallTile, I::kPassBlocks>();
    return pass.template Run<1, I::kPassBlocks>();
  }
  if (token_count >= kOneBlockTile) return pass.template Run<kOneBlockTile, 1>();
  if (token_count >= I::kSmallTile) return pass.template Run<I::kSmallTile, 1>();
  pass.template Run<1, 1>();
}

template <bool kFloat>
struct MaximumOf {
  typedef int32_t Type;
};
template <>
struct MaximumOf<true> {
  typedef float Type;
};

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_DOCUMENTS_H_
