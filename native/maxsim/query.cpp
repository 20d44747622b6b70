// In: float query tokens. Out: the lanes-first buffers of kernel.h. The same bytes on every
// machine: only single multiplications, additions and divisions, each rounded (-ffp-contract=off).
#include "maxsim/query.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "maxsim/half.h"
#include "maxsim/rotation.h"
#include "maxsim/round.h"

namespace maxsim {
namespace {

constexpr std::align_val_t kAlignment{64};  // one cache line, one zmm

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

// More than any of the roundings that it must cover: of a square root, of a sum, of a conversion.
constexpr double kRoundUp = 1 + 1e-6;

float LengthOf(double squares) { return static_cast<float>(std::sqrt(squares) * kRoundUp); }

}  // namespace

void PreparedQuery::FreeAligned::operator()(void* p) const { ::operator delete(p, kAlignment); }

// Zeros: padding dims, and the lanes without a token.
template <typename T>
PreparedQuery::Aligned<T> PreparedQuery::Zeros(size_t count) {
  void* memory = ::operator new(count * sizeof(T), kAlignment);
  std::memset(memory, 0, count * sizeof(T));
  return Aligned<T>(static_cast<T*>(memory));
}

PreparedQuery::PreparedQuery(const float* tokens, size_t token_count, size_t dim, unsigned bits)
    : token_count_(token_count),
      dim_(dim),
      padded_dim_(PaddedDim(dim)),
      block_count_((token_count + kMaxsimLanes - 1) / kMaxsimLanes),
      bits_(bits),
      tokens_(tokens, tokens + token_count * dim),
      faces_(std::make_unique<Faces>()) {
  lengths_.reserve(token_count);
  for (size_t token = 0; token < token_count; token++) {
    double squares = 0;
    for (size_t d = 0; d < dim; d++) {
      const double value = tokens[token * dim + d];
      squares += value * value;
    }
    // Rounding to bfloat16 lengthens by less than 2^-8.
    lengths_.push_back(LengthOf(squares) * (1.f + 0x1p-8f));
  }
}

const PreparedQuery::Int8Face& PreparedQuery::MakeInt8() const {
  std::call_once(faces_->int8_once, [this] {
    Int8Face& face = faces_->int8;
    const size_t lane_count = block_count_ * kMaxsimLanes;
    face.tokens = Zeros<int8_t>(lane_count * padded_dim_);
    face.bias = Zeros<int32_t>(lane_count);
    face.scale = Zeros<float>(lane_count);
    face.lengths.assign(token_count_, 0.f);
    const float limit = bits_ == 7 ? 63.f : 127.f;
    const auto rotated = std::make_unique_for_overwrite<float[]>(dim_ * kMaxsimLanes);
    for (size_t block = 0; block < block_count_; block++) {
      const size_t first = block * kMaxsimLanes;
      const size_t count = std::min<size_t>(kMaxsimLanes, token_count_ - first);
      TokensToLanes(&tokens_[first * dim_], count, dim_, rotated.get());
      RotateLanes(rotated.get(), dim_);  // as the documents' tokens were, see codec.h
      for (size_t lane = 0; lane < count; lane++) {
        const size_t token = first + lane;
        float values[kMaxDim];
        for (size_t d = 0; d < dim_; d++) values[d] = rotated[d * kMaxsimLanes + lane];
        const float largest = LargestMagnitude(values, dim_);
        if (largest < kTiny) continue;
        int8_t quantised[kMaxDim] = {};
        const int32_t sum = Quantise(values, dim_, limit / largest, quantised);
        int8_t* to = face.tokens.get() + first * padded_dim_ + lane * 4;
        for (size_t d = 0; d < padded_dim_; d += 4, to += kMaxsimLanes * 4) {
          std::memcpy(to, quantised + d, 4);
        }
        int32_t squares = 0;  // < 2^14 * 2^10
        double exact = 0, product = 0;
        for (size_t d = 0; d < dim_; d++) {
          squares += quantised[d] * quantised[d];
          exact += static_cast<double>(values[d]) * values[d];
          product += static_cast<double>(values[d]) * quantised[d];
        }
        face.lengths[token] = LengthOf(squares);
        face.bias[token] = -128 * sum;  // documents are stored + 128
        // Not largest / limit: the scale with which the token's product with itself is right. What
        // rounding has changed along the token would otherwise be in its products with all tokens
        // like it, which are the ones that win.
        face.scale[token] = static_cast<float>(exact / product);
      }
    }
  });
  return faces_->int8;
}

void PreparedQuery::FillFloats(bool round, FloatFace* face) const {
  const size_t lane_count = block_count_ * kMaxsimLanes;
  face->tokens = Zeros<float>(lane_count * padded_dim_);
  face->weight = Zeros<float>(lane_count);
  if (round) face->bf16_tokens = Zeros<uint16_t>(lane_count * padded_dim_);
  for (size_t block = 0; block < block_count_; block++) {
    const size_t first = block * kMaxsimLanes;
    const size_t count = std::min<size_t>(kMaxsimLanes, token_count_ - first);
    float* lanes = face->tokens.get() + first * padded_dim_;
    TokensToLanes(&tokens_[first * dim_], count, dim_, lanes);
    std::fill_n(face->weight.get() + first, count, 1.f);
    if (!round) continue;
    uint16_t* pairs = face->bf16_tokens.get() + first * padded_dim_;
    for (size_t d = 0; d < dim_; d++) {
      for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
        float& value = lanes[d * kMaxsimLanes + lane];
        const uint16_t rounded = ToBfloat16(value);
        value = FromBfloat16(rounded);
        pairs[(d / 2 * kMaxsimLanes + lane) * 2 + d % 2] = rounded;
      }
    }
  }
}

MaxsimQueryInt8 PreparedQuery::Int8(float document_scale) const {
  const Int8Face& face = MakeInt8();
  return {.tokens = face.tokens.get(),
          .bias = face.bias.get(),
          .factor = face.scale.get(),
          .document_scale = document_scale,
          .block_count = static_cast<uint32_t>(block_count_),
          .padded_dim = static_cast<uint32_t>(padded_dim_),
          .bits = bits_};
}

MaxsimQueryF32 PreparedQuery::F32() const {
  std::call_once(faces_->f32_once, [this] { FillFloats(false, &faces_->f32); });
  return {.tokens = faces_->f32.tokens.get(),
          .factor = faces_->f32.weight.get(),
          .document_scale = 1.f,
          .block_count = static_cast<uint32_t>(block_count_),
          .padded_dim = static_cast<uint32_t>(padded_dim_),
          .bf16_tokens = nullptr};
}

MaxsimQueryF32 PreparedQuery::Bfloat16() const {
  std::call_once(faces_->bf16_once, [this] { FillFloats(true, &faces_->bf16); });
  return {.tokens = faces_->bf16.tokens.get(),
          .factor = faces_->bf16.weight.get(),
          .document_scale = 1.f,
          .block_count = static_cast<uint32_t>(block_count_),
          .padded_dim = static_cast<uint32_t>(padded_dim_),
          .bf16_tokens = faces_->bf16.bf16_tokens.get()};
}

std::span<const float> PreparedQuery::lengths() const { return lengths_; }
std::span<const float> PreparedQuery::int8_lengths() const { return MakeInt8().lengths; }

}  // namespace maxsim
