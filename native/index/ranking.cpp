// Scoring and ranking of a snapshot's documents: which thread takes what, and what is kept.
#include <algorithm>
#include <limits>
#include <mutex>

#include "index/snapshot.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

// Between two looks at the clock: 256 documents of 180 tokens take about a millisecond.
constexpr size_t kChunk = 256;
// What is scored between two looks at the k-th best: a later look would give up fewer documents.
constexpr size_t kRankChunk = 32;

// Below this a scan takes less than 0.3 ms on one core, and waking a helper 0.05 ms.
constexpr uint64_t kParallelBytes = uint64_t{2} << 20;
constexpr uint64_t kSmallestRange = 32;  // documents

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
void ForEach(Threads threads, size_t count, const std::function<void(size_t)>& work) {
  if (threads == Threads::kShared) return ThreadPool::Shared().For(count, work);
  for (size_t i = 0; i < count; i++) work(i);
}

// A request with its documents found.
struct Prepared {
  std::vector<MaxsimDocument> documents;
  std::unique_ptr<Scanner> scanner;
};

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

// Pieces of all requests' documents: whole requests, unless threads would be idle.
struct Piece {
  size_t request, begin, end;
};

std::vector<Piece> Pieces(std::span<const Prepared> prepared, size_t dim, Threads threads,
                          size_t chunk) {
  uint64_t tokens = 0;
  for (const Prepared& one : prepared) {
    for (const MaxsimDocument& document : one.documents) tokens += document.token_count;
  }
  const size_t width = ThreadPool::Shared().width();
  const bool split = threads == Threads::kShared && prepared.size() < width &&
                     tokens * PaddedDim(dim) >= kParallelBytes;
  std::vector<Piece> pieces;
  for (size_t i = 0; i < prepared.size(); i++) {
    const size_t count = prepared[i].documents.size();
    // A few pieces per thread: the last one to end should not end late.
    const size_t size =
        split ? std::max(chunk, count / (4 * width) + 1) : std::max<size_t>(count, 1);
    for (size_t begin = 0; begin < count; begin += size) {
      pieces.push_back({i, begin, std::min(begin + size, count)});
    }
  }
  return pieces;
}

}  // namespace

Status Snapshot::CheckQuery(const PreparedQuery& query) const {
  if (query.dim() == format_.dim) return Status::Ok();
  return Status::Error("MODEL_MISMATCH", "The query has dim %zu, but the index has dim %u.",
                       query.dim(), format_.dim);
}

namespace {

// Finds the documents of all requests, and what their queries need of them.
template <typename Check, typename Resolve>
Status PrepareAll(std::span<const Request> requests, const VectorFormat& format, Threads threads,
                  const Limits& limits, Check check, Resolve resolve,
                  std::vector<Prepared>* prepared) {
  prepared->resize(requests.size());
  for (size_t i = 0; i < requests.size(); i++) {
    Status status = check(*requests[i].query);
    if (status.ok()) status = resolve(requests[i].refs, &(*prepared)[i].documents);
    if (!status.ok()) return status;
  }
  FirstFailure failure;
  ForEach(threads, requests.size(), [&](size_t i) {
    if (!failure.Note(limits.Check())) return;
    Prepared& one = (*prepared)[i];
    one.scanner = std::make_unique<Scanner>(*requests[i].query, format.tokens);
    one.scanner->Prepare(one.documents);
  });
  return failure.status();
}

}  // namespace

Status Snapshot::Score(std::span<const Request> requests, const Limits& limits, Threads threads,
                       std::vector<std::vector<float>>* scores) const {
  std::vector<Prepared> prepared;
  const Status status = PrepareAll(
      requests, format_, threads, limits, [this](const auto& query) { return CheckQuery(query); },
      [this](auto refs, auto* documents) { return Resolve(refs, documents); }, &prepared);
  if (!status.ok()) return status;
  scores->resize(requests.size());
  for (size_t i = 0; i < requests.size(); i++) (*scores)[i].resize(prepared[i].documents.size());
  FirstFailure failure;
  const std::vector<Piece> pieces = Pieces(prepared, format_.dim, threads, kChunk);
  ForEach(threads, pieces.size(), [&](size_t p) {
    const Piece& piece = pieces[p];
    const Prepared& one = prepared[piece.request];
    for (size_t begin = piece.begin; begin < piece.end; begin += kChunk) {
      if (!failure.Note(limits.Check())) return;
      one.scanner->Scan(&one.documents[begin], std::min(kChunk, piece.end - begin),
                        &(*scores)[piece.request][begin]);
    }
  });
  return failure.status();
}

