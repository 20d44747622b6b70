#include "maxsim/codebook.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "maxsim/dispatch.h"
#include "maxsim/half.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"
#include "maxsim/round.h"

namespace maxsim {
namespace {

constexpr int kZeroByte = 128;  // stored bytes are value + 128
// Tokens per call of Nearest: groups of centroids are met by more of them at once.
constexpr size_t kBatch = 64 * kMaxsimLanes;

struct alignas(64) Line {
  int8_t values[64];
};

// Of blocks that hold so many tokens.
size_t LanesOf(size_t tokens) { return (tokens + kMaxsimLanes - 1) / kMaxsimLanes * kMaxsimLanes; }

size_t IdBytes(size_t centroid_count) {
  return centroid_count <= (size_t{1} << 16) ? 2 : (centroid_count <= (size_t{1} << 24) ? 3 : 4);
}

double LengthOf(const float* token, size_t dim) {
  double squares = 0;
  for (size_t d = 0; d < dim; d++) squares += static_cast<double>(token[d]) * token[d];
  return std::sqrt(squares);
}

}  // namespace

float NearestStep(size_t dim) {
  return static_cast<float>(5 / std::sqrt(static_cast<double>(dim)) / 63);
}

void QuantiseForNearest(const float* lanes, size_t dim, int8_t* tokens) {
  const float inverse = 1.f / NearestStep(dim);
  std::memset(tokens, 0, PaddedDim(dim) * kMaxsimLanes);
  for (size_t d = 0; d < dim; d++) {
    int8_t* to = tokens + (d / 4 * kMaxsimLanes) * 4 + d % 4;
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
      const float value = lanes[d * kMaxsimLanes + lane] * inverse;
      const float near = value > 63.f ? 63.f : (value > -63.f ? value : -63.f);
      to[lane * 4] = static_cast<int8_t>(RoundHalfToEven(near));
    }
  }
}

// |x - c|^2 is least where x * c - |c|^2 / 2 is largest; both in units of step * centroid_scale.
int32_t NearestTerm(const uint8_t* row, size_t dim, float centroid_scale) {
  int32_t squares = 0;
  for (size_t d = 0; d < dim; d++) squares += (row[d] - kZeroByte) * (row[d] - kZeroByte);
  const double term = static_cast<double>(squares) * centroid_scale / NearestStep(dim) / 2;
  // Beyond that a centroid is never the nearest; within it no accumulator can overflow.
  return -static_cast<int32_t>(std::min(std::floor(term + 0.5), 1e9));
}

Codebook::Codebook(CodebookContents contents) : contents_(std::move(contents)) {
  const size_t dim = contents_.dim, padded_dim = PaddedDim(dim);
  code_bytes_ = (dim + 7) / 8 * contents_.bits;
  id_bytes_ = IdBytes(contents_.centroid_count);
  const float centroid_scale =
      std::ldexp(contents_.scale, static_cast<int>(contents_.centroid_shift));
  terms_.reserve(contents_.centroid_count);
  std::vector<int32_t> squares_of;
  int32_t smallest_squares = std::numeric_limits<int32_t>::max();
  for (size_t c = 0; c < contents_.centroid_count; c++) {
    const uint8_t* row = &contents_.rows[c * padded_dim];
    int32_t squares = 0;
    for (size_t d = 0; d < dim; d++) squares += (row[d] - kZeroByte) * (row[d] - kZeroByte);
    largest_squares_ = std::max(largest_squares_, squares);
    if (squares > 0) smallest_squares = std::min(smallest_squares, squares);
    squares_of.push_back(squares);
    terms_.push_back(NearestTerm(row, dim, centroid_scale));
  }
  reference_length_ =
      std::max(std::sqrt(static_cast<double>(std::min(smallest_squares, largest_squares_))),
               std::sqrt(static_cast<double>(std::max(largest_squares_, 1))) / 4);
  for (const int32_t squares : squares_of) {
    const double factor =
        squares > 0 ? reference_length_ / std::sqrt(static_cast<double>(squares)) * 32768 : 32767;
    length_factors_.push_back(static_cast<int16_t>(std::min(std::nearbyint(factor), 32767.)));
  }
  for (size_t code = 1; code < size_t{1} << contents_.bits; code++) {
    const int sum = contents_.weights[code - 1] + contents_.weights[code];
    thresholds_.push_back(static_cast<float>(sum) * 0.5f * contents_.scale);
  }
}

