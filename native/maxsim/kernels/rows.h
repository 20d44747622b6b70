// How the SIMD kernels walk the tokens of a document: which tiles, in which order, and what to
// fetch meanwhile. Included as static code by each kernel file.
//
// Tiles start at tokens 0, T, 2T, ... and the last one is pushed back to end with the document. It
// meets a few tokens a second time, which changes nothing: max is idempotent. So no tile ever reads
// past the end.
#ifndef MAXSIM_MAXSIM_KERNELS_ROWS_H_
#define MAXSIM_MAXSIM_KERNELS_ROWS_H_

#include <string.h>

#include "maxsim/kernel.h"

#if defined(__GNUC__)
#define MAXSIM_INLINE inline __attribute__((always_inline))
#define MAXSIM_UNROLL _Pragma("GCC unroll 16")
#else
#include <immintrin.h>
#define MAXSIM_INLINE __forceinline
#define MAXSIM_UNROLL
#endif

namespace {

constexpr size_t kMaxPaddedDim = 1024;

// Whether common dims get code of their own, which differs in what the compiler may know.
// Sanitizers and fuzzers check the general code alone: compiled with them, all of it takes a
// quarter of an hour.
#if defined(MAXSIM_GENERAL_DIMS)
constexpr bool kSpecialDims = false;
#else
constexpr bool kSpecialDims = true;
#endif

// Usage: for (TileWalk<T> walk(count); !walk.done; walk.Step()) { ... walk.token ... }
// count is at least T.
template <uint32_t kTokens>
struct TileWalk {
  uint32_t token = 0;  // the tile's first
  uint32_t last;       // the last tile's first
  bool done = false;

  MAXSIM_INLINE explicit TileWalk(uint32_t count) : last(count - kTokens) {}
  MAXSIM_INLINE bool AtLast() const { return token == last; }
  // The first token of the next tile; of this one, if it is the last.
  MAXSIM_INLINE uint32_t Next() const { return last - token > kTokens ? token + kTokens : last; }
  MAXSIM_INLINE void Step() {
    done = AtLast();
    token = Next();
  }
};

// A hint: an address past the document, or of no page at all, does not fault.
MAXSIM_INLINE void Fetch(const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 0, 3);
#else
  _mm_prefetch((const char*)address, _MM_HINT_T0);
#endif
}

// Runs once per step of the dot products and fetches kLines cache lines of what comes next.
template <uint32_t kLines, uint32_t kEvery = 1>
struct FetchAhead {
  const uint8_t* ahead;
  uint32_t step = 0;

  MAXSIM_INLINE void operator()() {
    if (kEvery > 1 && step++ % kEvery != 0) return;
    for (uint32_t i = 0; i < kLines; i++) Fetch(ahead + 64 * i);
    ahead += 64 * kLines;
  }
};

struct FetchNothing {
  MAXSIM_INLINE void operator()() {}
};

// Documents are mapped bytes without alignment.
MAXSIM_INLINE int32_t ReadInt32(const uint8_t* bytes) {
  int32_t value;
  memcpy(&value, bytes, sizeof(value));
  return value;
}

MAXSIM_INLINE float ReadFloat(const uint8_t* bytes) {
  float value;
  memcpy(&value, bytes, sizeof(value));
  return value;
}

// The parts of a residual document, kernel.h. Reading four bytes of an id of fewer goes past the
// end, which kMaxsimResidualSlack allows.
struct ResidualParts {
  const uint8_t *codes, *factors, *ids, *end;

  MAXSIM_INLINE ResidualParts(const MaxsimResidual& residual, const MaxsimDocument& document) {
    codes = (const uint8_t*)document.tokens;
    factors = codes + (size_t)document.token_count * residual.code_bytes;
    ids = factors + (size_t)document.token_count * sizeof(uint16_t);
    end = ids + (size_t)document.token_count * residual.id_bytes;
  }
};

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_ROWS_H_
