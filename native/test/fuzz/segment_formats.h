// What the fuzzer of segments and the maker of its corpus agree on: a format for every header.
#ifndef MAXSIM_TEST_FUZZ_SEGMENT_FORMATS_H_
#define MAXSIM_TEST_FUZZ_SEGMENT_FORMATS_H_

#include <map>
#include <memory>
#include <utility>

#include "../formats.h"
#include "index/segment_format.h"

namespace maxsim {

inline constexpr uint32_t kFuzzCentroids = 64;

// Of codec and dim; residual codecs share a codebook per bits and dim, made of noise, and every
// checksum that a header claims for it is taken as right.
inline VectorFormat FuzzFormat(Codec codec, uint32_t dim, float scale, uint32_t codebook_crc32c) {
  static std::map<std::pair<uint32_t, uint32_t>, std::shared_ptr<const Codebook>> codebooks;
  VectorFormat format{{codec, scale, nullptr}, dim, codebook_crc32c};
  if (const uint32_t bits = ResidualBits(codec)) {
    auto& codebook = codebooks[{bits, dim}];
    if (codebook == nullptr) codebook = RandomCodebook(bits, dim, kFuzzCentroids, 1);
    format.tokens.codebook = codebook;
  }
  return format;
}

}  // namespace maxsim

#endif  // MAXSIM_TEST_FUZZ_SEGMENT_FORMATS_H_
