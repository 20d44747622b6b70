// How the work of scoring is shared among threads, and what is kept of it.
#ifndef MAXSIM_INDEX_RANKING_H_
#define MAXSIM_INDEX_RANKING_H_

#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <mutex>
#include <vector>

#include "index/snapshot.h"
#include "platform/thread_pool.h"

namespace maxsim {

// Between two looks at the clock: 256 documents of 180 tokens take about a millisecond.
inline constexpr size_t kChunk = 256;
// What is scored between two looks at the k-th best: a later look would give up fewer documents.
inline constexpr size_t kRankChunk = 32;

// Below this a scan takes less than 0.3 ms on one core, and waking a helper 0.05 ms.
inline constexpr uint64_t kParallelBytes = uint64_t{2} << 20;
// What several threads that share a scan report: the first failure of any of them.
class FirstFailure {
 public:
  // True while nothing has failed.
  bool Note(const Status& status) {
    if (!status.ok()) {
      const std::lock_guard lock(mutex_);
      if (status_.ok()) status_ = status;
      failed_ = true;
    }
    return !failed_;
  }
  // Once all threads have ended.
  const Status& status() const { return status_; }

 private:
  std::mutex mutex_;
  Status status_ = Status::Ok();
  std::atomic<bool> failed_{false};
};

// work(i) for i below count, on the threads that the caller allows.
inline void ForEach(Threads threads, size_t count, const std::function<void(size_t)>& work) {
  if (threads == Threads::kShared) return ThreadPool::Shared().For(count, work);
  for (size_t i = 0; i < count; i++) work(i);
}

// The best k so far of one query, fed by several threads.
class SharedSlice {
 public:
  SharedSlice(const Scanner& scanner, const RankOptions& options, size_t k,
              const EncodedTokens& bounds)
      : scanner_(scanner), slice_(k), early_exit_(options.early_exit) {
    if (early_exit_) rest_ = scanner.Rest(bounds.longest, bounds.largest_factor);
  }

  // Scores up to kRankChunk documents; numbers[i] is what documents[i] will be called.
  void Rank(const MaxsimDocument* documents, const uint32_t* numbers, size_t count) {
    float scores[kRankChunk];
    MaxsimExit exit{threshold_.load(std::memory_order_relaxed), rest_.data(), 0};
    scanner_.Scan(documents, count, early_exit_ ? &exit : nullptr, scores);
    const std::lock_guard lock(mutex_);
    skipped_ += exit.skipped;
    for (size_t i = 0; i < count; i++) {
      // What was given up has no score, and cannot be among the best.
      if (scores[i] != -std::numeric_limits<float>::infinity()) slice_.Offer(numbers[i], scores[i]);
    }
    threshold_.store(slice_.Threshold(), std::memory_order_relaxed);
  }

  // Below it nothing can be among the best k.
  float threshold() const { return threshold_.load(std::memory_order_relaxed); }

  Ranking Take() { return {slice_.Take(), skipped_}; }

 private:
  const Scanner& scanner_;
  std::mutex mutex_;
  TopSlice slice_;
  std::vector<float> rest_;
  std::atomic<float> threshold_{-std::numeric_limits<float>::infinity()};
  uint64_t skipped_ = 0;
  const bool early_exit_;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_RANKING_H_
