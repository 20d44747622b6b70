#include "maxsim/rotation.h"

#include <bit>
#include <cmath>
#include <cstdint>

#include "maxsim/kernel.h"

namespace maxsim {
namespace {

constexpr int kRounds = 2;

// Vectors lie side by side: value i of vector v at [i * kWidth + v], so that the inner loops run
// over contiguous floats and every vector sees the same operations in the same order.

// Walsh-Hadamard transform of `size` values (a power of two), scaled to keep lengths: its own
// inverse.
template <size_t kWidth>
void Hadamard(float* values, size_t size) {
  for (size_t half = 1; half < size; half *= 2) {
    for (size_t start = 0; start < size; start += 2 * half) {
      float* low = values + start * kWidth;
      float* high = low + half * kWidth;
      for (size_t i = 0; i < half * kWidth; i++) {
        const float sum = low[i] + high[i];
        const float difference = low[i] - high[i];
        low[i] = sum;
        high[i] = difference;
      }
    }
  }
  // sqrt is exactly rounded by IEEE 754, like the division.
  const float scale = 1.f / std::sqrt(static_cast<float>(size));
  for (size_t i = 0; i < size * kWidth; i++) values[i] *= scale;
}

// SplitMix64 (Steele, Lea and Flood, 2014): 64 signs a word.
uint64_t SignWord(uint64_t index) {
  uint64_t z = (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

constexpr size_t kWordsPerRound = 16;  // 1024 dims

uint64_t Signs(int round, size_t word) {
  return SignWord(static_cast<uint64_t>(round) * kWordsPerRound + word);
}

template <size_t kWidth>
void FlipSigns(float* values, size_t dim, int round) {
  for (size_t d = 0; d < dim; d++) {
    const uint64_t word = Signs(round, d / 64);
    const float sign = (word >> (d % 64) & 1) != 0 ? -1.f : 1.f;
    for (size_t v = 0; v < kWidth; v++) values[d * kWidth + v] *= sign;
  }
}

template <size_t kWidth>
void RotateMany(float* values, size_t dim) {
  const size_t size = std::bit_floor(dim);
  for (int round = 0; round < kRounds; round++) {
    FlipSigns<kWidth>(values, dim, round);
    Hadamard<kWidth>(values, size);
    if (size < dim) Hadamard<kWidth>(values + (dim - size) * kWidth, size);
  }
}

}  // namespace

RotationOf::RotationOf(size_t dim) {
  for (int round = 0; round < kRounds; round++) {
    for (size_t word = 0; word < kWordsPerRound; word++) signs_[round][word] = Signs(round, word);
  }
  const size_t size = std::bit_floor(dim);
  const float scale = 1.f / std::sqrt(static_cast<float>(size));
  rotation_ = {dim, size, scale, {signs_[0], signs_[1]}};
}

void Rotate(float* vector, size_t dim) { RotateMany<1>(vector, dim); }

void TokensToLanes(const float* tokens, size_t token_count, size_t dim, float* lanes) {
  for (size_t d = 0; d < dim; d++, lanes += kMaxsimLanes) {
    for (size_t v = 0; v < token_count; v++) lanes[v] = tokens[v * dim + d];
    for (size_t v = token_count; v < kMaxsimLanes; v++) lanes[v] = 0.f;
  }
}

void RotateLanes(float* vectors, size_t dim) { RotateMany<kMaxsimLanes>(vectors, dim); }

void RotateBack(float* vector, size_t dim) {
  const size_t size = std::bit_floor(dim);
  for (int round = kRounds - 1; round >= 0; round--) {
    if (size < dim) Hadamard<1>(vector + (dim - size), size);
    Hadamard<1>(vector, size);
    FlipSigns<1>(vector, dim, round);
  }
}

}  // namespace maxsim
