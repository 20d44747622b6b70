// MaxSim for every codec, written once over the vectors of one instruction set: `I` says how many
// query tokens a vector holds, how large a tile of document tokens is, and how to multiply. Included
// as static code by each SIMD kernel file.
//
// Query tokens lie in lanes. A pass walks a document in tiles of T tokens for B blocks of 16 query
// tokens; dot products and running maxima stay in registers until the document ends. A longer query
// takes several passes over the same document.
//
// What I provides (V vectors hold the query tokens of a pass):
//   Int, Float            vectors of kLanes int32 or float
//   kLanes, kPassBlocks   lanes of a vector; blocks per pass
//   kTile, kSmallTile     tokens per tile; a smaller tile for shorter documents, or 1
//   kResidualTile         the same for residuals, whose expansion needs registers too
//   kStepDims             dims per step of Dot
//   Lanes                 the query's bytes as Dot wants them
//   Dot<T, V>             adds the products of some dims of T rows to dot[T][V]
//   FromUnsigned          turns a start for products with stored bytes into one for what Dot adds
//                         (some instruction sets multiply value, not value + 128)
//   DotFloats<T, V>, Expand, FactorsOf, and operations on vectors
#ifndef MAXSIM_MAXSIM_KERNELS_PASSES_H_
#define MAXSIM_MAXSIM_KERNELS_PASSES_H_

#include <limits.h>
#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/fold.h"
#include "maxsim/kernels/rows.h"

namespace {

// What `pass` finds in each document, folded into scores.
// pass(document, upcoming, block, blocks, maxima): `upcoming` is what is read after the document.
template <uint32_t kPassBlocks, typename Maximum, typename Query, typename Pass>
MAXSIM_INLINE void ForDocuments(const Query* query, const MaxsimDocument* documents,
                                size_t document_count, MaxsimExit* exit, float* scores,
                                Pass pass) {
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

// Calls pass.template Run<T, B>(): the largest tile that the document fills, the blocks of the pass.
template <typename I, uint32_t kTile, typename Pass>
MAXSIM_INLINE void WithTile(uint32_t token_count, uint32_t blocks, const Pass& pass) {
  if (I::kPassBlocks > 1 && blocks == I::kPassBlocks) {
    if (token_count >= kTile) return pass.template Run<kTile, I::kPassBlocks>();
    if (token_count >= I::kSmallTile) return pass.template Run<I::kSmallTile, I::kPassBlocks>();
    return pass.template Run<1, I::kPassBlocks>();
  }
  if (token_count >= kTile) return pass.template Run<kTile, 1>();
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

// --- bytes: int8 and int8-token ---------------------------------------------------------------------

// kDim is the padded dim where the compiler may know it, else 0.
template <typename I, bool kTokenScales, size_t kDim>
struct BytesPass {
  typedef typename I::Int Int;
  typedef typename I::Float Float;

  const MaxsimQueryInt8* query;
  const MaxsimDocument& document;
  const void* upcoming;
  uint32_t block;
  void* maxima;  // [B][16] int32, or float with token scales

  template <uint32_t T, uint32_t B>
  void Run() const {
    constexpr uint32_t V = B * kMaxsimLanes / I::kLanes;
    const size_t dim = kDim != 0 ? kDim : query->padded_dim;
    const typename I::Lanes lanes(query->tokens + block * dim * kMaxsimLanes, dim);
    const uint8_t* rows = (const uint8_t*)document.tokens;
    const uint8_t* scales = rows + document.token_count * dim;
    Int start[V], best[V];
    Float best_float[V];
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
      const Int bias = I::LoadInt(query->bias + block * kMaxsimLanes + v * I::kLanes);
      start[v] = I::FromUnsigned(bias, bias);
      best[v] = I::SetInt(INT_MIN);
      best_float[v] = I::SetFloat(-INFINITY);
    }
    for (TileWalk<T> walk(document.token_count); !walk.done; walk.Step()) {
      Int dot[T][V];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) dot[t][v] = start[v];
      }
      typename I::FetchBytes fetch{walk.AtLast() ? (const uint8_t*)upcoming
                                                 : rows + walk.Next() * dim};
      I::template Dot<T, V>(dot, rows + walk.token * dim, dim, lanes, dim, 0, dim, fetch);
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        if constexpr (kTokenScales) {
          const Float scale =
              I::SetFloat(ReadFloat(scales + (size_t)(walk.token + t) * sizeof(float)));
          MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
            best_float[v] = I::Max(I::Multiply(I::ToFloat(dot[t][v]), scale), best_float[v]);
          }
        } else {
          MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) best[v] = I::Max(dot[t][v], best[v]);
        }
      }
    }
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
      if constexpr (kTokenScales) {
        I::Store((float*)maxima + v * I::kLanes, best_float[v]);
      } else {
        I::Store((int32_t*)maxima + v * I::kLanes, best[v]);
      }
    }
  }
};

