// Token vectors to stored bytes and back.
#ifndef MAXSIM_MAXSIM_CODEC_H_
#define MAXSIM_MAXSIM_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "maxsim/codebook.h"

namespace maxsim {

// The numbers are those of the segment header.
enum class Codec : uint32_t {
  kF32 = 1,
  kInt8 = 2,  // one scale for all tokens
  kF16 = 3,
  kBf16 = 4,
  kInt8Token = 5,  // a scale per token
  kR4 = 6,         // residuals of 4, 2 or 1 bits per dim, see codebook.h
  kR2 = 7,
  kR1 = 8,
};

// How the documents of a store are encoded.
struct TokenFormat {
  Codec codec;
  float scale;  // int8: float value = (byte - 128) * scale; else 1
  std::shared_ptr<const Codebook> codebook = nullptr;  // of residual codecs, else null
};

// "f32", "int8-token", ...; null for a number that is no codec.
const char* CodecName(Codec codec);
// False for an unknown name.
bool CodecOf(std::string_view name, Codec* codec);

// 4, 2 or 1 for residual codecs, else 0.
inline constexpr uint32_t ResidualBits(Codec codec) {
  return codec == Codec::kR4 ? 4 : (codec == Codec::kR2 ? 2 : (codec == Codec::kR1 ? 1 : 0));
}
// Whether tokens are rotated (rotation.h) before they are quantised.
inline constexpr bool IsRotated(Codec codec) {
  return codec == Codec::kInt8 || codec == Codec::kInt8Token || ResidualBits(codec) != 0;
}

// Bytes that one token adds to its document, in all parts of it (layouts in kernel.h).
size_t TokenBytes(const TokenFormat& format, size_t dim);

// What was learned of tokens while they were encoded; accumulates over calls.
struct EncodedTokens {
  uint64_t clamped = 0;      // components beyond the int8 range
  float longest = 0;         // at least the length of every decoded token
  float largest_factor = 0;  // of residual codecs: at least every token's factor * scale
  uint64_t doubtful = 0;     // int8: tokens of which FloatDocuments::Validate has to be asked

  void Add(const EncodedTokens& other) {
    clamped += other.clamped;
    doubtful += other.doubtful;
    longest = other.longest > longest ? other.longest : longest;
    largest_factor = other.largest_factor > largest_factor ? other.largest_factor : largest_factor;
  }
};

// Unit-length vectors may lose the tip of a rare large component to int8; anything else is no
// embedding that the scale was chosen for. 0.001 leaves room for norms computed in f16.
inline constexpr float kUnitNorm = 1.001f;
// Up to this many times the range a tip is clamped; more would be another vector. The range is
// about 4 deviations of a rotated unit vector's components (scale.ts), so that is 10.
inline constexpr float kTip = 2.5f;

// Encodes row-major [token_count][dim] floats as one document of token_count * TokenBytes bytes.
// Rounds half to even. int8 clamps to [-127, 127]. The caller has checked that the codec can hold
// them (FloatDocuments::Validate); int8 takes any floats, and counts those that need a closer look.
void EncodeTokens(const TokenFormat& format, const float* tokens, size_t token_count, size_t dim,
                  uint8_t* block, EncodedTokens* encoded);

// The inverse: token_count * dim floats (padding dropped).
void DecodeTokens(const TokenFormat& format, const uint8_t* block, size_t token_count, size_t dim,
                  float* tokens);

// The largest magnitude that int8 would have to hold of these tokens, NaN if one is not finite:
// what a scale is chosen from.
float LargestStoredMagnitude(const float* tokens, size_t token_count, size_t dim);

// Components of tokens as int8 would hold them, counted by magnitude.
class Int8Range {
 public:
  // `largest` is the largest magnitude of all that will be added.
  explicit Int8Range(float largest);
  void Add(const float* tokens, size_t token_count, size_t dim);
  // The range for which clamping and rounding together change the tokens least, in squares: at most
  // `largest`, and 0 when nothing was added.
  float Best() const;

 private:
  static constexpr size_t kBins = 4096;
  float largest_;
  uint64_t counts_[kBins] = {};
};

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_CODEC_H_