void Codebook::Nearest(const float* lanes, size_t block_count, uint32_t* centroids) const {
  const size_t dim = contents_.dim, padded_dim = PaddedDim(dim);
  const size_t block_bytes = kMaxsimLanes * padded_dim;
  const auto memory =
      std::make_unique_for_overwrite<Line[]>(block_count * block_bytes / sizeof(Line));
  auto* tokens = reinterpret_cast<int8_t*>(memory.get());
  for (size_t block = 0; block < block_count; block++) {
    QuantiseForNearest(lanes + block * kMaxsimLanes * dim, dim, tokens + block * block_bytes);
  }
  if (contents_.centroid_count >= CentroidGroups::kFewestCentroids) {
    return Groups().Nearest(tokens, block_count, centroids);
  }
  const MaxsimRows rows{contents_.rows.data(), terms_.data(), contents_.centroid_count,
                        static_cast<uint32_t>(padded_dim)};
  Kernels().chosen->nearest(tokens, block_count, &rows, centroids, nullptr);
}

const CentroidGroups& Codebook::Groups() const {
  std::call_once(groups_once_, [this] {
    const float centroid_scale =
        std::ldexp(contents_.scale, static_cast<int>(contents_.centroid_shift));
    groups_ = std::make_unique<const CentroidGroups>(contents_.rows.data(), terms_.data(),
                                                     contents_.centroid_count, contents_.dim,
                                                     centroid_scale);
  });
  return *groups_;
}

void Codebook::UnitLanes(const float* tokens, size_t count, float* lanes, double* lengths) const {
  const size_t dim = contents_.dim;
  float unit[kMaxsimLanes * kMaxDim];
  for (size_t start = 0; start < count; start += kMaxsimLanes) {
    const size_t used = std::min<size_t>(kMaxsimLanes, count - start);
    for (size_t t = 0; t < used; t++) {
      const float* token = tokens + (start + t) * dim;
      const double length = LengthOf(token, dim);
      const float inverse = length > 0 ? static_cast<float>(1 / length) : 0.f;
      for (size_t d = 0; d < dim; d++) unit[t * dim + d] = token[d] * inverse;
      lengths[start + t] = length;
    }
    TokensToLanes(unit, used, dim, lanes + start * dim);
    RotateLanes(lanes + start * dim, dim);
  }
}

float Codebook::CosineOf(const float* lane, uint32_t centroid) const {
  const uint8_t* row = &contents_.rows[size_t{centroid} * PaddedDim(contents_.dim)];
  double dot = 0;
  int64_t squares = 0;
  for (size_t d = 0; d < contents_.dim; d++) {
    const int value = row[d] - kZeroByte;
    dot += static_cast<double>(lane[d * kMaxsimLanes]) * value;
    squares += int64_t{value} * value;
  }
  return squares == 0 ? 0.f : static_cast<float>(dot / std::sqrt(static_cast<double>(squares)));
}

template <typename Choose>
void Codebook::Compare(const float* tokens, size_t count, Choose choose, float* cosines) const {
  const size_t dim = contents_.dim;
  std::vector<float> lanes(LanesOf(std::min(kBatch, count)) * dim);
  for (size_t first = 0; first < count; first += kBatch) {
    const size_t some = std::min(kBatch, count - first);
    double lengths[kBatch];
    UnitLanes(tokens + first * dim, some, lanes.data(), lengths);
    const uint32_t* centroids = choose(first, some, lanes.data());
    for (size_t t = 0; t < some; t++) {
      const float* lane = &lanes[t / kMaxsimLanes * kMaxsimLanes * dim + t % kMaxsimLanes];
      cosines[first + t] = lengths[t] > 0 ? CosineOf(lane, centroids[t]) : 1.f;
    }
  }
}

void Codebook::Assign(const float* tokens, size_t count, uint32_t* centroids,
                      float* cosines) const {
  const auto nearest = [&](size_t first, size_t some, const float* lanes) {
    uint32_t found[kBatch];  // of all lanes, which may be more than tokens
    Nearest(lanes, (some + kMaxsimLanes - 1) / kMaxsimLanes, found);
    return std::copy_n(found, some, centroids + first) - some;
  };
  Compare(tokens, count, nearest, cosines);
}

void Codebook::Cosines(const float* tokens, size_t count, const uint32_t* centroids,
                       float* cosines) const {
  const auto known = [&](size_t first, size_t, const float*) { return centroids + first; };
  Compare(tokens, count, known, cosines);
}

