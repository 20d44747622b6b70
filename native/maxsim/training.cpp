#include "maxsim/training.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "maxsim/centroid_groups.h"
#include "maxsim/dispatch.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"
#include "maxsim/round.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

constexpr int kZeroByte = 128;
constexpr size_t kTokensPerCentroid = 16;  // of the sample; more changed nothing that was measured
constexpr size_t kMostHeldBack = 65536;
constexpr int kRounds = 8;
constexpr size_t kBlocksPerTask = 64;  // 1024 tokens against all centroids: some milliseconds

// SplitMix64 (Steele, Lea and Flood, 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // Below `bound`, which is far below 2^64: the bias does not matter here.
  uint64_t Below(uint64_t bound) { return Next() % bound; }

 private:
  uint64_t state_;
};

// Chooses `wanted` of `count` things in order, every subset equally likely (Knuth, The Art of
// Computer Programming 2, algorithm 3.4.2 S).
class Selection {
 public:
  Selection(uint64_t count, uint64_t wanted, uint64_t seed)
      : left_(count), wanted_(wanted), random_(seed) {}
  bool Takes() {
    const bool taken = random_.Below(left_) < wanted_;
    left_--;
    wanted_ -= taken ? 1 : 0;
    return taken;
  }

 private:
  uint64_t left_, wanted_;
  Random random_;
};

// 4 dims of a block of 16 tokens: kernels want them aligned.
struct alignas(64) Step {
  int8_t values[kMaxsimLanes][4];
};

// Tokens of length 1, rotated, in blocks of 16 as lanes: quantised, or as floats.
struct Sample {
  size_t dim = 0, count = 0;
  std::vector<Step> tokens;  // [block][padded_dim / 4]
  std::vector<float> lanes;  // [block][dim][16], of tokens held back only
};

size_t Blocks(size_t tokens) { return (tokens + kMaxsimLanes - 1) / kMaxsimLanes; }

// Collects single tokens until a block of 16 is full.
class BlockFiller {
 public:
  BlockFiller(size_t dim, size_t capacity, bool keep_floats, Sample* sample)
      : dim_(dim), keep_floats_(keep_floats), sample_(sample), rows_(kMaxsimLanes * dim) {
    sample->dim = dim;
    sample->tokens.reserve(Blocks(capacity) * PaddedDim(dim) / 4);
    if (keep_floats) sample->lanes.reserve(Blocks(capacity) * kMaxsimLanes * dim);
  }
  void Add(const float* token) {
    double squares = 0;
    for (size_t d = 0; d < dim_; d++) squares += static_cast<double>(token[d]) * token[d];
    if (squares == 0) return;  // no direction to learn from
    // In double: the inverse of a subnormal length is no finite float.
    const double inverse = 1 / std::sqrt(squares);
    for (size_t d = 0; d < dim_; d++) {
      rows_[filled_ * dim_ + d] = static_cast<float>(token[d] * inverse);
    }
    sample_->count++;
    if (++filled_ == kMaxsimLanes) Flush();
  }
  void Flush() {
    if (filled_ == 0) return;
    std::vector<float> lanes(kMaxsimLanes * dim_);
    TokensToLanes(rows_.data(), filled_, dim_, lanes.data());
    RotateLanes(lanes.data(), dim_);
    const size_t at = sample_->tokens.size();
    sample_->tokens.resize(at + PaddedDim(dim_) / 4);
    QuantiseForNearest(lanes.data(), dim_, sample_->tokens[at].values[0]);
    if (keep_floats_) sample_->lanes.insert(sample_->lanes.end(), lanes.begin(), lanes.end());
    filled_ = 0;
  }

 private:
  size_t dim_, filled_ = 0;
  bool keep_floats_;
  Sample* sample_;
  std::vector<float> rows_;
};

class Trainer {
 public:
  Trainer(const TokenSource& source, const TrainingOptions& options)
      : source_(source), options_(options), dim_(options.dim), padded_dim_(PaddedDim(dim_)) {}

  Status Run(std::shared_ptr<const Codebook>* codebook) {
    Status status = TakeSamples();
    if (!status.ok()) return status;
    FirstCentroids();
    for (int round = 0; round < kRounds; round++) {
      status = Assign(static_cast<float>(round));
      if (!status.ok()) return status;
      MoveCentroids();
    }
    CodebookContents contents;
    contents.bits = options_.bits;
    contents.dim = options_.dim;
    contents.centroid_count = static_cast<uint32_t>(centroid_count_);
    contents.trained_tokens = learn_.count;
    contents.seed = options_.seed;
    status = FinalCentroids(&contents);
    if (!status.ok()) return status;
    *codebook = std::make_shared<const Codebook>(std::move(contents));
    Report(kRounds + 1);
    return Status::Ok();
  }

