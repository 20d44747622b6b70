// How the SIMD kernels read the rows of a document: which tiles, in which order, and what to fetch
// meanwhile. Included as static code by each kernel file.
//
// Tiles start at rows 0, T, 2T, ... and the last one is pushed back to end with the document. It
// meets a few rows a second time, which changes nothing: max is idempotent. So no tile ever reads
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

struct Rows {
  const uint8_t* first;
  size_t row_bytes;
  uint32_t count;           // at least the tile's size
  const uint8_t* upcoming;  // what is read after this document: fetched during its last tile
};

// The rows of documents[i] for the pass over query block `block`: a query of more blocks than a
// pass takes walks the same document again.
MAXSIM_INLINE Rows RowsOf(const MaxsimDocument* documents, size_t document_count, size_t i,
                          size_t row_bytes, bool last_pass) {
  Rows rows;
  rows.first = (const uint8_t*)documents[i].tokens;
  rows.row_bytes = row_bytes;
  rows.count = documents[i].token_count;
  rows.upcoming =
      last_pass && i + 1 < document_count ? (const uint8_t*)documents[i + 1].tokens : rows.first;
  return rows;
}

// Usage: for (TileWalk<T> walk(rows); !walk.done; walk.Step(rows)) { ... walk.row ... walk.ahead
// ... }
template <uint32_t kTokens>
struct TileWalk {
  const uint8_t* row;    // the tile's first row
  const uint8_t* ahead;  // where the next tile starts: one line of it is fetched per step of 4 dims
  const uint8_t* last;
  bool done = false;

  MAXSIM_INLINE explicit TileWalk(const Rows& rows) {
    last = rows.first + (size_t)(rows.count - kTokens) * rows.row_bytes;
    row = rows.first;
    ahead = row == last ? rows.upcoming : row + kTokens * rows.row_bytes;
  }
  MAXSIM_INLINE void Step(const Rows& rows) {
    done = row == last;
    if (done) return;
    row = (size_t)(last - row) > kTokens * rows.row_bytes ? row + kTokens * rows.row_bytes : last;
    ahead = row == last ? rows.upcoming : row + kTokens * rows.row_bytes;
  }
};

// A hint: an address past the document, or of no page at all, does not fault.
MAXSIM_INLINE void Fetch(const uint8_t* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 0, 3);
#else
  _mm_prefetch((const char*)address, _MM_HINT_T0);
#endif
}

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

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_ROWS_H_