Status Snapshot::Rank(std::span<const Request> requests, const RankOptions& options,
                      const Limits& limits, Threads threads, std::vector<Ranking>* rankings) const {
  std::vector<Prepared> prepared;
  const Status status = PrepareAll(
      requests, format_, threads, limits, [this](const auto& query) { return CheckQuery(query); },
      [this](auto refs, auto* documents) { return Resolve(refs, documents); }, &prepared);
  if (!status.ok()) return status;
  const EncodedTokens bounds = Bounds();
  std::vector<std::unique_ptr<SharedSlice>> slices;
  for (const Prepared& one : prepared) {
    slices.push_back(std::make_unique<SharedSlice>(
        *one.scanner, options, std::min(options.k, one.documents.size()), bounds));
  }
  FirstFailure failure;
  const std::vector<Piece> pieces = Pieces(prepared, format_.dim, threads, kRankChunk);
  ForEach(threads, pieces.size(), [&](size_t p) {
    const Piece& piece = pieces[p];
    const Prepared& one = prepared[piece.request];
    uint32_t numbers[kRankChunk];
    for (size_t begin = piece.begin; begin < piece.end; begin += kRankChunk) {
      if (!failure.Note(limits.Check())) return;
      const size_t count = std::min(kRankChunk, piece.end - begin);
      for (size_t i = 0; i < count; i++) numbers[i] = static_cast<uint32_t>(begin + i);
      slices[piece.request]->Rank(&one.documents[begin], numbers, count);
    }
  });
  if (!failure.status().ok()) return failure.status();
  for (const auto& slice : slices) rankings->push_back(slice->Take());
  return Status::Ok();
}

std::vector<Snapshot::Range> Snapshot::Ranges(size_t width) const {
  std::vector<Range> ranges;
  const uint64_t wanted = live_tokens_ * PaddedDim(format_.dim) < kParallelBytes ? 1 : width * 4;
  const auto size =
      static_cast<uint32_t>(std::max<uint64_t>(kSmallestRange, ref_count_ / wanted + 1));
  for (uint32_t number = 0; number < segments_.size(); number++) {
    const uint32_t count = segments_[number].reader->document_count();
    for (uint32_t begin = 0; begin < count; begin += std::min(size, count - begin)) {
      ranges.push_back({number, begin, begin + std::min(size, count - begin)});
    }
  }
  return ranges;
}

Status Snapshot::Search(const PreparedQuery& query, const RankOptions& options,
                        const Limits& limits, Ranking* ranking) const {
  const Status status = CheckQuery(query);
  if (!status.ok()) return status;
  ThreadPool& pool = ThreadPool::Shared();
  const std::vector<Range> ranges = Ranges(pool.width());
  Scanner scanner(query, format_.tokens);
  if (!ranges.empty()) scanner.Prepare();
  SharedSlice slice(scanner, options,
                    static_cast<size_t>(std::min<uint64_t>(options.k, live_count_)), Bounds());
  FirstFailure failure;
  // Which thread takes which range is chance; the order of a slice is not: score, then ref.
  pool.For(ranges.size(), [&](size_t r) {
    const Range& range = ranges[r];
    const Segment& segment = segments_[range.segment];
    MaxsimDocument documents[kRankChunk];
    uint32_t refs[kRankChunk];
    for (uint32_t ordinal = range.begin; ordinal < range.end;) {
      if (!failure.Note(limits.Check())) return;
      size_t filled = 0;
      for (; ordinal < range.end && filled < kRankChunk; ordinal++) {
        if (segment.IsDead(ordinal)) continue;
        const Status found = segment.reader->Tokens(ordinal, &documents[filled]);
        if (!found.ok()) {
          failure.Note(found);
          return;
        }
        refs[filled++] = segment.base + ordinal;
      }
      slice.Rank(documents, refs, filled);
    }
  });
  if (!failure.status().ok()) return failure.status();
  *ranking = slice.Take();
  return Status::Ok();
}

}  // namespace maxsim