template <typename I, bool kTokenScales, size_t kDim>
void ScoreBytesOfDim(const MaxsimQueryInt8* query, const MaxsimDocument* documents,
                     size_t document_count, MaxsimExit* exit, float* scores) {
  typedef typename MaximumOf<kTokenScales>::Type Maximum;
  ForDocuments<I::kPassBlocks, Maximum>(
      query, documents, document_count, exit, scores,
      [query](const MaxsimDocument& document, const MaxsimDocument& upcoming, uint32_t block,
              uint32_t blocks, Maximum (*maxima)[kMaxsimLanes]) {
        WithTile<I, I::kTile>(document.token_count, blocks,
                    BytesPass<I, kTokenScales, kDim>{query, document, upcoming.tokens, block,
                                                     maxima});
      });
}

template <typename I, bool kTokenScales>
void ScoreBytes(const MaxsimQueryInt8* query, const MaxsimDocument* documents,
                size_t document_count, MaxsimExit* exit, float* scores) {
  switch (query->padded_dim) {
    case 128:
      return ScoreBytesOfDim<I, kTokenScales, 128>(query, documents, document_count, exit, scores);
    case 96:
      return ScoreBytesOfDim<I, kTokenScales, 96>(query, documents, document_count, exit, scores);
    case 64:
      return ScoreBytesOfDim<I, kTokenScales, 64>(query, documents, document_count, exit, scores);
    case 48:
      return ScoreBytesOfDim<I, kTokenScales, 48>(query, documents, document_count, exit, scores);
    default:
      return ScoreBytesOfDim<I, kTokenScales, 0>(query, documents, document_count, exit, scores);
  }
}

// --- residuals: r4, r2, r1 --------------------------------------------------------------------------

// Expands the next tile's codes, and fetches its centroids' rows, a token a step, while this one is
// multiplied; and fetches the codes of the tile after that.
template <typename I, uint32_t T, uint32_t B, uint32_t kBits>
struct ExpandAhead {
  const MaxsimResidual& residual;
  const typename I::Bytes weights;
  const ResidualParts& parts;
  const int16_t* table;  // of the pass's first block
  size_t table_stride;
  size_t code_bytes, stride;
  uint32_t token, left;  // of the next tile; 0 when there is none
  uint8_t* row;
  const uint8_t* after;

  MAXSIM_INLINE void operator()() {
    if (left == 0) return;
    I::template Expand<kBits>(weights, parts.codes + token * code_bytes, code_bytes, row);
    const int16_t* entry = table + parts.Id(residual, token) * table_stride;
    MAXSIM_UNROLL for (uint32_t line = 0; line < (B + 1) / 2; line++) Fetch(entry + line * 32);
    Fetch(after);
    row += stride;
    after += code_bytes;
    token++;
    left--;
  }
};

template <typename I, uint32_t kBits, size_t kDim>
struct ResidualPass {
  typedef typename I::Int Int;
  typedef typename I::Float Float;

  const MaxsimQueryInt8* query;
  const MaxsimResidual* residual;
  const MaxsimDocument& document;
  const MaxsimDocument& upcoming;
  uint32_t block;
  float* maxima;  // [B][16]

