#include "maxsim/centroid_groups.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>

#include "maxsim/codebook.h"
#include "maxsim/dispatch.h"
#include "maxsim/query.h"

namespace maxsim {
namespace {

constexpr int kZeroByte = 128;
constexpr int kRounds = 5;
constexpr size_t kStepBytes = 4;
constexpr size_t kPassTokens = 2 * kMaxsimLanes;
// So many groups are looked into for a token: more find its nearest centroid more often.
constexpr int16_t kProbes = 16;

// A row of bytes to a lane of the int8 layout.
void ToLane(const uint8_t* row, size_t padded_dim, int8_t* lane) {
  for (size_t d = 0; d < padded_dim; d++) {
    // Half as wide steps: tokens are of 7 bits.
    lane[d / kStepBytes * kMaxsimLanes * kStepBytes + d % kStepBytes] =
        static_cast<int8_t>((row[d] - kZeroByte) / 2);
  }
}

}  // namespace

CentroidGroups::CentroidGroups(const uint8_t* rows, const int32_t* terms, size_t count, size_t dim,
                               float centroid_scale)
    : dim_(dim), padded_dim_(PaddedDim(dim)), centroid_scale_(centroid_scale) {
  group_count_ = 1;
  while (group_count_ * group_count_ < count) group_count_ *= 2;
  MakeGroups(rows, count);
  DropEmptyGroups(count);
  Arrange(rows, terms, count);
  // A token is no longer than the inverse of its step, and half a step a dim by rounding. Its
  // products come less 128 times the sum of its values (MaxsimFillTable), which is at most
  // sqrt(dim) times its length.
  const double token = 1. / NearestStep(dim_) + std::sqrt(static_cast<double>(dim_)) / 2 + 1;
  double longest = 0;
  for (size_t g = 0; g < group_count_; g++) {
    double squares = 0;
    for (size_t d = 0; d < dim_; d++) {
      const int value = middles_[g * padded_dim_ + d] - kZeroByte;
      squares += value * value;
    }
    longest = std::max(longest, std::sqrt(squares));
    middle_terms_.push_back(NearestTerm(&middles_[g * padded_dim_], dim_, centroid_scale_));
  }
  const double largest = token * (longest + 128 * std::sqrt(static_cast<double>(dim_)));
  while (std::ldexp(32766., static_cast<int>(shift_)) < largest) shift_++;
}

// Lloyd's k-means, from centroids at even distances in their order.
void CentroidGroups::MakeGroups(const uint8_t* rows, size_t count) {
  middles_.resize(group_count_ * padded_dim_);
  for (size_t g = 0; g < group_count_; g++) {
    std::memcpy(&middles_[g * padded_dim_], rows + g * count / group_count_ * padded_dim_,
                padded_dim_);
  }
  group_of_.resize((count + kMaxsimLanes - 1) / kMaxsimLanes * kMaxsimLanes);
  std::vector<int32_t> terms(group_count_);
  std::vector<int64_t> sums;
  std::vector<int64_t> sizes;
  alignas(64) int8_t lanes[kMaxsimLanes * kMaxDim];
  for (int round = 0; round < kRounds; round++) {
    for (size_t g = 0; g < group_count_; g++) {
      int32_t squares = 0;
      for (size_t d = 0; d < dim_; d++) {
        const int value = middles_[g * padded_dim_ + d] - kZeroByte;
        squares += value * value;
      }
      terms[g] = -squares / 4;  // half of the square, in units of a step and of two
    }
    const MaxsimRows middles{middles_.data(), terms.data(), group_count_,
                             static_cast<uint32_t>(padded_dim_)};
    for (size_t first = 0; first < count; first += kMaxsimLanes) {
      std::memset(lanes, 0, kMaxsimLanes * padded_dim_);
      for (size_t i = first; i < std::min<size_t>(first + kMaxsimLanes, count); i++) {
        ToLane(rows + i * padded_dim_, padded_dim_, lanes + (i - first) * kStepBytes);
      }
      Kernels().chosen->nearest(lanes, 1, &middles, &group_of_[first], nullptr);
    }
    if (round + 1 == kRounds) break;  // groups as the middles that they are found by have them
    sums.assign(group_count_ * padded_dim_, 0);
    sizes.assign(group_count_, 0);
    for (size_t i = 0; i < count; i++) {
      int64_t* sum = &sums[group_of_[i] * padded_dim_];
      for (size_t d = 0; d < padded_dim_; d++) sum[d] += rows[i * padded_dim_ + d];
      sizes[group_of_[i]]++;
    }
    for (size_t g = 0; g < group_count_; g++) {
      if (sizes[g] == 0) continue;
      for (size_t d = 0; d < padded_dim_; d++) {
        const int64_t sum = sums[g * padded_dim_ + d];
        middles_[g * padded_dim_ + d] = static_cast<uint8_t>((sum + sizes[g] / 2) / sizes[g]);
      }
    }
  }
}

// A token whose nearest groups are all empty would find nothing.
void CentroidGroups::DropEmptyGroups(size_t count) {
  std::vector<uint32_t> number_of(group_count_, UINT32_MAX);
  for (size_t i = 0; i < count; i++) number_of[group_of_[i]] = 0;
  uint32_t kept = 0;
  for (size_t g = 0; g < group_count_; g++) {
    if (number_of[g] != 0) continue;
    std::memmove(&middles_[kept * padded_dim_], &middles_[g * padded_dim_], padded_dim_);
    number_of[g] = kept++;
  }
  for (size_t i = 0; i < count; i++) group_of_[i] = number_of[group_of_[i]];
  group_count_ = kept;
  middles_.resize(kept * padded_dim_);
}

void CentroidGroups::Arrange(const uint8_t* rows, const int32_t* terms, size_t count) {
  starts_.assign(group_count_ + 1, 0);
  for (size_t i = 0; i < count; i++) starts_[group_of_[i] + 1]++;
  for (size_t g = 0; g < group_count_; g++) starts_[g + 1] += starts_[g];
  rows_.resize(count * padded_dim_);
  terms_.resize(count);
  ids_.resize(count);
  std::vector<size_t> at(starts_.begin(), starts_.end() - 1);
  for (size_t i = 0; i < count; i++) {
    const size_t place = at[group_of_[i]]++;
    std::memcpy(&rows_[place * padded_dim_], rows + i * padded_dim_, padded_dim_);
    terms_[place] = terms[i];
    ids_[place] = static_cast<uint32_t>(i);
  }
  group_of_ = {};
}

// The nearest kProbes groups, or all that there are, of 16 tokens, the first of which is `first`;
// and equals of the last.
void CentroidGroups::ChooseGroups(const int8_t* block, size_t first,
                                  std::vector<uint32_t>* tokens_of) const {
  int32_t bias[kMaxsimLanes] = {};
  for (size_t d = 0; d < padded_dim_; d++) {
    const int8_t* step = block + d / kStepBytes * kMaxsimLanes * kStepBytes + d % kStepBytes;
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) bias[lane] -= 128 * step[lane * kStepBytes];
  }
  MaxsimQueryInt8 query{};
  query.tokens = block;
  query.bias = bias;
  query.block_count = 1;
  query.padded_dim = static_cast<uint32_t>(padded_dim_);
  query.bits = 7;
  std::vector<int16_t> values(group_count_ * kMaxsimLanes);
  const MaxsimCentroids middles{middles_.data(), 0, shift_, values.data()};
  Kernels().chosen->fill_table(&query, &middles, nullptr, group_count_);
  for (size_t g = 0; g < group_count_; g++) {
    const int32_t term = std::max(middle_terms_[g] >> shift_, -32768);
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
      int16_t& value = values[g * kMaxsimLanes + lane];
      value = static_cast<int16_t>(std::max<int32_t>(value + term, -32768));
    }
  }
  // The largest value that enough groups reach, bit by bit, for all lanes at once.
  int16_t limit[kMaxsimLanes];
  std::fill_n(limit, kMaxsimLanes, int16_t{-32768});
  for (int bit = 15; bit >= 0; bit--) {
    int16_t trial[kMaxsimLanes], reached[kMaxsimLanes] = {};
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
      trial[lane] = static_cast<int16_t>(limit[lane] + (1 << bit));
    }
    for (size_t g = 0; g < group_count_; g++) {
      const int16_t* row = &values[g * kMaxsimLanes];
      for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
        reached[lane] = static_cast<int16_t>(reached[lane] + (row[lane] >= trial[lane] ? 1 : 0));
      }
    }
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
      if (reached[lane] >= kProbes) limit[lane] = trial[lane];
    }
  }
  for (size_t g = 0; g < group_count_; g++) {
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
      if (values[g * kMaxsimLanes + lane] < limit[lane]) continue;
      tokens_of[g].push_back(static_cast<uint32_t>(first + lane));
    }
  }
}