 private:
  // From any thread, in any order: progress only grows.
  void Report(float rounds) {
    if (options_.progress == nullptr) return;
    const float now = std::min(rounds / (kRounds + 1), 1.f);
    float before = options_.progress->load(std::memory_order_relaxed);
    while (before < now &&
           !options_.progress->compare_exchange_weak(before, now, std::memory_order_relaxed)) {
    }
  }
  Status Check() const {
    if (options_.cancelled == nullptr || !options_.cancelled->load(std::memory_order_relaxed)) {
      return Status::Ok();
    }
    return Status::Error("ABORTED", "The caller aborted the operation.");
  }

  Status TakeSamples() {
    uint64_t tokens = 0;
    for (size_t i = 0; i < source_.document_count(); i++) tokens += source_.TokenCount(i);
    if (tokens < kFewestTrainingTokens) {
      return Status::Error(
          "INVALID_ARGUMENT",
          "Centroids are learned from at least %llu tokens, but there are only %llu.",
          static_cast<unsigned long long>(kFewestTrainingTokens),
          static_cast<unsigned long long>(tokens));
    }
    centroid_count_ =
        options_.centroid_count != 0 ? options_.centroid_count : DefaultCentroidCount(tokens);
    if (centroid_count_ > tokens / 2) {
      return Status::Error("INVALID_ARGUMENT",
                           "%zu centroids need at least twice as many tokens, but there are %llu.",
                           centroid_count_, static_cast<unsigned long long>(tokens));
    }
    // Weights are for tokens that the centroids have not seen, as nearly all will be.
    const uint64_t held = std::min<uint64_t>(kMostHeldBack, tokens / 8);
    const uint64_t learn = std::min<uint64_t>(
        tokens - held, std::max<size_t>(centroid_count_, 256) * kTokensPerCentroid);
    BlockFiller learn_filler(dim_, learn, false, &learn_), held_filler(dim_, held, true, &held_);
    Selection taken(tokens, learn + held, options_.seed), split(learn + held, held, ~options_.seed);
    std::vector<float> vectors;
    std::vector<uint32_t> chosen;
    for (size_t i = 0; i < source_.document_count(); i++) {
      Status status = Check();
      if (!status.ok()) return status;
      const uint32_t count = source_.TokenCount(i);
      chosen.clear();
      for (uint32_t token = 0; token < count; token++) {
        if (taken.Takes()) chosen.push_back(token);
      }
      if (chosen.empty()) continue;
      vectors.resize(count * dim_);
      source_.Vectors(i, vectors.data());
      for (const uint32_t token : chosen) {
        (split.Takes() ? held_filler : learn_filler).Add(&vectors[token * dim_]);
      }
    }
    learn_filler.Flush();
    held_filler.Flush();
    if (learn_.count < centroid_count_ || held_.count == 0) {
      return Status::Error("INVALID_ARGUMENT",
                           "%zu centroids cannot be learned from %zu tokens that are not zero.",
                           centroid_count_, learn_.count);
    }
    return Status::Ok();
  }

  int Value(const Sample& sample, size_t token, size_t d) const {
    const size_t block = token / kMaxsimLanes, lane = token % kMaxsimLanes;
    return sample.tokens[block * (padded_dim_ / 4) + d / 4].values[lane][d % 4];
  }

  void FirstCentroids() {
    rows_.assign(centroid_count_ * padded_dim_, kZeroByte);
    Selection selection(learn_.count, centroid_count_, options_.seed + 1);
    size_t centroid = 0;
    for (size_t token = 0; token < learn_.count; token++) {
      if (!selection.Takes()) continue;
      // In the steps of centroids, which are half as wide as those of tokens.
      for (size_t d = 0; d < dim_; d++) {
        rows_[centroid * padded_dim_ + d] =
            static_cast<uint8_t>(2 * Value(learn_, token, d) + kZeroByte);
      }
      centroid++;
    }
  }

  // What a unit of rows_ is worth while centroids are learned: tokens need +-63 of twice as much.
  float RowScale() const { return NearestStep(dim_) / 2; }