  template <uint32_t T, uint32_t B>
  void Run() const {
    constexpr uint32_t V = B * kMaxsimLanes / I::kLanes;
    const size_t dim = kDim != 0 ? kDim : query->padded_dim;
    const size_t code_bytes = kDim != 0 ? kDim * kBits / 8 : residual->code_bytes;
    const size_t stride = code_bytes * (8 / kBits);
    const size_t table_stride = query->block_count * (size_t)kMaxsimLanes;
    const int16_t* table = residual->table + block * kMaxsimLanes;
    const typename I::Lanes lanes(query->tokens + block * dim * kMaxsimLanes, dim);
    const typename I::Bytes weights = I::LoadBytes(residual->weights);
    const ResidualParts parts(*residual, document);
    // An expansion may write up to a vector past its row: over the next row before that is
    // expanded, or into the slack.
    constexpr size_t kBuffer = T * kMaxPaddedDim + 64;
    alignas(64) uint8_t buffers[2][kBuffer];
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      I::template Expand<kBits>(weights, parts.codes + t * code_bytes, code_bytes,
                                buffers[0] + t * stride);
    }
    const Int shift = I::SetInt((int32_t)residual->table_shift);
    Int bias[V];
    Float best[V];
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
      bias[v] = I::LoadInt(query->bias + block * kMaxsimLanes + v * I::kLanes);
      best[v] = I::SetFloat(-INFINITY);
    }
    uint32_t current = 0;
    for (TileWalk<T> walk(document.token_count); !walk.done; walk.Step()) {
      Int dot[T][V];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        const int16_t* entry = table + parts.Id(*residual, walk.token + t) * table_stride;
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
          dot[t][v] =
              I::FromUnsigned(I::ShiftLeft(I::LoadInt16(entry + v * I::kLanes), shift), bias[v]);
        }
      }
      const uint32_t next = walk.Next();
      if (walk.AtLast()) FetchUpcoming<T, B>(table, table_stride, code_bytes);
      ExpandAhead<I, T, B, kBits> ahead{*residual,
                                        weights,
                                        parts,
                                        table,
                                        table_stride,
                                        code_bytes,
                                        stride,
                                        next,
                                        walk.AtLast() ? 0 : T,
                                        buffers[1 - current],
                                        parts.codes + (next + T) * code_bytes};
      // The steps that expand, and those that need not ask.
      const uint8_t* rows = buffers[current];
      const size_t middle = T * I::kStepDims < dim ? T * I::kStepDims : dim;
      I::template Dot<T, V>(dot, rows, stride, lanes, dim, 0, middle, ahead);
      FetchNothing nothing;
      I::template Dot<T, V>(dot, rows, stride, lanes, dim, middle, dim, nothing);
      while (ahead.left > 0) ahead();
      alignas(64) float factors[16];
      I::template FactorsOf<T>(parts.factors + walk.token * sizeof(uint16_t), factors);
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        const Float factor = I::SetFloat(factors[t]);
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
          best[v] = I::Max(I::Multiply(I::ToFloat(dot[t][v]), factor), best[v]);
        }
      }
      current = 1 - current;
    }
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) I::Store(maxima + v * I::kLanes, best[v]);
  }

  // The upcoming document's first tiles of codes, its factors and ids, and its first centroids.
  template <uint32_t T, uint32_t B>
  MAXSIM_INLINE void FetchUpcoming(const int16_t* table, size_t table_stride,
                                   size_t code_bytes) const {
    const ResidualParts parts(*residual, upcoming);
    for (size_t i = 0; i < 2 * T * code_bytes; i += 64) Fetch(parts.codes + i);
    const size_t rest = (size_t)upcoming.token_count * (sizeof(uint16_t) + residual->id_bytes);
    for (size_t i = 0; i < rest; i += 64) Fetch(parts.factors + i);
    const uint32_t tokens = upcoming.token_count < T ? upcoming.token_count : T;
    for (uint32_t t = 0; t < tokens; t++) {
      const int16_t* entry = table + parts.Id(*residual, t) * table_stride;
      for (uint32_t line = 0; line < (B + 1) / 2; line++) Fetch(entry + line * 32);
    }
  }
};

