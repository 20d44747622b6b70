// In: float query tokens. Out: the lanes-first buffers of kernel.h. The same bytes on every
// machine: only single multiplications, additions and divisions, each rounded (-ffp-contract=off).
#include "maxsim/query.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "maxsim/rotation.h"
#include "maxsim/round.h"

namespace maxsim {
namespace {

constexpr std::align_val_t kAlignment{64};  // one cache line, one zmm

template <typename T>
T* AllocateZeros(size_t count) {
  void* memory = ::operator new(count * sizeof(T), kAlignment);
  std::memset(memory, 0, count * sizeof(T));  // zeros: padding dims, and the lanes without a token
  return static_cast<T*>(memory);
}

// Below this a token counts as zero: 127 / 1e-30 is still finite, and unit-length vectors whose
// largest component is under 1e-30 do not exist.
constexpr float kTiny = 1e-30f;

float LargestMagnitude(const float* values, size_t count) {
  constexpr size_t kChains = 8;  // a single chain of maxima would wait 4 cycles for each value
  float largest[kChains] = {};
  size_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (size_t c = 0; c < kChains; c++) {
      const float magnitude = std::fabs(values[i + c]);
      largest[c] = largest[c] > magnitude ? largest[c] : magnitude;
    }
  }
  for (; i < count; i++) largest[0] = std::max(largest[0], std::fabs(values[i]));
  return *std::max_element(largest, largest + kChains);
}

// values * inverse, rounded half to even; returns their sum.
// |value * inverse| <= limit * (1 + 2^-22), which rounds to at most `limit`.
int32_t Quantise(const float* values, size_t dim, float inverse, int8_t* quantised) {
  int32_t sum = 0;
  for (size_t d = 0; d < dim; d++) {
    const int32_t rounded = static_cast<int32_t>(RoundHalfToEven(values[d] * inverse));
    quantised[d] = static_cast<int8_t>(rounded);
    sum += rounded;
  }
  return sum;
}

}  // namespace

void PreparedQuery::FreeAligned::operator()(void* p) const { ::operator delete(p, kAlignment); }

PreparedQuery::PreparedQuery(const float* tokens, size_t token_count, size_t dim, unsigned bits)
    : token_count_(token_count),
      dim_(dim),
      padded_dim_(PaddedDim(dim)),
      block_count_((token_count + kMaxsimLanes - 1) / kMaxsimLanes),
      bits_(bits),
      int8_tokens_(AllocateZeros<int8_t>(block_count_ * kMaxsimLanes * padded_dim_)),
      bias_(AllocateZeros<int32_t>(block_count_ * kMaxsimLanes)),
      scale_(AllocateZeros<float>(block_count_ * kMaxsimLanes)),
      f32_tokens_(AllocateZeros<float>(block_count_ * kMaxsimLanes * padded_dim_)),
      weight_(AllocateZeros<float>(block_count_ * kMaxsimLanes)) {
  const float limit = bits == 7 ? 63.f : 127.f;
  const auto rotated = std::make_unique_for_overwrite<float[]>(dim * kMaxsimLanes);
  for (size_t block = 0; block < block_count_; block++) {
    const size_t first = block * kMaxsimLanes, block_start = first * padded_dim_;
    const size_t count = std::min<size_t>(kMaxsimLanes, token_count - first);
    float* f32_block = f32_tokens_.get() + block_start;
    TokensToLanes(tokens + first * dim, count, dim, f32_block);
    std::copy_n(f32_block, dim * kMaxsimLanes, rotated.get());
    RotateLanes(rotated.get(), dim);  // as the documents' tokens were, see codec.h
    for (size_t lane = 0; lane < count; lane++) {
      const size_t token = first + lane;
      weight_[token] = 1.f;
      float values[kMaxDim];
      for (size_t d = 0; d < dim; d++) values[d] = rotated[d * kMaxsimLanes + lane];
      const float largest = LargestMagnitude(values, dim);
      if (largest < kTiny) continue;
      int8_t quantised[kMaxDim] = {};
      const int32_t sum = Quantise(values, dim, limit / largest, quantised);
      int8_t* int8_lane = int8_tokens_.get() + block_start + lane * 4;
      for (size_t d = 0; d < padded_dim_; d += 4, int8_lane += kMaxsimLanes * 4) {
        std::memcpy(int8_lane, quantised + d, 4);
      }
      bias_[token] = -128 * sum;  // documents are stored + 128
      scale_[token] = largest / limit;
    }
  }
}

MaxsimQueryInt8 PreparedQuery::Int8(float document_scale) const {
  return {.tokens = int8_tokens_.get(),
          .bias = bias_.get(),
          .scale = scale_.get(),
          .document_scale = document_scale,
          .block_count = static_cast<uint32_t>(block_count_),
          .padded_dim = static_cast<uint32_t>(padded_dim_),
          .bits = bits_};
}

MaxsimQueryF32 PreparedQuery::F32() const {
  return {.tokens = f32_tokens_.get(),
          .weight = weight_.get(),
          .block_count = static_cast<uint32_t>(block_count_),
          .padded_dim = static_cast<uint32_t>(padded_dim_)};
}

}  // namespace maxsim