  // nearest_[token] for all tokens that are learned from. Of many centroids as they are encoded:
  // groups made anew every round lose nothing that can be measured.
  Status Assign(float round) {
    terms_.resize(centroid_count_);
    for (size_t c = 0; c < centroid_count_; c++) {
      terms_[c] = NearestTerm(&rows_[c * padded_dim_], dim_, RowScale());
    }
    const MaxsimRows rows{rows_.data(), terms_.data(), centroid_count_,
                          static_cast<uint32_t>(padded_dim_)};
    std::unique_ptr<const CentroidGroups> groups;
    if (centroid_count_ >= CentroidGroups::kFewestCentroids) {
      groups = std::make_unique<const CentroidGroups>(rows_.data(), terms_.data(), centroid_count_,
                                                      dim_, RowScale());
    }
    const size_t blocks = Blocks(learn_.count),
                 tasks = (blocks + kBlocksPerTask - 1) / kBlocksPerTask;
    nearest_.resize(blocks * kMaxsimLanes);
    std::atomic<size_t> done{0};
    ThreadPool::Shared().For(tasks, [&](size_t task) {
      if (!Check().ok()) return;
      const size_t first = task * kBlocksPerTask, count = std::min(kBlocksPerTask, blocks - first);
      const int8_t* tokens = learn_.tokens[first * (padded_dim_ / 4)].values[0];
      uint32_t* nearest = &nearest_[first * kMaxsimLanes];
      if (groups != nullptr) {
        groups->Nearest(tokens, count, nearest);
      } else {
        Kernels().chosen->nearest(tokens, count, &rows, nearest, nullptr);
      }
      Report(round + static_cast<float>(++done) / static_cast<float>(tasks));
    });
    return Check();
  }

  // Every centroid to the mean of its tokens; one without tokens takes half of the largest one's.
  void MoveCentroids() {
    sums_.assign(centroid_count_ * dim_, 0);  // 63 * 2^24 tokens fit
    counts_.assign(centroid_count_, 0);
    for (size_t token = 0; token < learn_.count; token++) {
      const uint32_t c = nearest_[token];
      counts_[c]++;
      int32_t* sum = &sums_[c * dim_];
      for (size_t d = 0; d < dim_; d++) sum[d] += Value(learn_, token, d);
    }
    for (size_t c = 0; c < centroid_count_; c++) {
      if (counts_[c] == 0) continue;
      for (size_t d = 0; d < dim_; d++) {
        const double mean = 2. * sums_[c * dim_ + d] / counts_[c];
        rows_[c * padded_dim_ + d] =
            static_cast<uint8_t>(static_cast<int>(std::floor(mean + 0.5)) + kZeroByte);
      }
    }
    for (size_t c = 0; c < centroid_count_; c++) {
      if (counts_[c] != 0) continue;
      const size_t largest =
          static_cast<size_t>(std::max_element(counts_.begin(), counts_.end()) - counts_.begin());
      for (size_t d = 0; d < dim_; d++) {
        uint8_t& from = rows_[largest * padded_dim_ + d];
        uint8_t& to = rows_[c * padded_dim_ + d];
        to = from;
        // Two centroids a step apart in every dim: the next round tells their tokens apart.
        (d % 2 == 0 ? from : to) = static_cast<uint8_t>(std::min(from + 1, 254));
      }
      counts_[c] = counts_[largest] / 2;
      counts_[largest] -= counts_[c];
    }
  }

  // The centroids as they are stored, in steps of their own, and the weights.
  Status FinalCentroids(CodebookContents* contents) {
    int widest = 1;
    for (const uint8_t byte : rows_) widest = std::max(widest, std::abs(byte - kZeroByte));
    const float centroid_scale = RowScale() * static_cast<float>(widest) / 127.f;
    contents->rows = rows_;
    for (uint8_t& byte : contents->rows) {
      const double value = (byte - kZeroByte) * 127. / widest;
      byte = static_cast<uint8_t>(static_cast<int>(std::floor(value + 0.5)) + kZeroByte);
    }
    // Weights are learned in steps of centroids, and stored in finer ones.
    contents->scale = centroid_scale;
    contents->centroid_shift = 0;
    std::vector<uint64_t> histogram(kBins);
    const Codebook coarse(*contents);
    Status status = Residuals(coarse, histogram);
    if (!status.ok()) return status;
    const std::vector<double> weights = LloydWeights(histogram, size_t{1} << contents->bits);
    double largest = 0;
    for (const double weight : weights) largest = std::max(largest, std::fabs(weight));
    // The finest step, a power of two finer than that of centroids, in which weights still fit.
    while (contents->centroid_shift < kMaxCentroidShift &&
           largest * std::ldexp(2., static_cast<int>(contents->centroid_shift)) <=
               127. * centroid_scale) {
      contents->centroid_shift++;
    }
    contents->scale = std::ldexp(centroid_scale, -static_cast<int>(contents->centroid_shift));
    for (size_t code = 0; code < weights.size(); code++) {
      const double value = std::floor(weights[code] / contents->scale + 0.5);
      contents->weights[code] = static_cast<int8_t>(std::clamp(value, -127., 127.));
    }
    return Status::Ok();
  }