template <typename I, uint32_t kBits, size_t kDim>
void ScoreResidualOf(const MaxsimQueryInt8* query, const MaxsimResidual* residual,
                     const MaxsimDocument* documents, size_t document_count, MaxsimExit* exit,
                     float* scores) {
  ForDocuments<I::kPassBlocks, float>(
      query, documents, document_count, exit, scores,
      [query, residual](const MaxsimDocument& document, const MaxsimDocument& upcoming,
                        uint32_t block, uint32_t blocks, float (*maxima)[kMaxsimLanes]) {
        WithTile<I, I::kResidualTile>(document.token_count, blocks,
                    ResidualPass<I, kBits, kDim>{query, residual, document, upcoming, block,
                                                 maxima[0]});
      });
}

template <typename I>
void ScoreResidual(const MaxsimQueryInt8* query, const MaxsimResidual* residual,
                   const MaxsimDocument* documents, size_t document_count, MaxsimExit* exit,
                   float* scores) {
#define MAXSIM_RESIDUAL(bits, dim) \
  ScoreResidualOf<I, bits, dim>(query, residual, documents, document_count, exit, scores)
  if (residual->bits == 1) return MAXSIM_RESIDUAL(1, 0);
  if (residual->bits == 2) {
    return query->padded_dim == 128 ? MAXSIM_RESIDUAL(2, 128) : MAXSIM_RESIDUAL(2, 0);
  }
  switch (query->padded_dim) {
    case 128:
      return MAXSIM_RESIDUAL(4, 128);
    case 96:
      return MAXSIM_RESIDUAL(4, 96);
    case 64:
      return MAXSIM_RESIDUAL(4, 64);
    case 48:
      return MAXSIM_RESIDUAL(4, 48);
    default:
      return MAXSIM_RESIDUAL(4, 0);
  }
#undef MAXSIM_RESIDUAL
}

// --- floats: f32, f16, bf16 -------------------------------------------------------------------------

// Source says how rows are stored, which lanes of the query they are multiplied with, and how a tile
// becomes what I::DotFloats reads.
template <typename I, typename Source, size_t kDim>
struct FloatsPass {
  typedef typename I::Float Float;

  const MaxsimQueryF32* query;
  const MaxsimDocument& document;
  const void* upcoming;
  uint32_t block;
  float* maxima;

  template <uint32_t T, uint32_t B>
  void Run() const {
    constexpr uint32_t V = B * kMaxsimLanes / I::kLanes;
    const size_t dim = kDim != 0 ? kDim : query->padded_dim, row_bytes = dim * Source::kBytes;
    const auto* lanes = Source::Lanes(*query) + block * dim * kMaxsimLanes;
    const uint8_t* rows = (const uint8_t*)document.tokens;
    typename Source::template Tile<T> tile;
    Float best[V];
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) best[v] = I::SetFloat(-INFINITY);
    for (TileWalk<T> walk(document.token_count); !walk.done; walk.Step()) {
      Float dot[T][V];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) dot[t][v] = I::SetFloat(0.f);
      }
      FetchAhead<Source::kFetchLines> fetch{walk.AtLast() ? (const uint8_t*)upcoming
                                                          : rows + walk.Next() * row_bytes};
      const uint8_t* floats = tile.Read(rows + walk.token * row_bytes, dim);
      I::template DotFloats<T, V>(dot, floats, lanes, dim, fetch);
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) best[v] = I::Max(dot[t][v], best[v]);
      }
    }
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) I::Store(maxima + v * I::kLanes, best[v]);
  }
};

// kLines: cache lines of a tile per 4 dims.
template <uint32_t kLines>
struct F32Source {
  static constexpr size_t kBytes = 4;
  static constexpr uint32_t kFetchLines = kLines;
  static MAXSIM_INLINE const float* Lanes(const MaxsimQueryF32& query) { return query.tokens; }
  template <uint32_t T>
  struct Tile {
    MAXSIM_INLINE const uint8_t* Read(const uint8_t* rows, size_t /*dim*/) { return rows; }
  };
};

// 16-bit floats, converted into the first-level cache; `count` is a multiple of 4.
template <uint32_t kLines, void (*kConvert)(const uint8_t* values, size_t count, float* floats)>
struct HalfSource {
  static constexpr size_t kBytes = 2;
  static constexpr uint32_t kFetchLines = kLines;
  static MAXSIM_INLINE const float* Lanes(const MaxsimQueryF32& query) { return query.tokens; }
  template <uint32_t T>
  struct Tile {
    alignas(64) float floats[T * kMaxPaddedDim];
    MAXSIM_INLINE const uint8_t* Read(const uint8_t* rows, size_t dim) {
      kConvert(rows, T * dim, floats);
      return (const uint8_t*)floats;
    }
  };
};

