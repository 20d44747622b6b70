#include "maxsim/codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "maxsim/query.h"
#include "maxsim/rotation.h"
#include "maxsim/round.h"

namespace maxsim {
namespace {

constexpr float kInt8Limit = 127.f;
constexpr uint8_t kInt8Zero = 128;  // stored bytes are value + 128, see kernel.h

// One stored byte; *clamped counts the values that do not fit.
uint8_t Int8Byte(float value, size_t* clamped) {
  // First to +-128, within the range of RoundHalfToEven and still outside the limit.
  const float near = value > 128.f ? 128.f : (value > -128.f ? value : -128.f);
  const float rounded = RoundHalfToEven(near);
  *clamped += std::fabs(rounded) > kInt8Limit ? 1 : 0;
  const float kept =
      rounded > kInt8Limit ? kInt8Limit : (rounded < -kInt8Limit ? -kInt8Limit : rounded);
  return static_cast<uint8_t>(static_cast<int>(kept) + kInt8Zero);
}

size_t EncodeInt8(float scale, const float* tokens, size_t token_count, size_t dim,
                  uint8_t* bytes) {
  const size_t row_bytes = PaddedDim(dim);
  size_t clamped = 0;
  float lanes[kMaxDim * kMaxsimLanes];
  for (size_t first = 0; first < token_count; first += kMaxsimLanes) {
    const size_t count = std::min<size_t>(kMaxsimLanes, token_count - first);
    TokensToLanes(tokens + first * dim, count, dim, lanes);
    RotateLanes(lanes, dim);
    for (size_t t = 0; t < count; t++) {
      uint8_t* row = bytes + (first + t) * row_bytes;
      for (size_t d = 0; d < dim; d++) {
        row[d] = Int8Byte(lanes[d * kMaxsimLanes + t] / scale, &clamped);
      }
      std::memset(row + dim, kInt8Zero, row_bytes - dim);
    }
  }
  return clamped;
}

}  // namespace

size_t TokenBytes(Codec codec, size_t dim) {
  return codec == Codec::kInt8 ? PaddedDim(dim) : PaddedDim(dim) * sizeof(float);
}

size_t EncodeTokens(TokenFormat format, const float* tokens, size_t token_count, size_t dim,
                    uint8_t* bytes) {
  if (format.codec == Codec::kInt8) {
    return EncodeInt8(format.scale, tokens, token_count, dim, bytes);
  }
  const size_t row_bytes = TokenBytes(format.codec, dim);
  for (size_t token = 0; token < token_count; token++, tokens += dim, bytes += row_bytes) {
    std::memcpy(bytes, tokens, dim * sizeof(float));
    std::memset(bytes + dim * sizeof(float), 0, row_bytes - dim * sizeof(float));
  }
  return 0;
}

void DecodeTokens(TokenFormat format, const uint8_t* bytes, size_t token_count, size_t dim,
                  float* tokens) {
  const size_t row_bytes = TokenBytes(format.codec, dim);
  for (size_t token = 0; token < token_count; token++, tokens += dim, bytes += row_bytes) {
    if (format.codec == Codec::kF32) {
      std::memcpy(tokens, bytes, dim * sizeof(float));
      continue;
    }
    for (size_t d = 0; d < dim; d++) {
      tokens[d] = static_cast<float>(static_cast<int>(bytes[d]) - kInt8Zero) * format.scale;
    }
    RotateBack(tokens, dim);
  }
}

float LargestStoredMagnitude(const float* tokens, size_t token_count, size_t dim) {
  float largest = 0, not_finite = 0;
  float lanes[kMaxDim * kMaxsimLanes];
  for (size_t first = 0; first < token_count; first += kMaxsimLanes) {
    const size_t count = std::min<size_t>(kMaxsimLanes, token_count - first);
    TokensToLanes(tokens + first * dim, count, dim, lanes);
    RotateLanes(lanes, dim);
    for (size_t i = 0; i < dim * kMaxsimLanes; i++) {
      largest = std::fabs(lanes[i]) > largest ? std::fabs(lanes[i]) : largest;
      not_finite += lanes[i] - lanes[i];  // 0 for every finite value, else NaN
    }
  }
  return largest + not_finite;
}

}  // namespace maxsim