void CentroidGroups::SearchGroup(size_t group, const int8_t* tokens,
                                 const std::vector<uint32_t>& chosen, int32_t* largest,
                                 uint32_t* centroids) const {
  const size_t begin = starts_[group], count = starts_[group + 1] - begin;
  const MaxsimRows rows{&rows_[begin * padded_dim_], &terms_[begin], count,
                        static_cast<uint32_t>(padded_dim_)};
  alignas(64) int8_t lanes[kPassTokens * kMaxDim];
  const size_t block_bytes = kMaxsimLanes * padded_dim_;
  for (size_t first = 0; first < chosen.size(); first += kPassTokens) {
    const size_t some = std::min(kPassTokens, chosen.size() - first);
    const size_t blocks = (some + kMaxsimLanes - 1) / kMaxsimLanes;
    // What lanes without a token have does not matter, so long as it is something.
    if (some % kMaxsimLanes != 0) std::memset(lanes, 0, blocks * block_bytes);
    for (size_t i = 0; i < some; i++) {
      const size_t token = chosen[first + i];
      const int8_t* from =
          tokens + token / kMaxsimLanes * block_bytes + token % kMaxsimLanes * kStepBytes;
      int8_t* to = lanes + i / kMaxsimLanes * block_bytes + i % kMaxsimLanes * kStepBytes;
      for (size_t d = 0; d < block_bytes; d += kMaxsimLanes * kStepBytes) {
        std::memcpy(to + d, from + d, kStepBytes);
      }
    }
    uint32_t best[kPassTokens];
    int32_t products[kPassTokens];
    Kernels().chosen->nearest(lanes, blocks, &rows, best, products);
    for (size_t i = 0; i < some; i++) {
      const size_t token = chosen[first + i];
      const uint32_t id = ids_[begin + best[i]];
      if (products[i] > largest[token] ||
          (products[i] == largest[token] && id < centroids[token])) {
        largest[token] = products[i];
        centroids[token] = id;
      }
    }
  }
}

void CentroidGroups::Nearest(const int8_t* tokens, size_t block_count, uint32_t* centroids) const {
  const size_t count = block_count * kMaxsimLanes;
  std::vector<std::vector<uint32_t>> tokens_of(group_count_);
  for (size_t block = 0; block < block_count; block++) {
    ChooseGroups(tokens + block * kMaxsimLanes * padded_dim_, block * kMaxsimLanes,
                 tokens_of.data());
  }
  std::vector<int32_t> largest(count, INT_MIN);
  std::fill_n(centroids, count, UINT32_MAX);
  for (size_t g = 0; g < group_count_; g++) {
    SearchGroup(g, tokens, tokens_of[g], largest.data(), centroids);
  }
}

}  // namespace maxsim