template <typename I, typename Source, size_t kDim>
void ScoreFloatsOfDim(const MaxsimQueryF32* query, const MaxsimDocument* documents,
                      size_t document_count, MaxsimExit* exit, float* scores) {
  ForDocuments<I::kPassBlocks, float>(
      query, documents, document_count, exit, scores,
      [query](const MaxsimDocument& document, const MaxsimDocument& upcoming, uint32_t block,
              uint32_t blocks, float (*maxima)[kMaxsimLanes]) {
        WithTile<I, I::kTile>(
            document.token_count, blocks,
            FloatsPass<I, Source, kDim>{query, document, upcoming.tokens, block, maxima[0]});
      });
}

template <typename I, typename Source>
void ScoreFloats(const MaxsimQueryF32* query, const MaxsimDocument* documents,
                 size_t document_count, MaxsimExit* exit, float* scores) {
  switch (query->padded_dim) {
    case 128:
      return ScoreFloatsOfDim<I, Source, 128>(query, documents, document_count, exit, scores);
    case 96:
      return ScoreFloatsOfDim<I, Source, 96>(query, documents, document_count, exit, scores);
    case 64:
      return ScoreFloatsOfDim<I, Source, 64>(query, documents, document_count, exit, scores);
    case 48:
      return ScoreFloatsOfDim<I, Source, 48>(query, documents, document_count, exit, scores);
    default:
      return ScoreFloatsOfDim<I, Source, 0>(query, documents, document_count, exit, scores);
  }
}

// --- centroids --------------------------------------------------------------------------------------

// T rows from `first` on of `ids`, or of all, copied together unless they lie so; past the end the
// last one again.
template <uint32_t T>
MAXSIM_INLINE const uint8_t* GatherRows(const uint8_t* rows, size_t dim, const uint32_t* ids,
                                        size_t first, size_t count, size_t (&chosen)[T],
                                        uint8_t* scratch) {
  for (uint32_t t = 0; t < T; t++) {
    const size_t i = first + t < count ? first + t : count - 1;
    chosen[t] = ids == nullptr ? i : ids[i];
  }
  if (ids == nullptr && first + T <= count) return rows + first * dim;
  for (uint32_t t = 0; t < T; t++) memcpy(scratch + t * dim, rows + chosen[t] * dim, dim);
  return scratch;
}

template <typename I, uint32_t B, size_t kDim>
void FillTablePass(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids,
                   const uint32_t* ids, size_t count, uint32_t block) {
  constexpr uint32_t T = I::kTile, V = B * kMaxsimLanes / I::kLanes;
  typedef typename I::Int Int;
  const size_t dim = kDim != 0 ? kDim : query->padded_dim;
  const typename I::Lanes lanes(query->tokens + block * dim * kMaxsimLanes, dim);
  alignas(64) uint8_t scratch[T * kMaxPaddedDim];
  Int start[V], offset[V];
  const Int half = I::SetInt((int32_t)(1u << centroids->table_shift >> 1));
  const Int up = I::SetInt((int32_t)centroids->centroid_shift);
  const Int down = I::SetInt((int32_t)centroids->table_shift);
  MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
    const Int bias = I::LoadInt(query->bias + block * kMaxsimLanes + v * I::kLanes);
    start[v] = I::FromUnsigned(bias, bias);
    offset[v] = I::Add(bias, half);
  }
  for (size_t first = 0; first < count; first += T) {
    size_t chosen[T];
    const uint8_t* rows = GatherRows<T>(centroids->rows, dim, ids, first, count, chosen, scratch);
    if (ids != nullptr) {
      for (uint32_t t = 0; t < T && first + T + t < count; t++) {
        const uint8_t* upcoming = centroids->rows + ids[first + T + t] * dim;
        for (size_t d = 0; d < dim; d += 64) Fetch(upcoming + d);
      }
    }
    Int dot[T][V];
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) dot[t][v] = start[v];
    }
    FetchNothing nothing;
    I::template Dot<T, V>(dot, rows, dim, lanes, dim, 0, dim, nothing);
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      int16_t* row = centroids->table + (chosen[t] * query->block_count + block) * kMaxsimLanes;
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
        const Int exact = I::Add(I::ShiftLeft(dot[t][v], up), offset[v]);
        I::StoreInt16(row + v * I::kLanes, I::ShiftRight(exact, down));
      }
    }
  }
}