void Codebook::Encode(const float* tokens, size_t token_count, uint8_t* block) const {
  const size_t dim = contents_.dim, padded_dim = PaddedDim(dim);
  const float centroid_scale =
      std::ldexp(contents_.scale, static_cast<int>(contents_.centroid_shift));
  uint8_t* factors = block + token_count * code_bytes_;
  uint8_t* ids = factors + token_count * sizeof(uint16_t);
  std::memset(block, 0, token_count * code_bytes_);
  std::vector<float> lanes(LanesOf(std::min(kBatch, token_count)) * dim);
  for (size_t first = 0; first < token_count; first += kBatch) {
    const size_t count = std::min(kBatch, token_count - first);
    const size_t blocks = (count + kMaxsimLanes - 1) / kMaxsimLanes;
    double lengths[kBatch];
    UnitLanes(tokens + first * dim, count, lanes.data(), lengths);
    uint32_t centroids[kBatch];
    Nearest(lanes.data(), blocks, centroids);
    for (size_t t = 0; t < count; t++) {
      const float* values = &lanes[t / kMaxsimLanes * kMaxsimLanes * dim + t % kMaxsimLanes];
      const uint8_t* row = &contents_.rows[size_t{centroids[t]} * padded_dim];
      uint8_t* codes = block + (first + t) * code_bytes_;
      int64_t squares = 0;
      for (size_t d = 0; d < dim; d++) {
        const int centroid = row[d] - kZeroByte;
        const float rest = values[d * kMaxsimLanes] - static_cast<float>(centroid) * centroid_scale;
        uint32_t code = 0;
        for (const float threshold : thresholds_) code += rest > threshold ? 1 : 0;
        codes[d % code_bytes_] = static_cast<uint8_t>(codes[d % code_bytes_] |
                                                      code << (d / code_bytes_ * contents_.bits));
        const int stored = centroid * (1 << contents_.centroid_shift) + contents_.weights[code];
        squares += int64_t{stored} * stored;
      }
      const double length = std::sqrt(static_cast<double>(squares)) * contents_.scale;
      const double factor = length > 0 ? std::min<double>(lengths[t] / length, kLargestHalf) : 0;
      const uint16_t half = ToHalf(static_cast<float>(factor));
      std::memcpy(factors + (first + t) * sizeof(half), &half, sizeof(half));
      std::memcpy(ids + (first + t) * id_bytes_, &centroids[t], id_bytes_);
    }
  }
}

void Codebook::Read(const uint8_t* block, size_t token_count, size_t token, Token* out) const {
  const uint8_t* codes = block + token * code_bytes_;
  const uint8_t* factors = block + token_count * code_bytes_;
  const uint8_t* ids = factors + token_count * sizeof(uint16_t);
  uint16_t half;
  std::memcpy(&half, factors + token * sizeof(half), sizeof(half));
  out->factor = FromHalf(half);
  out->centroid = 0;
  std::memcpy(&out->centroid, ids + token * id_bytes_, id_bytes_);
  const uint8_t* row = &contents_.rows[size_t{out->centroid} * PaddedDim(contents_.dim)];
  const uint32_t mask = (1u << contents_.bits) - 1;
  for (size_t d = 0; d < contents_.dim; d++) {
    const uint32_t plane = static_cast<uint32_t>(d / code_bytes_) * contents_.bits;
    const uint32_t code = codes[d % code_bytes_] >> plane & mask;
    out->values[d] = static_cast<int16_t>((row[d] - kZeroByte) * (1 << contents_.centroid_shift) +
                                          contents_.weights[code]);
  }
}

void Codebook::Decode(const uint8_t* block, size_t token_count, float* tokens) const {
  Token stored;
  for (size_t token = 0; token < token_count; token++, tokens += contents_.dim) {
    Read(block, token_count, token, &stored);
    const float unit = stored.factor * contents_.scale;
    for (size_t d = 0; d < contents_.dim; d++) {
      tokens[d] = static_cast<float>(stored.values[d]) * unit;
    }
    RotateBack(tokens, contents_.dim);
  }
}

MaxsimResidual Codebook::ForKernels() const {
  MaxsimResidual residual{};
  residual.bits = contents_.bits;
  residual.code_bytes = static_cast<uint32_t>(code_bytes_);
  residual.id_bytes = static_cast<uint32_t>(id_bytes_);
  const size_t codes = size_t{1} << contents_.bits;
  for (size_t i = 0; i < 16; i++) {
    residual.weights[i] = static_cast<uint8_t>(contents_.weights[i % codes] + kZeroByte);
  }
  return residual;
}

}  // namespace maxsim
