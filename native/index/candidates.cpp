#include "index/candidates.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace maxsim {
namespace {

constexpr uint32_t kPiece = 4096;      // documents between two looks at the clock
constexpr size_t kSampledRows = 4096;  // of the table, to guess how large the largest bytes are
constexpr uint32_t kTokenBits = 11;    // of a sum: the query token that it was added to last
constexpr uint32_t kTokenMask = (1u << kTokenBits) - 1;
static_assert(kMaxQueryTokens < 1u << kTokenBits &&
              kMaxQueryTokens * 256 < 1u << (32 - kTokenBits));

// A hint, no more.
void Fetch([[maybe_unused]] const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 0, 3);
#endif
}

}  // namespace

void TopCandidates::Cut() {
  const auto last = candidates_.begin() + static_cast<std::ptrdiff_t>(depth_);
  std::nth_element(candidates_.begin(), last - 1, candidates_.end());
  candidates_.erase(last, candidates_.end());
  threshold_.store(candidates_[depth_ - 1].score, std::memory_order_relaxed);
}

void TopCandidates::Offer(std::span<const Candidate> candidates) {
  const std::lock_guard lock(mutex_);
  for (const Candidate& candidate : candidates) {
    if (candidate.score >= threshold()) candidates_.push_back(candidate);
    // Cut now and then: each time costs a walk over all.
    if (candidates_.size() >= 2 * depth_ + kPiece) Cut();
  }
  if (candidates_.size() > depth_ + depth_ / 4) Cut();
}

std::vector<TopCandidates::Candidate> TopCandidates::Take() {
  if (candidates_.size() > depth_) Cut();
  return std::move(candidates_);
}

CandidateSearch::CandidateSearch(const Snapshot& snapshot, const CandidateTable& table,
                                 const std::vector<uint32_t>* matching, const Limits& limits,
                                 Threads threads)
    : snapshot_(snapshot), table_(table), limits_(limits), threads_(threads) {
  if (matching != nullptr) {
    wanted_.assign(snapshot.ref_count() / 64 + 1, 0);
    for (const uint32_t ref : *matching) wanted_[ref / 64] |= uint64_t{1} << (ref % 64);
  }
  for (uint32_t number = 0; number < snapshot.segments().size(); number++) {
    const Snapshot::Segment& segment = snapshot.segments()[number];
    if (segment.codes == nullptr) continue;
    const uint32_t documents = segment.reader->document_count();
    const uint32_t* refs = nullptr;
    uint32_t count = documents;
    if (matching != nullptr) {
      const auto begin = std::lower_bound(matching->begin(), matching->end(), segment.base);
      const auto end = std::lower_bound(begin, matching->end(), segment.base + documents);
      count = static_cast<uint32_t>(end - begin);
      if (count == 0) continue;
      refs = &*begin;
      for (uint32_t i = 0; i < count; i++) {
        code_count_ += segment.codes->CodeCount(refs[i] - segment.base);
      }
      document_count_ += count;
    } else {
      code_count_ += segment.codes->header().code_count;
      document_count_ += documents - segment.dead_count();
    }
    for (uint32_t first = 0; first < count; first += std::min(kPiece, count - first)) {
      pieces_.push_back({number, first, std::min(kPiece, count - first),
                         refs == nullptr ? nullptr : refs + first});
    }
    for (uint32_t block = 0; block < segment.codes->list_blocks(); block++) {
      list_pieces_.push_back({number, block});
    }
  }
}

bool CandidateSearch::IsWanted(const Snapshot::Segment& segment, uint32_t ordinal) const {
  if (wanted_.empty()) return !segment.IsDead(ordinal);
  const uint32_t ref = segment.base + ordinal;
  return (wanted_[ref / 64] >> (ref % 64) & 1) != 0;
}

void CandidateSearch::ScanPiece(const CodedPiece& piece, TopCandidates* top) const {
  const Snapshot::Segment& segment = snapshot_.segments()[piece.segment];
  uint32_t scores[kPiece], ordinals[kPiece];
  if (piece.refs != nullptr) {
    for (uint32_t i = 0; i < piece.count; i++) ordinals[i] = piece.refs[i] - segment.base;
  }
  table_.Scan(segment.codes->codes(), piece.refs == nullptr ? nullptr : ordinals, piece.first,
              piece.count, scores);
  const uint32_t threshold = top->threshold();
  std::vector<TopCandidates::Candidate> candidates;
  for (uint32_t i = 0; i < piece.count; i++) {
    if (scores[i] < threshold) continue;
    const uint32_t ordinal = piece.refs == nullptr ? piece.first + i : ordinals[i];
    if (piece.refs != nullptr || !segment.IsDead(ordinal)) {
      candidates.push_back({scores[i], segment.base + ordinal});
    }
  }
  top->Offer(candidates);
}

Status CandidateSearch::Scan(TopCandidates* top) const {
  FirstFailure failure;
  ForEach(threads_, pieces_.size(), [&](size_t i) {
    if (failure.Note(limits_.Check())) ScanPiece(pieces_[i], top);
  });
  return failure.status();
}