template <typename I, size_t kDim>
void FillTableOfDim(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids,
                    const uint32_t* ids, size_t count) {
  for (uint32_t block = 0; block < query->block_count;) {
    if (query->block_count - block >= I::kPassBlocks) {
      FillTablePass<I, I::kPassBlocks, kDim>(query, centroids, ids, count, block);
      block += I::kPassBlocks;
    } else {
      FillTablePass<I, 1, kDim>(query, centroids, ids, count, block);
      block++;
    }
  }
}

template <typename I>
void FillTable(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids, const uint32_t* ids,
               size_t count) {
  if (query->padded_dim == 128) return FillTableOfDim<I, 128>(query, centroids, ids, count);
  if (query->padded_dim == 96) return FillTableOfDim<I, 96>(query, centroids, ids, count);
  FillTableOfDim<I, 0>(query, centroids, ids, count);
}

template <typename I, uint32_t T, uint32_t B, size_t kDim>
void NearestPass(const int8_t* tokens, const MaxsimRows* rows, uint32_t* best) {
  constexpr uint32_t V = B * kMaxsimLanes / I::kLanes;
  typedef typename I::Int Int;
  const size_t dim = kDim != 0 ? kDim : rows->padded_dim;
  const typename I::Lanes lanes(tokens, dim);
  Int largest[V], row_of[V];
  MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
    largest[v] = I::SetInt(INT_MIN);
    row_of[v] = I::SetInt(0);
  }
  // The last tile meets some rows a second time: none is larger than itself.
  for (TileWalk<T> walk((uint32_t)rows->count); !walk.done; walk.Step()) {
    Int dot[T][V];
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      const Int term = I::SetInt(rows->terms[walk.token + t]);
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) dot[t][v] = term;
    }
    FetchNothing nothing;
    I::template Dot<T, V>(dot, rows->rows + (size_t)walk.token * dim, dim, lanes, dim, 0, dim,
                          nothing);
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      const Int row = I::SetInt((int32_t)(walk.token + t));
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
        I::TakeLarger(largest[v], row_of[v], dot[t][v], row);
      }
    }
  }
  MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
    I::Store((int32_t*)best + v * I::kLanes, row_of[v]);
  }
}

template <typename I, size_t kDim>
void NearestOfDim(const int8_t* tokens, size_t block_count, const MaxsimRows* rows,
                  uint32_t* best) {
  const size_t block_bytes = rows->padded_dim * (size_t)kMaxsimLanes;
  for (size_t block = 0; block < block_count;) {
    const int8_t* first = tokens + block * block_bytes;
    uint32_t* out = best + block * kMaxsimLanes;
    const bool pass = I::kPassBlocks > 1 && block_count - block >= I::kPassBlocks;
    if (rows->count < I::kTile) {
      NearestPass<I, 1, 1, kDim>(first, rows, out);
    } else if (pass) {
      NearestPass<I, I::kTile, I::kPassBlocks, kDim>(first, rows, out);
    } else {
      NearestPass<I, I::kTile, 1, kDim>(first, rows, out);
    }
    block += pass && rows->count >= I::kTile ? I::kPassBlocks : 1;
  }
}

template <typename I>
void Nearest(const int8_t* tokens, size_t block_count, const MaxsimRows* rows, uint32_t* best) {
  if (rows->padded_dim == 128) return NearestOfDim<I, 128>(tokens, block_count, rows, best);
  if (rows->padded_dim == 96) return NearestOfDim<I, 96>(tokens, block_count, rows, best);
  NearestOfDim<I, 0>(tokens, block_count, rows, best);
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_PASSES_H_
