#include "maxsim/codec.h"

#include <cmath>
#include <cstring>

#include "maxsim/query.h"
#include "maxsim/round.h"

namespace maxsim {
namespace {

constexpr float kInt8Limit = 127.f;
constexpr uint8_t kInt8Zero = 128;  // stored bytes are value + 128, see kernel.h

}  // namespace

size_t TokenBytes(Codec codec, size_t dim) {
  return codec == Codec::kInt8 ? PaddedDim(dim) : PaddedDim(dim) * sizeof(float);
}

size_t EncodeTokens(TokenFormat format, const float* tokens, size_t token_count, size_t dim,
                    uint8_t* bytes) {
  const size_t row_bytes = TokenBytes(format.codec, dim);
  size_t clamped = 0;
  for (size_t token = 0; token < token_count; token++, tokens += dim, bytes += row_bytes) {
    if (format.codec == Codec::kF32) {
      std::memcpy(bytes, tokens, dim * sizeof(float));
      std::memset(bytes + dim * sizeof(float), 0, row_bytes - dim * sizeof(float));
      continue;
    }
    for (size_t d = 0; d < dim; d++) {
      const float value = tokens[d] / format.scale;
      // First to +-128, within the range of RoundHalfToEven and still outside the limit.
      const float near = value > 128.f ? 128.f : (value > -128.f ? value : -128.f);
      const float rounded = RoundHalfToEven(near);
      clamped += std::fabs(rounded) > kInt8Limit ? 1 : 0;
      const float kept =
          rounded > kInt8Limit ? kInt8Limit : (rounded < -kInt8Limit ? -kInt8Limit : rounded);
      bytes[d] = static_cast<uint8_t>(static_cast<int>(kept) + kInt8Zero);
    }
    std::memset(bytes + dim, kInt8Zero, row_bytes - dim);
  }
  return clamped;
}

void DecodeTokens(TokenFormat format, const uint8_t* bytes, size_t token_count, size_t dim,
                  float* tokens) {
  const size_t row_bytes = TokenBytes(format.codec, dim);
  for (size_t token = 0; token < token_count; token++, tokens += dim, bytes += row_bytes) {
    if (format.codec == Codec::kF32) {
      std::memcpy(tokens, bytes, dim * sizeof(float));
    } else {
      for (size_t d = 0; d < dim; d++) {
        tokens[d] = static_cast<float>(static_cast<int>(bytes[d]) - kInt8Zero) * format.scale;
      }
    }
  }
}

}  // namespace maxsim