void CandidateSearch::ChooseProbes(size_t probes) {
  const size_t lanes = table_.lanes(), rows = table_.centroid_count();
  const uint8_t* bytes = table_.rows();
  probes = std::min(probes, rows);
  // A byte that somewhat more centroids reach, judged by some of them.
  std::vector<uint8_t> floor(lanes, 1);
  const size_t step = std::max<size_t>(1, rows / kSampledRows), sampled = (rows + step - 1) / step;
  std::vector<std::array<uint32_t, 256>> counts(lanes);
  for (std::array<uint32_t, 256>& one : counts) one.fill(0);
  for (size_t row = 0; row < rows; row += step) {
    for (size_t lane = 0; lane < lanes; lane++) counts[lane][bytes[row * lanes + lane]]++;
  }
  const size_t share = (probes * 2 + 16) * sampled / rows + 2;
  for (size_t lane = 0; lane < lanes; lane++) {
    size_t reached = 0;
    uint32_t byte = 256;
    while (byte > 1 && reached < share) reached += counts[lane][--byte];
    floor[lane] = static_cast<uint8_t>(byte);
  }
  struct Entry {
    uint8_t byte;
    uint32_t centroid;
  };
  std::vector<std::vector<Entry>> reaching(lanes);
  for (size_t row = 0; row < rows; row++) {
    const uint8_t* row_bytes = bytes + row * lanes;
    uint8_t any = 0;
    for (size_t lane = 0; lane < lanes; lane++) any |= row_bytes[lane] >= floor[lane] ? 1 : 0;
    if (any == 0) continue;
    for (size_t lane = 0; lane < lanes; lane++) {
      if (row_bytes[lane] >= floor[lane]) {
        reaching[lane].push_back({row_bytes[lane], static_cast<uint32_t>(row)});
      }
    }
  }
  probes_.clear();
  for (std::vector<Entry>& entries : reaching) {
    // Lanes without a token are 0 everywhere, and reach nothing.
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.byte > b.byte; });
    if (entries.size() > probes) entries.resize(probes);
    Probes& own = probes_.emplace_back();
    for (const Entry& entry : entries) {
      own.centroids.push_back(entry.centroid);
      // What is not probed is taken to be as near as the last one that is.
      own.worth.push_back(entry.byte - entries.back().byte + 1u);
    }
  }
}

uint64_t CandidateSearch::CountPostings() const {
  uint64_t postings = 0;
  for (const ListPiece& piece : list_pieces_) {
    const CodesReader& codes = *snapshot_.segments()[piece.segment].codes;
    for (const Probes& token : probes_) {
      for (const uint32_t centroid : token.centroids) {
        postings += codes.List(piece.block, centroid).size();
      }
    }
  }
  return postings;
}

void CandidateSearch::AddBlock(const ListPiece& piece, TopCandidates* top) const {
  const Snapshot::Segment& segment = snapshot_.segments()[piece.segment];
  const CodesReader& codes = *segment.codes;
  const uint32_t first = piece.block * kListBlock;
  const uint32_t count = std::min(kListBlock, segment.reader->document_count() - first);
  std::vector<uint32_t> sums(kListBlock, 0);
  for (size_t t = 0; t < probes_.size(); t++) {
    const Probes& token = probes_[t];
    const auto mark = static_cast<uint32_t>(t + 1);
    for (size_t p = 0; p < token.centroids.size(); p++) {
      if (p + 2 < token.centroids.size()) {
        Fetch(codes.List(piece.block, token.centroids[p + 2]).data());
      }
      // The nearest centroid comes first, so it is the one that counts.
      const uint32_t worth = token.worth[p] << kTokenBits;
      for (const uint16_t ordinal : codes.List(piece.block, token.centroids[p])) {
        // Without a branch, which nobody could foresee.
        const uint32_t sum = sums[ordinal], bare = sum & ~kTokenMask;
        sums[ordinal] = (sum & kTokenMask) == mark ? sum : (bare + worth) | mark;
      }
    }
  }
  std::vector<TopCandidates::Candidate> candidates;
  const uint32_t threshold = std::max(top->threshold(), 1u);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t score = sums[i] >> kTokenBits;
    if (score < threshold || !IsWanted(segment, first + i)) continue;
    candidates.push_back({score, segment.base + first + i});
  }
  top->Offer(candidates);
}

Status CandidateSearch::Refine(std::vector<uint32_t> refs, TopCandidates* top,
                               uint64_t* codes) const {
  std::sort(refs.begin(), refs.end());
  std::vector<CodedPiece> pieces;
  size_t at = 0;
  for (uint32_t number = 0; number < snapshot_.segments().size() && at < refs.size(); number++) {
    const Snapshot::Segment& segment = snapshot_.segments()[number];
    const uint32_t end = segment.base + segment.reader->document_count();
    while (at < refs.size() && refs[at] < end) {
      uint32_t count = 0;
      while (at + count < refs.size() && refs[at + count] < end && count < kPiece) {
        *codes += segment.codes->CodeCount(refs[at + count++] - segment.base);
      }
      pieces.push_back({number, 0, count, &refs[at]});
      at += count;
    }
  }
  FirstFailure failure;
  ForEach(threads_, pieces.size(), [&](size_t i) {
    if (failure.Note(limits_.Check())) ScanPiece(pieces[i], top);
  });
  return failure.status();
}

Status CandidateSearch::Lists(size_t refined, TopCandidates* top, uint64_t* codes) const {
  TopCandidates met(refined);
  FirstFailure failure;
  ForEach(threads_, list_pieces_.size(), [&](size_t i) {
    if (failure.Note(limits_.Check())) AddBlock(list_pieces_[i], &met);
  });
  if (!failure.status().ok()) return failure.status();
  std::vector<uint32_t> refs;
  for (const TopCandidates::Candidate& candidate : met.Take()) refs.push_back(candidate.ref);
  const Status status = Refine(std::move(refs), top, codes);
  if (!status.ok()) return status;
  ForEach(threads_, pieces_.size(), [&](size_t i) {
    const Snapshot::Segment& segment = snapshot_.segments()[pieces_[i].segment];
    if (segment.codes->list_blocks() != 0 || !failure.Note(limits_.Check())) return;
    ScanPiece(pieces_[i], top);
  });
  return failure.status();
}

}  // namespace maxsim
