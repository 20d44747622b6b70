// Stores of every codec, made of noise: what the tests of encoded documents share.
#ifndef MAXSIM_TEST_FORMATS_H_
#define MAXSIM_TEST_FORMATS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fixtures.h"
#include "maxsim/codebook.h"
#include "maxsim/codec.h"
#include "maxsim/query.h"

namespace maxsim {

inline constexpr Codec kAllCodecs[] = {Codec::kF32,       Codec::kF16, Codec::kBf16, Codec::kInt8,
                                       Codec::kInt8Token, Codec::kR4,  Codec::kR2,   Codec::kR1};

// A codebook that no tokens were asked for: centroids are random directions of unit length.
std::shared_ptr<const Codebook> RandomCodebook(uint32_t bits, size_t dim, uint32_t centroids,
                                               uint64_t seed);
// For tokens up to 3 long.
TokenFormat FormatOf(Codec codec, size_t dim, uint32_t centroids = 64, uint64_t seed = 1);

// Row-major [count][dim], each of length 1.
std::vector<float> UnitTokens(size_t count, size_t dim, Noise& noise);

// Documents of one codec, back to back.
struct EncodedStore {
  TokenFormat format;
  size_t dim = 0;
  EncodedTokens encoded;
  std::vector<std::vector<float>> decoded;  // of each document, row-major
  std::vector<MaxsimDocument> documents;

  // `tokens` holds all documents' tokens, row-major.
  EncodedStore(const TokenFormat& format, size_t dim, const std::vector<float>& tokens,
               const std::vector<uint32_t>& lengths);

 private:
  std::vector<std::vector<uint8_t>> blocks_;
};

// scores[i] of documents[i] by these kernels.
void ScoreWith(const MaxsimKernels& kernels, const PreparedQuery& query, const TokenFormat& format,
               std::span<const MaxsimDocument> documents, MaxsimExit* exit, float* scores);

}  // namespace maxsim

#endif  // MAXSIM_TEST_FORMATS_H_