  // Differences lie within +-1, nearly all within a few hundredths.
  static constexpr size_t kBins = 16384;
  static constexpr double kBinWidth = 2. / kBins;

  Status Residuals(const Codebook& codebook, std::vector<uint64_t>& histogram) const {
    const float centroid_scale = codebook.contents().scale;
    for (size_t block = 0; block < Blocks(held_.count); block++) {
      if (block % 64 == 0) {
        Status status = Check();
        if (!status.ok()) return status;
      }
      const float* lanes = &held_.lanes[block * kMaxsimLanes * dim_];
      uint32_t nearest[kMaxsimLanes];
      codebook.Nearest(lanes, 1, nearest);
      const size_t used = std::min<size_t>(kMaxsimLanes, held_.count - block * kMaxsimLanes);
      for (size_t lane = 0; lane < used; lane++) {
        const uint8_t* row = &codebook.contents().rows[size_t{nearest[lane]} * padded_dim_];
        for (size_t d = 0; d < dim_; d++) {
          const float rest = lanes[d * kMaxsimLanes + lane] -
                             static_cast<float>(row[d] - kZeroByte) * centroid_scale;
          const double bin = std::floor((static_cast<double>(rest) + 1) / kBinWidth);
          histogram[static_cast<size_t>(std::clamp(bin, 0., kBins - 1.))]++;
        }
      }
    }
    return Status::Ok();
  }

  // The weights that minimise the mean square difference over the histogram, ascending.
  static std::vector<double> LloydWeights(const std::vector<uint64_t>& histogram, size_t count) {
    const auto center = [](size_t bin) { return (static_cast<double>(bin) + 0.5) * kBinWidth - 1; };
    const uint64_t total = std::accumulate(histogram.begin(), histogram.end(), uint64_t{0});
    std::vector<double> weights(count);
    // First the middles of equal shares.
    uint64_t below = 0;
    for (size_t bin = 0, code = 0; bin < kBins && code < count; bin++) {
      below += histogram[bin];
      while (code < count && below * 2 * count > (2 * code + 1) * total)
        weights[code++] = center(bin);
    }
    constexpr int kSteps = 200;
    for (int step = 0; step < kSteps; step++) {
      std::vector<double> sums(count);
      std::vector<uint64_t> counts(count);
      for (size_t bin = 0, code = 0; bin < kBins; bin++) {
        const double value = center(bin);
        while (code + 1 < count && value > (weights[code] + weights[code + 1]) / 2) code++;
        sums[code] += value * static_cast<double>(histogram[bin]);
        counts[code] += histogram[bin];
      }
      for (size_t code = 0; code < count; code++) {
        if (counts[code] > 0) weights[code] = sums[code] / static_cast<double>(counts[code]);
      }
    }
    return weights;
  }

  const TokenSource& source_;
  const TrainingOptions& options_;
  const size_t dim_, padded_dim_;
  size_t centroid_count_ = 0;
  Sample learn_, held_;
  std::vector<uint8_t> rows_;
  std::vector<int32_t> terms_, sums_;
  std::vector<uint32_t> nearest_, counts_;
};

}  // namespace

uint32_t DefaultCentroidCount(uint64_t token_count) {
  const double wanted = std::min(16 * std::sqrt(static_cast<double>(token_count)),
                                 static_cast<double>(token_count) / 8);
  const auto floor = static_cast<uint64_t>(std::max(wanted, 1.));
  return static_cast<uint32_t>(std::min<uint64_t>(std::bit_floor(floor), kMaxCentroids));
}

Status TrainCodebook(const TokenSource& source, const TrainingOptions& options,
                     std::shared_ptr<const Codebook>* codebook) {
  return Trainer(source, options).Run(codebook);
}

}  // namespace maxsim
