// Documents as the centroids that occur in them: the sum over query tokens of the largest byte that
// one of the document's centroids has. Written over vectors of bytes that the compiler maps to what
// the CPU has, and included as static code by each kernel file. Whole numbers: the same everywhere.
#ifndef MAXSIM_MAXSIM_KERNELS_CODES_H_
#define MAXSIM_MAXSIM_KERNELS_CODES_H_

#include "maxsim/kernels/rows.h"

namespace {

// kSize query tokens: their bytes of one centroid, or their largest so far.
#if defined(__GNUC__) && !defined(MAXSIM_NO_VECTORS)
template <int kSize>
struct ByteLanes {
  typedef uint8_t Vector __attribute__((vector_size(kSize)));
  Vector at;

  MAXSIM_INLINE void Clear() { at = Vector{}; }
  MAXSIM_INLINE void TakeLarger(const uint8_t* row) {
    Vector other;
    memcpy(&other, row, sizeof(other));
    at = other > at ? other : at;
  }
};
#else
template <int kSize>
struct ByteLanes {
  uint8_t at[kSize];

  MAXSIM_INLINE void Clear() { memset(at, 0, sizeof(at)); }
  MAXSIM_INLINE void TakeLarger(const uint8_t* row) {
    for (int i = 0; i < kSize; i++) at[i] = row[i] > at[i] ? row[i] : at[i];
  }
};
#endif

template <int kSize>
MAXSIM_INLINE uint32_t SumOf(const ByteLanes<kSize>& lanes) {
  uint64_t words[kSize / 8];
  memcpy(words, &lanes.at, sizeof(words));
  constexpr uint64_t kEven = 0x00ff00ff00ff00ffu;
  uint64_t pairs = 0;  // four sums of 16 bits: at most 8 words of 2 * 255 each
  for (int i = 0; i < kSize / 8; i++) pairs += (words[i] & kEven) + (words[i] >> 8 & kEven);
  return (uint32_t)(pairs * 0x0001000100010001u >> 48);
}

template <typename Code, int kBlocks>
MAXSIM_INLINE void ScanPass(const uint8_t* table, size_t stride, const MaxsimCodes* codes,
                            const uint32_t* documents, uint32_t first, size_t count,
                            uint32_t* scores) {
  constexpr int kSize = kBlocks * kMaxsimLanes;
  const Code* ids = (const Code*)codes->codes;
  for (size_t i = 0; i < count; i++) {
    const uint32_t document = documents == nullptr ? first + (uint32_t)i : documents[i];
    if (documents != nullptr && i + 2 < count) Fetch(ids + codes->starts[documents[i + 2]]);
    const Code* code = ids + codes->starts[document];
    const Code* end = ids + codes->starts[document + 1];
    ByteLanes<kSize> even, odd;
    even.Clear();
    odd.Clear();
    for (; end - code >= 2; code += 2) {
      even.TakeLarger(table + (size_t)code[0] * stride);
      odd.TakeLarger(table + (size_t)code[1] * stride);
    }
    if (code != end) even.TakeLarger(table + (size_t)*code * stride);
    uint8_t others[kSize];
    memcpy(others, &odd.at, sizeof(others));
    even.TakeLarger(others);
    scores[i] += SumOf<kSize>(even);
  }
}

// See MaxsimScanCodes.
template <typename Code>
MAXSIM_INLINE void ScanCodesOf(const uint8_t* table, uint32_t block_count, const MaxsimCodes* codes,
                               const uint32_t* documents, uint32_t first, size_t count,
                               uint32_t* scores) {
  const size_t stride = (size_t)block_count * kMaxsimLanes;
  memset(scores, 0, count * sizeof(*scores));
  for (uint32_t block = 0; block < block_count;) {
    const uint8_t* rows = table + block * kMaxsimLanes;
    if (block_count - block >= 4) {
      ScanPass<Code, 4>(rows, stride, codes, documents, first, count, scores);
      block += 4;
    } else if (block_count - block >= 2) {
      ScanPass<Code, 2>(rows, stride, codes, documents, first, count, scores);
      block += 2;
    } else {
      ScanPass<Code, 1>(rows, stride, codes, documents, first, count, scores);
      block += 1;
    }
  }
}

[[maybe_unused]] void ScanCodes(const uint8_t* table, uint32_t block_count,
                                const MaxsimCodes* codes, const uint32_t* documents, uint32_t first,
                                size_t count, uint32_t* scores) {
  if (codes->code_bytes == 2) {
    ScanCodesOf<uint16_t>(table, block_count, codes, documents, first, count, scores);
  } else {
    ScanCodesOf<uint32_t>(table, block_count, codes, documents, first, count, scores);
  }
}

// See MaxsimToBytes.
[[maybe_unused]] void ToBytes(const int16_t* products, size_t rows, size_t lanes,
                              const int16_t* zero, const int16_t* row_factor, const int16_t* factor,
                              uint8_t* bytes) {
  for (size_t row = 0; row < rows; row++, products += lanes, bytes += lanes) {
    for (size_t first = 0; first < lanes; first += kMaxsimLanes) {
      int16_t values[kMaxsimLanes];
      MAXSIM_UNROLL for (int lane = 0; lane < kMaxsimLanes; lane++) {
        const int32_t above = (int32_t)products[first + lane] - zero[first + lane];
        const int16_t kept = (int16_t)(above < 0 ? 0 : above > INT16_MAX ? INT16_MAX : above);
        const int16_t row_scaled = (int16_t)((int32_t)kept * row_factor[row] >> 16);
        const int32_t scaled = (int32_t)row_scaled * factor[first + lane] >> 16;
        values[lane] = (int16_t)(scaled > 255 ? 255 : scaled);
      }
      MAXSIM_UNROLL for (int lane = 0; lane < kMaxsimLanes; lane++) {
        bytes[first + lane] = (uint8_t)values[lane];
      }
    }
  }
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_CODES_H_
