#include "index/search.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <span>

#include "index/bounds.h"
#include "index/candidates.h"
#include "index/cost.h"
#include "index/ranking.h"
#include "maxsim/candidate_table.h"
#include "maxsim/dispatch.h"

namespace maxsim {
namespace {

constexpr uint32_t kSmallestRange = 32;  // documents
constexpr size_t kTableRows = 2048;      // that a thread fills at once
constexpr uint32_t kBoundPiece = 4096;   // documents
// Documents that are found, prepared for and scored before the next ones: what a search holds does
// not grow with the index.
constexpr size_t kSlab = 64 * size_t{kBoundPiece};
// Where less than this share is excluded, a bound was not worth looking at.
constexpr double kWorthwhile = 0.05;
// Where the margin says when to stop, that many times the depth is at hand: a query may need more
// than most.
constexpr size_t kRoom = 4;
constexpr size_t kFewest = 64;
// Candidates scored between two looks at the margin: the same number however many threads share
// them, so that all machines find the same.
constexpr size_t kBatch = 64;

// Centroids per query token: enough that what a document is found by is among them. A larger
// codebook has more that are near.
size_t ProbesFor(size_t centroid_count) {
  return std::clamp<size_t>(centroid_count / 512, 32, 256);
}

class Stopwatch {
 public:
  // Milliseconds since the last call.
  double Lap() {
    const auto now = std::chrono::steady_clock::now();
    const double lap = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return lap;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

// One search, step by step.
class Searching {
 public:
  Searching(const Snapshot& snapshot, const PreparedQuery& query, const SearchOptions& options,
            const Limits& limits, SearchReport* report)
      : snapshot_(snapshot),
        query_(query),
        options_(options),
        limits_(limits),
        report_(*report),
        scanner_(query, snapshot.format_.tokens) {}

  Status Run(const Filter* filter, Ranking* ranking) {
    Status status = snapshot_.CheckQuery(query_);
    if (status.ok() && filter != nullptr) {
      status = snapshot_.AllMatching(*filter, limits_, &refs_);
      matching_ = &refs_;
    }
    if (!status.ok()) return status;
    report_.documents = matching_ == nullptr ? snapshot_.live_count_ : refs_.size();
    const auto k = static_cast<size_t>(std::min<uint64_t>(options_.rank.k, report_.documents));
    bounds_ = snapshot_.Bounds();
    if (options_.method == SearchMethod::kExhaustive) {
      report_.reason = "it was asked for";
      return Exhaustive(k, ranking);
    }
    status = VerifyCodes();
    if (!status.ok()) return status;
    if (coded_ == 0) {
      report_.reason = "there are no codes";
      return Exhaustive(k, ranking);
    }
    report_.depth = DepthOf(options_.scan);
    if (options_.method == SearchMethod::kAuto &&
        report_.depth >= std::min(coded_, report_.documents)) {
      report_.reason = "as many documents would have to be scored";
      return Exhaustive(k, ranking);
    }
    status = Choose();
    if (!status.ok()) return status;
    if (report_.method == SearchMethod::kExhaustive) return Exhaustive(k, ranking);
    return Score(k, ranking);
  }

  // The candidates of one method, whatever they cost.
  Status Candidates(SearchMethod method, size_t depth, std::vector<ScoredDocument>* candidates) {
    Status status = snapshot_.CheckQuery(query_);
    if (status.ok()) status = VerifyCodes();
    if (!status.ok()) return status;
    if (coded_ == 0 || (method == SearchMethod::kLists && !has_lists_)) {
      return Status::Error("INVALID_ARGUMENT", "The index has no %s.",
                           coded_ == 0 ? "codes" : "lists");
    }
    CandidateTable table(query_, *snapshot_.search_.codebook);
    status = Fill(&table);
    if (!status.ok()) return status;
    CandidateSearch search(snapshot_, table, nullptr, limits_, options_.threads);
    TopCandidates top(std::max<size_t>(
        1, static_cast<size_t>(std::min<uint64_t>(depth, search.document_count()))));
    if (method == SearchMethod::kLists) {
      search.ChooseProbes(ProbesFor(table.centroid_count()));
      status = search.Lists(top.depth(), &top, &report_.codes);
    } else {
      status = search.Scan(&top);
    }
    std::vector<TopCandidates::Candidate> taken = top.Take();
    std::sort(taken.begin(), taken.end());
    for (const TopCandidates::Candidate& one : taken) {
      candidates->push_back({one.ref, static_cast<float>(one.score) * table.unit()});
    }
    return status;
  }

 private:
  size_t DepthOf(const SearchCurve& curve) const {
    const auto documents = static_cast<double>(report_.documents);
    if (options_.depth != 0) {
      // Fewer than k would leave places empty.
      return std::min(std::max(options_.depth, options_.rank.k),
                      static_cast<size_t>(report_.documents));
    }
    return curve.Depth(static_cast<double>(options_.rank.k), documents,
                       static_cast<double>(snapshot_.live_count_));
  }

  Status VerifyCodes() {
    for (const Snapshot::Segment& segment : snapshot_.segments_) {
      if (segment.codes == nullptr) continue;
      const Status status = segment.codes->Verify();
      if (!status.ok()) return status;
      has_lists_ |= segment.codes->list_blocks() != 0;
      coded_ += segment.reader->document_count() - segment.dead_count();
    }
    return Status::Ok();
  }

  Status Fill(CandidateTable* table) const {
    FirstFailure failure;
    const size_t rows = table->centroid_count();
    ForEach(options_.threads, (rows + kTableRows - 1) / kTableRows, [&](size_t i) {
      if (!failure.Note(limits_.Check())) return;
      table->Fill(i * kTableRows, std::min(kTableRows, rows - i * kTableRows));
    });
    return failure.status();
  }

  // The candidates, by the method that is asked for or costs least.
  Status Choose() {
    const Costs& costs = Costs::Measured();
    const double blocks = static_cast<double>(query_.block_count());
    const double tokens_per_document =
        static_cast<double>(snapshot_.live_tokens_) /
        static_cast<double>(std::max<uint64_t>(1, snapshot_.live_count_));
    const auto scoring = [&](double documents) {
      return documents * tokens_per_document * costs.TokenNs(snapshot_.format_, query_) / 1e6;
    };
    report_.exhaustive_estimate_ms = scoring(static_cast<double>(report_.documents));
    CandidateTable table(query_, *snapshot_.search_.codebook);
    const double table_ms =
        static_cast<double>(table.centroid_count()) * costs.RowNs(query_.dim()) * blocks / 1e6;
    CandidateSearch search(snapshot_, table, matching_, limits_, options_.threads);
    const auto scan_of = [&](double codes) { return codes * blocks * costs.code_ns / 1e6; };
    report_.scan_estimate_ms = table_ms + scan_of(static_cast<double>(search.code_count())) +
                               scoring(static_cast<double>(report_.depth));
    SearchMethod method = options_.method;
    // What any other way costs, before lists are looked at.
    const double least = has_lists_
                             ? table_ms + scoring(static_cast<double>(DepthOf(options_.lists)))
                             : report_.scan_estimate_ms;
    if (method == SearchMethod::kAuto &&
        report_.exhaustive_estimate_ms <= std::min(least, report_.scan_estimate_ms)) {
      report_.reason = "it is estimated to cost least";
      return Status::Ok();
    }
    Stopwatch watch;
    Status status = Fill(&table);
    if (!status.ok()) return status;
    report_.table_ms = watch.Lap();
    if (has_lists_ && method != SearchMethod::kScan) {
      const size_t depth = DepthOf(options_.lists);
      search.ChooseProbes(ProbesFor(table.centroid_count()));
      report_.postings = search.CountPostings();
      // What is refined is read at random.
      const double refined = static_cast<double>(depth) * 4 *
                             static_cast<double>(search.code_count()) /
                             static_cast<double>(std::max<uint64_t>(1, search.document_count()));
      report_.lists_estimate_ms = table_ms +
                                  static_cast<double>(report_.postings) * costs.posting_ns / 1e6 +
                                  2 * scan_of(refined) + scoring(static_cast<double>(depth));
    }
    if (method == SearchMethod::kAuto) {
      report_.reason = "it is estimated to cost least";
      method = SearchMethod::kScan;
      if (has_lists_ && report_.lists_estimate_ms < report_.scan_estimate_ms) {
        method = SearchMethod::kLists;
      }
      if (report_.exhaustive_estimate_ms <=
          std::min(report_.scan_estimate_ms,
                   has_lists_ ? report_.lists_estimate_ms : report_.scan_estimate_ms)) {
        return Status::Ok();  // exhaustive
      }
    } else {
      report_.reason = "it was asked for";
      if (method == SearchMethod::kLists && !has_lists_) {
        report_.reason = "there are no lists";
        method = SearchMethod::kScan;
      }
    }
    report_.method = method;
    const SearchCurve& curve = method == SearchMethod::kLists ? options_.lists : options_.scan;
    const double margin = options_.depth != 0
                              ? std::numeric_limits<double>::infinity()
                              : curve.Margin(static_cast<double>(options_.rank.k),
                                             static_cast<double>(report_.documents),
                                             static_cast<double>(snapshot_.live_count_));
    double lengths = 0;
    for (const float length : query_.lengths()) lengths += static_cast<double>(length);
    margin_ = margin * lengths;
    unit_ = table.unit();
    const size_t depth = DepthOf(curve);
    least_ = curve.asked ? std::max(kFewest, 4 * options_.rank.k) : depth;
    TopCandidates top(std::max<size_t>(1, std::isfinite(margin) ? kRoom * depth : depth));
    if (method == SearchMethod::kLists) {
      status = search.Lists(std::max<size_t>(1, kRoom * depth), &top, &report_.codes);
      if (!status.ok()) return status;
      candidates_ = top.Take();
      // Where few documents have anything near the query, the others are needed too.
      const size_t wanted = options_.depth != 0 ? depth : static_cast<size_t>(options_.rank.k);
      if (candidates_.size() < std::min<uint64_t>(wanted, search.document_count())) {
        report_.reason = "the lists led to too few documents";
        report_.method = SearchMethod::kScan;
        TopCandidates all(top.depth());
        report_.codes += search.code_count();
        status = search.Scan(&all);
        candidates_ = all.Take();
      }
    } else {
      report_.postings = 0;
      report_.codes = search.code_count();
      status = search.Scan(&top);
      candidates_ = top.Take();
    }
    report_.candidates_ms = watch.Lap();
    return status;
  }

  // Live or matching documents of segments without codes.
  std::vector<uint32_t> Uncoded() const {
    std::vector<uint32_t> refs;
    for (const Snapshot::Segment& segment : snapshot_.segments_) {
      if (segment.codes == nullptr) AppendAll(segment, &refs);
    }
    return refs;
  }

  void AppendAll(const Snapshot::Segment& segment, std::vector<uint32_t>* refs) const {
    const uint32_t documents = segment.reader->document_count();
    if (matching_ != nullptr) {
      const auto begin = std::lower_bound(refs_.begin(), refs_.end(), segment.base);
      refs->insert(refs->end(), begin,
                   std::lower_bound(begin, refs_.end(), segment.base + documents));
      return;
    }
    for (uint32_t ordinal = 0; ordinal < documents; ordinal++) {
      if (!segment.IsDead(ordinal)) refs->push_back(segment.base + ordinal);
    }
  }

  Status Exhaustive(size_t k, Ranking* ranking) {
    Stopwatch watch;
    report_.method = SearchMethod::kExhaustive;
    report_.certified = true;
    report_.scored = report_.documents;
    report_.depth = report_.documents;
    report_.postings = 0;  // that were counted, but not added up
    if (report_.documents > 0) scanner_.Prepare();
    SharedSlice slice(scanner_, options_.rank, k, bounds_);
    Status status = matching_ != nullptr ? ScoreRefs(refs_, &slice) : ScoreAll(&slice);
    if (status.ok()) *ranking = slice.Take();
    report_.scoring_ms = watch.Lap();
    return status;
  }

  Status ScoreAll(SharedSlice* slice) const {
    struct Range {
      uint32_t segment, begin, end;  // ordinals
    };
    // A few pieces for each thread, or one where threads do not pay.
    const size_t width = ThreadPool::Shared().width();
    const uint64_t bytes = snapshot_.live_tokens_ * PaddedDim(snapshot_.format_.dim);
    const uint64_t wanted = bytes < kParallelBytes ? 1 : width * 4;
    const auto size = static_cast<uint32_t>(
        std::max<uint64_t>(kSmallestRange, snapshot_.ref_count_ / wanted + 1));
    std::vector<Range> ranges;
    for (uint32_t number = 0; number < snapshot_.segments_.size(); number++) {
      const uint32_t count = snapshot_.segments_[number].reader->document_count();
      for (uint32_t begin = 0; begin < count; begin += std::min(size, count - begin)) {
        ranges.push_back({number, begin, begin + std::min(size, count - begin)});
      }
    }
    FirstFailure failure;
    // Which thread takes which range is chance; the order of a slice is not: score, then ref.
    ForEach(options_.threads, ranges.size(), [&](size_t r) {
      const Range& range = ranges[r];
      const Snapshot::Segment& segment = snapshot_.segments_[range.segment];
      MaxsimDocument documents[kRankChunk];
      uint32_t refs[kRankChunk];
      for (uint32_t ordinal = range.begin; ordinal < range.end;) {
        if (!failure.Note(limits_.Check())) return;
        size_t filled = 0;
        for (; ordinal < range.end && filled < kRankChunk; ordinal++) {
          if (segment.IsDead(ordinal)) continue;
          if (!failure.Note(segment.reader->Tokens(ordinal, &documents[filled]))) return;
          refs[filled++] = segment.base + ordinal;
        }
        slice->Rank(documents, refs, filled);
      }
    });
    return failure.status();
  }

  Status PrepareAndScore(std::span<const uint32_t> refs, SharedSlice* slice) {
    for (size_t first = 0; first < refs.size(); first += kSlab) {
      const auto some = refs.subspan(first, std::min(kSlab, refs.size() - first));
      Status status = Prepare(some);
      if (status.ok()) status = ScoreRefs(some, slice);
      if (!status.ok()) return status;
    }
    return Status::Ok();
  }

  // Prepared for them, or for all.
  Status ScoreRefs(std::span<const uint32_t> refs, SharedSlice* slice) const {
    const size_t width = ThreadPool::Shared().width();
    const size_t piece = std::max(kRankChunk, refs.size() / (4 * width) + 1);
    FirstFailure failure;
    ForEach(options_.threads, (refs.size() + piece - 1) / piece, [&](size_t p) {
      MaxsimDocument documents[kRankChunk];
      const size_t end = std::min(refs.size(), (p + 1) * piece);
      for (size_t begin = p * piece; begin < end; begin += kRankChunk) {
        if (!failure.Note(limits_.Check())) return;
        const size_t count = std::min(kRankChunk, end - begin);
        for (size_t i = 0; i < count; i++) {
          if (!failure.Note(TokensOf(refs[begin + i], &documents[i]))) return;
        }
        slice->Rank(documents, &refs[begin], count);
      }
    });
    return failure.status();
  }

  Status TokensOf(uint32_t ref, MaxsimDocument* document) const {
    const Snapshot::Segment* segment;
    uint32_t ordinal;
    if (!snapshot_.Locate(ref, &segment, &ordinal)) {
      return Status::Error("INTERNAL", "Document %u is not there.", ref);
    }
    return segment->reader->Tokens(ordinal, document);
  }

  Status Prepare(std::span<const uint32_t> refs) {
    if (snapshot_.format_.tokens.codebook == nullptr) return Status::Ok();
    std::vector<MaxsimDocument> documents(refs.size());
    for (size_t i = 0; i < refs.size(); i++) {
      const Status status = TokensOf(refs[i], &documents[i]);
      if (!status.ok()) return status;
    }
    scanner_.Prepare(documents);
    return Status::Ok();
  }

  Status Score(size_t k, Ranking* ranking) {
    Stopwatch watch;
    std::vector<uint32_t> scored = Uncoded();
    SharedSlice slice(scanner_, options_.rank, k, bounds_);
    Status status = PrepareAndScore(scored, &slice);
    if (status.ok()) status = ScoreCandidates(k, &slice, &scored);
    report_.scored = scored.size();
    if (status.ok() && options_.exact) status = Certify(scored, &slice);
    if (!status.ok()) return status;
    report_.certified = options_.exact || report_.scored == report_.documents;
    *ranking = slice.Take();
    report_.scoring_ms = watch.Lap();
    return status;
  }

  // Best candidates first, until the margin says that no more are needed.
  Status ScoreCandidates(size_t k, SharedSlice* slice, std::vector<uint32_t>* scored) {
    const auto worse = [](const TopCandidates::Candidate& a, const TopCandidates::Candidate& b) {
      return b < a;
    };
    // A heap, because few of them will be needed in order.
    std::make_heap(candidates_.begin(), candidates_.end(), worse);
    report_.depth = 0;
    std::vector<uint32_t> batch;
    for (size_t size = std::max(k, kBatch); !candidates_.empty(); size = kBatch) {
      const double best = static_cast<double>(candidates_.front().score) * unit_;
      if (report_.depth >= least_ && best < static_cast<double>(slice->threshold()) - margin_) {
        break;
      }
      batch.clear();
      while (batch.size() < size && !candidates_.empty()) {
        std::pop_heap(candidates_.begin(), candidates_.end(), worse);
        batch.push_back(candidates_.back().ref);
        candidates_.pop_back();
      }
      const Status status = PrepareAndScore(batch, slice);
      if (!status.ok()) return status;
      scored->insert(scored->end(), batch.begin(), batch.end());
      report_.depth += batch.size();
    }
    return Status::Ok();
  }

  // Scores what a bound cannot keep out; the more of it has been scored, the less that is.
  Status Certify(const std::vector<uint32_t>& scored, SharedSlice* slice) {
    std::vector<bool> known(snapshot_.ref_count_);
    for (const uint32_t ref : scored) known[ref] = true;
    const BoundTable bounds(query_, snapshot_.format_, *snapshot_.search_.codebook, bounds_);
    bool bounded = false;
    for (const Snapshot::Segment& segment : snapshot_.segments_) {
      if (segment.codes == nullptr) continue;
      std::vector<uint8_t> rows;
      if (!segment.codes->bounds().empty()) {
        const Status status = limits_.Check();
        if (!status.ok()) return status;
        bounds.Fill(*segment.codes, &rows);
        bounded = true;
      }
      uint32_t count = segment.reader->document_count();
      const uint32_t* refs = nullptr;
      if (matching_ != nullptr) {
        const auto begin = std::lower_bound(refs_.begin(), refs_.end(), segment.base);
        count = static_cast<uint32_t>(std::lower_bound(begin, refs_.end(), segment.base + count) -
                                      begin);
        if (count == 0) continue;
        refs = &*begin;
      }
      for (size_t first = 0; first < count; first += kSlab) {
        const Slab slab{segment, refs, first, std::min<size_t>(first + kSlab, count)};
        std::vector<uint32_t> left;
        Status status = Reaching(slab, known, bounds, rows, slice->threshold(), &left);
        if (status.ok()) status = PrepareAndScore(left, slice);
        if (!status.ok()) return status;
        report_.scored += left.size();
      }
    }
    report_.excluded = report_.documents - report_.scored;
    if (!bounded) {
      report_.method = SearchMethod::kExhaustive;
      report_.reason = "exact was asked for, and there are no bounds";
    } else if (static_cast<double>(report_.excluded) <
               kWorthwhile * static_cast<double>(report_.documents)) {
      report_.method = SearchMethod::kExhaustive;
      report_.reason = "exact was asked for, and the bounds excluded next to nothing";
    }
    return Status::Ok();
  }

  // Documents of one segment: those of the refs, or else ordinals, from `begin` on.
  struct Slab {
    const Snapshot::Segment& segment;
    const uint32_t* refs;
    size_t begin, end;
  };

  // Those that are not known and whose bound reaches the threshold; without rows, all not known.
  Status Reaching(const Slab& slab, const std::vector<bool>& known, const BoundTable& bounds,
                  const std::vector<uint8_t>& rows, float threshold,
                  std::vector<uint32_t>* left) const {
    const Snapshot::Segment& segment = slab.segment;
    const MaxsimCodes codes = segment.codes->codes();
    const auto blocks = static_cast<uint32_t>(query_.block_count());
    std::vector<std::vector<uint32_t>> reaching((slab.end - slab.begin + kBoundPiece - 1) /
                                                kBoundPiece);
    FirstFailure failure;
    ForEach(options_.threads, reaching.size(), [&](size_t p) {
      if (!failure.Note(limits_.Check())) return;
      const size_t begin = slab.begin + p * kBoundPiece;
      uint32_t ordinals[kBoundPiece], sums[kBoundPiece];
      size_t count = 0;
      for (size_t i = begin; i < std::min<size_t>(begin + kBoundPiece, slab.end); i++) {
        const uint32_t ordinal =
            slab.refs != nullptr ? slab.refs[i] - segment.base : static_cast<uint32_t>(i);
        if (known[segment.base + ordinal]) continue;
        if (slab.refs != nullptr || !segment.IsDead(ordinal)) ordinals[count++] = ordinal;
      }
      if (!rows.empty()) {
        Kernels().chosen->scan_codes(rows.data(), blocks, &codes, ordinals, 0, count, sums);
      }
      for (size_t i = 0; i < count; i++) {
        if (rows.empty() || bounds.Score(sums[i]) >= static_cast<double>(threshold)) {
          reaching[p].push_back(segment.base + ordinals[i]);
        }
      }
    });
    for (const std::vector<uint32_t>& own : reaching) {
      left->insert(left->end(), own.begin(), own.end());
    }
    return failure.status();
  }

  const Snapshot& snapshot_;
  const PreparedQuery& query_;
  const SearchOptions& options_;
  const Limits& limits_;
  SearchReport& report_;
  Scanner scanner_;
  std::vector<uint32_t> refs_;  // that match
  std::vector<TopCandidates::Candidate> candidates_;
  double unit_ = 1;  // of their scores
  double margin_ = std::numeric_limits<double>::infinity();
  size_t least_ = 0;  // candidates that are scored whatever the margin says
  const std::vector<uint32_t>* matching_ = nullptr;
  EncodedTokens bounds_;
  uint64_t coded_ = 0;  // live documents with codes
  bool has_lists_ = false;
};

Status Snapshot::Search(const PreparedQuery& query, const SearchOptions& options,
                        const Limits& limits, Ranking* ranking, SearchReport* report,
                        const Filter* filter) const {
  return Searching(*this, query, options, limits, report).Run(filter, ranking);
}

Status Snapshot::Candidates(const PreparedQuery& query, SearchMethod method, size_t depth,
                            const Limits& limits, std::vector<ScoredDocument>* candidates) const {
  SearchOptions options;
  SearchReport report;
  return Searching(*this, query, options, limits, &report).Candidates(method, depth, candidates);
}

}  // namespace maxsim
