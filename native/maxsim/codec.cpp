#include "maxsim/codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "maxsim/dispatch.h"
#include "maxsim/half.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"
#include "maxsim/round.h"

namespace maxsim {
namespace {

constexpr float kInt8Limit = 127.f;
constexpr uint8_t kInt8Zero = 128;  // stored bytes are value + 128, see kernel.h
// Covers what a length computed in double and rounded to float may lack.
constexpr double kRoundUp = 1 + 1e-6;

constexpr struct {
  Codec codec;
  const char* name;
} kNames[] = {{Codec::kF32, "f32"},
              {Codec::kInt8, "int8"},
              {Codec::kF16, "f16"},
              {Codec::kBf16, "bf16"},
              {Codec::kInt8Token, "int8-token"},
              {Codec::kR4, "r4"},
              {Codec::kR2, "r2"},
              {Codec::kR1, "r1"}};

// One stored byte.
uint8_t Int8Byte(float value) {
  const float kept = value > kInt8Limit ? kInt8Limit : (value > -kInt8Limit ? value : -kInt8Limit);
  return static_cast<uint8_t>(static_cast<int>(RoundHalfToEven(kept)) + kInt8Zero);
}

float LargestOfLane(const float* lanes, size_t dim, size_t lane) {
  float largest = 0;
  for (size_t d = 0; d < dim; d++) {
    largest = std::max(largest, std::fabs(lanes[d * kMaxsimLanes + lane]));
  }
  return largest;
}

// The sums of a token's values times what was stored for them, and times themselves.
struct Products {
  double stored = 0, exact = 0;

