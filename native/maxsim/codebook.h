// The centroids and weights that the residual codecs r4, r2 and r1 share across all documents of an
// index: how a token becomes a centroid id and a few bits per dim, and back.
//
// A token x of length L, rotated (rotation.h) and divided by L, is stored as the nearest centroid's
// id, the nearest weight of every dim's difference to it, and a factor, in half precision, that
// gives what was stored the length L:
//   x ~ factor * scale * (centroid * 2^centroid_shift + weight[code])
// Centroids and weights are signed bytes, so a score is an exact integer until it meets the factor,
// the same on every machine. Residuals with bucketed dims are those of Santhanam et al.,
// "ColBERTv2" (2022); here one set of weights serves all dims, since the rotation makes them alike,
// differences are to the centroid as it is stored, and weights are Lloyd's (1957, 1982) rather than
// quantiles. (A factor that makes products along the token right, as RaBitQ has it, was worse at 1
// and 2 bits: what is stored badly then grows, and wins maxima.)
#ifndef MAXSIM_MAXSIM_CODEBOOK_H_
#define MAXSIM_MAXSIM_CODEBOOK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "maxsim/centroid_groups.h"
#include "maxsim/kernel.h"

namespace maxsim {

inline constexpr size_t kMaxCentroids = size_t{1} << 24;
inline constexpr uint32_t kMaxCentroidShift = 5;
// Half-precision factors keep their precision for tokens of these lengths, and of length 0.
inline constexpr float kShortestResidualToken = 1e-3f, kLongestResidualToken = 1e3f;

// What is stored of a codebook.
struct CodebookContents {
  uint32_t bits = 4;  // 4, 2 or 1
  uint32_t dim = 0;
  uint32_t centroid_count = 0;
  uint32_t centroid_shift = 0;  // at most kMaxCentroidShift
  float scale = 0;              // what one unit of a weight is worth
  int8_t weights[16] = {};      // 2^bits of them, ascending
  std::vector<uint8_t> rows;    // [centroid_count][PaddedDim(dim)], value + 128, padding 128
  uint64_t trained_tokens = 0;  // how many tokens they were made from
  uint64_t seed = 0;
};

class Codebook {
 public:
  explicit Codebook(CodebookContents contents);

  const CodebookContents& contents() const { return contents_; }
  size_t code_bytes() const { return code_bytes_; }
  size_t id_bytes() const { return id_bytes_; }
  size_t TokenBytes() const { return code_bytes_ + sizeof(uint16_t) + id_bytes_; }
  // The largest sum of squares of a centroid's values.
  int32_t largest_squares() const { return largest_squares_; }
  // Of each centroid reference_length() / its length, times 2^15 and at most 2^15 - 1: what makes
  // products with centroids of different lengths comparable. The reference is the length of the
  // shortest centroid, but at least a quarter of the longest one's, in steps of a centroid.
  const int16_t* length_factors() const { return length_factors_.data(); }
  double reference_length() const { return reference_length_; }

  // Row-major [token_count][dim] floats of usable length to one document of the residual layout.
  void Encode(const float* tokens, size_t token_count, uint8_t* block) const;
  void Decode(const uint8_t* block, size_t token_count, float* tokens) const;

  // The centroid of each of block_count * 16 tokens, given rotated and of length 1 as [dim][16]: of
  // fewer than CentroidGroups::kFewestCentroids centroids the nearest, of more the nearest in the
  // groups near the token, which nearly always is the same. Faster for thousands at once then.
  void Nearest(const float* lanes, size_t block_count, uint32_t* centroids) const;

  // The same of tokens as they are given, row-major [count][dim], and the cosine of each with its
  // centroid; 1 for a token of length 0.
  void Assign(const float* tokens, size_t count, uint32_t* centroids, float* cosines) const;
  // The cosines of tokens with centroids that are known.
  void Cosines(const float* tokens, size_t count, const uint32_t* centroids, float* cosines) const;

  // The stored values of one token in units of contents().scale * factor: dim integers.
  struct Token {
    uint32_t centroid;
    float factor;
    int16_t values[1024];  // |centroid| * 2^5 + |weight| < 2^13
  };
  void Read(const uint8_t* block, size_t token_count, size_t token, Token* out) const;

  // The codec side of a kernel call, less the table.
  MaxsimResidual ForKernels() const;

 private:
  // Up to 32 tokens of length 1, rotated, as [block][dim][16]; and the lengths that they had.
  void UnitLanes(const float* tokens, size_t count, float* lanes, double* lengths) const;
  float CosineOf(const float* lane, uint32_t centroid) const;
  // The cosines of tokens with what choose(first, count, lanes) says for some of them after others.
  template <typename Choose>
  void Compare(const float* tokens, size_t count, Choose choose, float* cosines) const;
  const CentroidGroups& Groups() const;

  CodebookContents contents_;
  size_t code_bytes_, id_bytes_;
  int32_t largest_squares_ = 0;
  double reference_length_ = 1;
  std::vector<int16_t> length_factors_;
  std::vector<int32_t> terms_;          // of each centroid, for kernels.nearest
  std::vector<float> thresholds_;       // between neighbouring weights
  mutable std::once_flag groups_once_;  // made when they are first needed
  mutable std::unique_ptr<const CentroidGroups> groups_;
};

// The step of the 7-bit values that tokens are compared with centroids in: 5 standard deviations of
// a rotated unit vector's dims, which are spread like normal variables of deviation 1 / sqrt(dim).
float NearestStep(size_t dim);
// Rotated unit tokens [dim][16] to the int8 layout [padded_dim / 4][16][4], in steps of
// NearestStep.
void QuantiseForNearest(const float* lanes, size_t dim, int8_t* tokens);
// terms[c] that make kernels.nearest minimise the distance between such tokens and a centroid of
// these bytes (value + 128), whose unit is worth `centroid_scale`.
int32_t NearestTerm(const uint8_t* row, size_t dim, float centroid_scale);

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_CODEBOOK_H_