  Products(const float* values, size_t dim, const uint8_t* row) {
    for (size_t d = 0; d < dim; d++) {
      stored += static_cast<double>(values[d]) * (row[d] - kInt8Zero);
      exact += static_cast<double>(values[d]) * values[d];
    }
  }
};

// Rounds a token in steps of `unit`, and returns the unit with which its product with itself is
// right: what rounding has changed along the token would be in its products with all query tokens
// like it.
float QuantiseToken(const float* values, size_t dim, float unit, uint8_t* row) {
  for (size_t d = 0; d < dim; d++) row[d] = Int8Byte(values[d] / unit);
  const Products products(values, dim, row);
  return products.stored > 0 ? static_cast<float>(products.exact / products.stored) : unit;
}

// `scale` of 0: one for each token, stored behind the rows.
void EncodeInt8(float scale, const float* tokens, size_t token_count, size_t dim, uint8_t* block,
                EncodedTokens* encoded) {
  const size_t row_bytes = PaddedDim(dim);
  const MaxsimEncodeInt8 encode = Kernels().chosen->encode_int8;
  const RotationOf rotation(dim);
  // A component is clamped when it rounds beyond 127 steps.
  const float limit = 127.5f * scale;
  float longest = 0;  // in squares of the scale
  for (size_t first = 0; first < token_count; first += kMaxsimLanes) {
    const size_t count = std::min<size_t>(kMaxsimLanes, token_count - first);
    MaxsimEncodedInt8 lanes;
    encode(tokens + first * dim, count, rotation.get(), scale, row_bytes, block + first * row_bytes,
           &lanes);
    for (size_t t = 0; t < count; t++) {
      encoded->clamped += static_cast<uint64_t>(lanes.clamped[t]);
      longest = std::max(longest, lanes.stored_squares[t]);
      const bool held = lanes.largest[t] < limit || (lanes.squares[t] <= kUnitNorm * kUnitNorm &&
                                                     lanes.largest[t] < kTip * limit);
      if (!held || !(lanes.squares[t] <= kMaxMagnitude * kMaxMagnitude)) encoded->doubtful++;
    }
  }
  encoded->longest =
      std::max(encoded->longest,
               static_cast<float>(std::sqrt(static_cast<double>(longest)) * scale * kRoundUp));
}

void EncodeInt8Token(const float* tokens, size_t token_count, size_t dim, uint8_t* block,
                     EncodedTokens* encoded) {
  const size_t row_bytes = PaddedDim(dim);
  uint8_t* scales = block + token_count * row_bytes;
  double longest = 0;  // squared
  float lanes[kMaxDim * kMaxsimLanes];
  for (size_t first = 0; first < token_count; first += kMaxsimLanes) {
    const size_t count = std::min<size_t>(kMaxsimLanes, token_count - first);
    TokensToLanes(tokens + first * dim, count, dim, lanes);
    RotateLanes(lanes, dim);
    for (size_t t = 0; t < count; t++) {
      uint8_t* row = block + (first + t) * row_bytes;
      float values[kMaxDim];
      for (size_t d = 0; d < dim; d++) values[d] = lanes[d * kMaxsimLanes + t];
      // Never 0: a token of zeros is stored as zeros in any unit.
      const float unit = std::max(LargestOfLane(lanes, dim, t) / kInt8Limit, 0x1p-126f);
      const float kept = QuantiseToken(values, dim, unit, row);
      int32_t squares = 0;
      for (size_t d = 0; d < dim; d++) squares += (row[d] - kInt8Zero) * (row[d] - kInt8Zero);
      std::memset(row + dim, kInt8Zero, row_bytes - dim);
      longest = std::max(longest, static_cast<double>(squares) * kept * kept);
      std::memcpy(scales + (first + t) * sizeof(kept), &kept, sizeof(kept));
    }
  }
  encoded->longest = std::max(encoded->longest, static_cast<float>(std::sqrt(longest) * kRoundUp));
}

void DecodeInt8(float scale, const uint8_t* block, size_t token_count, size_t dim, float* tokens) {
  const size_t row_bytes = PaddedDim(dim);
  const uint8_t* scales = block + token_count * row_bytes;
  for (size_t token = 0; token < token_count; token++, tokens += dim) {
    float unit = scale;
    if (scale == 0) std::memcpy(&unit, scales + token * sizeof(unit), sizeof(unit));
    const uint8_t* row = block + token * row_bytes;
    for (size_t d = 0; d < dim; d++) {
      tokens[d] = static_cast<float>(static_cast<int>(row[d]) - kInt8Zero) * unit;
    }
    RotateBack(tokens, dim);
  }
}

template <uint16_t (*kTo)(float)>
void EncodeHalves(const float* tokens, size_t token_count, size_t dim, uint8_t* block) {
  const size_t row = PaddedDim(dim);
  for (size_t token = 0; token < token_count; token++, tokens += dim, block += row * 2) {
    for (size_t d = 0; d < row; d++) {
      const uint16_t half = d < dim ? kTo(tokens[d]) : 0;
      std::memcpy(block + d * 2, &half, sizeof(half));
    }
  }
}

template <float (*kFrom)(uint16_t)>
void DecodeHalves(const uint8_t* block, size_t token_count, size_t dim, float* tokens) {
  const size_t row = PaddedDim(dim);
  for (size_t token = 0; token < token_count; token++, tokens += dim, block += row * 2) {
    for (size_t d = 0; d < dim; d++) {
      uint16_t half;
      std::memcpy(&half, block + d * 2, sizeof(half));
      tokens[d] = kFrom(half);
    }
  }
}

// Rounding to bfloat16 lengthens by at most 2^-9, to half precision by less.
void NoteLengths(const float* tokens, size_t token_count, size_t dim, EncodedTokens* encoded) {
  double longest = 0;
  for (size_t token = 0; token < token_count; token++, tokens += dim) {
    double squares = 0;
    for (size_t d = 0; d < dim; d++) squares += static_cast<double>(tokens[d]) * tokens[d];
    longest = std::max(longest, squares);
  }
  encoded->longest =
      std::max(encoded->longest, static_cast<float>(std::sqrt(longest) * kRoundUp * (1 + 0x1p-8)));
}

void NoteResiduals(const Codebook& codebook, const uint8_t* block, size_t token_count,
                   EncodedTokens* encoded) {
  const CodebookContents& contents = codebook.contents();
  Codebook::Token stored;
  for (size_t token = 0; token < token_count; token++) {
    codebook.Read(block, token_count, token, &stored);
    int64_t squares = 0;
    for (size_t d = 0; d < contents.dim; d++) {
      squares += static_cast<int64_t>(stored.values[d]) * stored.values[d];
    }
    const double unit = static_cast<double>(stored.factor) * contents.scale * kRoundUp;
    encoded->longest = std::max(encoded->longest,
                                static_cast<float>(std::sqrt(static_cast<double>(squares)) * unit));
    encoded->largest_factor = std::max(encoded->largest_factor, static_cast<float>(unit));
  }
}

}  // namespace

const char* CodecName(Codec codec) {
  for (const auto& entry : kNames) {
    if (entry.codec == codec) return entry.name;
  }
  return nullptr;
}

bool CodecOf(std::string_view name, Codec* codec) {
  for (const auto& entry : kNames) {
    if (name != entry.name) continue;
    *codec = entry.codec;
    return true;
  }
  return false;
}

size_t TokenBytes(const TokenFormat& format, size_t dim) {
  switch (format.codec) {
    case Codec::kF32:
      return PaddedDim(dim) * sizeof(float);
    case Codec::kF16:
    case Codec::kBf16:
      return PaddedDim(dim) * sizeof(uint16_t);
    case Codec::kInt8:
      return PaddedDim(dim);
    case Codec::kInt8Token:
      return PaddedDim(dim) + sizeof(float);
    default:
      return format.codebook->TokenBytes();
  }
}

void EncodeTokens(const TokenFormat& format, const float* tokens, size_t token_count, size_t dim,
                  uint8_t* block, EncodedTokens* encoded) {
  switch (format.codec) {
    case Codec::kInt8:
      return EncodeInt8(format.scale, tokens, token_count, dim, block, encoded);
    case Codec::kInt8Token:
      return EncodeInt8Token(tokens, token_count, dim, block, encoded);
    case Codec::kF32: {
      const size_t row_bytes = PaddedDim(dim) * sizeof(float);
      for (size_t token = 0; token < token_count; token++, block += row_bytes) {
        std::memcpy(block, tokens + token * dim, dim * sizeof(float));
        std::memset(block + dim * sizeof(float), 0, row_bytes - dim * sizeof(float));
      }
      return NoteLengths(tokens, token_count, dim, encoded);
    }
    case Codec::kF16:
      EncodeHalves<ToHalf>(tokens, token_count, dim, block);
      return NoteLengths(tokens, token_count, dim, encoded);
    case Codec::kBf16:
      EncodeHalves<ToBfloat16>(tokens, token_count, dim, block);
      return NoteLengths(tokens, token_count, dim, encoded);
    default:
      format.codebook->Encode(tokens, token_count, block);
      return NoteResiduals(*format.codebook, block, token_count, encoded);
  }
}

void DecodeTokens(const TokenFormat& format, const uint8_t* block, size_t token_count, size_t dim,
                  float* tokens) {
  switch (format.codec) {
    case Codec::kInt8:
      return DecodeInt8(format.scale, block, token_count, dim, tokens);
    case Codec::kInt8Token:
      return DecodeInt8(0, block, token_count, dim, tokens);
    case Codec::kF32: {
      const size_t row_bytes = PaddedDim(dim) * sizeof(float);
      for (size_t token = 0; token < token_count; token++, tokens += dim, block += row_bytes) {
        std::memcpy(tokens, block, dim * sizeof(float));
      }
      return;
    }
    case Codec::kF16:
      return DecodeHalves<FromHalf>(block, token_count, dim, tokens);
    case Codec::kBf16:
      return DecodeHalves<FromBfloat16>(block, token_count, dim, tokens);
    default:
      return format.codebook->Decode(block, token_count, tokens);
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

Int8Range::Int8Range(float largest) : largest_(largest) {}

void Int8Range::Add(const float* tokens, size_t token_count, size_t dim) {
  if (!(largest_ > 0)) return;
  const float bins = static_cast<float>(kBins) / largest_;
  float lanes[kMaxDim * kMaxsimLanes];
  for (size_t first = 0; first < token_count; first += kMaxsimLanes) {
    const size_t count = std::min<size_t>(kMaxsimLanes, token_count - first);
    TokensToLanes(tokens + first * dim, count, dim, lanes);
    RotateLanes(lanes, dim);
    for (size_t d = 0; d < dim; d++) {
      for (size_t t = 0; t < count; t++) {
        const float bin = std::fabs(lanes[d * kMaxsimLanes + t]) * bins;
        counts_[std::min(static_cast<size_t>(bin), kBins - 1)]++;
      }
    }
  }
}

float Int8Range::Best() const {
  // From a sixteenth of the largest up, in steps of a 64th.
  constexpr size_t kSteps = 64, kFirst = 4;
  double least = INFINITY;
  float best = 0;
  for (size_t step = kFirst; step <= kSteps; step++) {
    const double range = static_cast<double>(largest_) * static_cast<double>(step) / kSteps;
    const double rounding = (range / 127) * (range / 127) / 12;
    double change = 0;
    for (size_t bin = 0; bin < kBins; bin++) {
      const double value = largest_ * (static_cast<double>(bin) + 0.5) / kBins;
      const double beyond = value > range ? value - range : 0;
      change += static_cast<double>(counts_[bin]) * (beyond > 0 ? beyond * beyond : rounding);
    }
    if (change < least && change > 0) {
      least = change;
      best = static_cast<float>(range);
    }
  }
  return best;
}

}  // namespace maxsim
