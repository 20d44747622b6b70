// The first stage of a search: which documents are worth scoring, by their centroids alone.
#ifndef MAXSIM_INDEX_CANDIDATES_H_
#define MAXSIM_INDEX_CANDIDATES_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "index/ranking.h"
#include "index/snapshot.h"
#include "maxsim/candidate_table.h"

namespace maxsim {

// The best candidates so far, fed by several threads. They depend on what was offered alone: equal
// scores in the order of refs.
class TopCandidates {
 public:
  explicit TopCandidates(size_t depth) : depth_(depth) {}

  struct Candidate {
    uint32_t score, ref;
    // Better ones first.
    bool operator<(const Candidate& other) const {
      return score != other.score ? score > other.score : ref < other.ref;
    }
  };

  size_t depth() const { return depth_; }
  // What is worse cannot get in any more.
  uint32_t threshold() const { return threshold_.load(std::memory_order_relaxed); }
  void Offer(std::span<const Candidate> candidates);
  // Empties it, in no order.
  std::vector<Candidate> Take();

 private:
  void Cut();

  const size_t depth_;
  std::mutex mutex_;
  std::vector<Candidate> candidates_;
  std::atomic<uint32_t> threshold_{0};
};

// Documents of one segment with codes: ordinals `first` on, or those of `refs`.
struct CodedPiece {
  uint32_t segment, first, count;
  const uint32_t* refs;  // null: all live ones
};

// One query's look at the coded documents of a snapshot, or at those among `matching` (refs,
// ascending; null: all).
class CandidateSearch {
 public:
  // All must outlive it. The codes have been verified.
  CandidateSearch(const Snapshot& snapshot, const CandidateTable& table,
                  const std::vector<uint32_t>* matching, const Limits& limits, Threads threads);

  // Of the documents to be looked at.
  uint64_t document_count() const { return document_count_; }
  uint64_t code_count() const { return code_count_; }

  // Scores of all, by their codes.
  Status Scan(TopCandidates* top) const;

  // The centroids that each query token is nearest to, about `probes` of them; call first.
  void ChooseProbes(size_t probes);
  // What Lists will read.
  uint64_t CountPostings() const;
  // Of segments with lists those that the probes meet, by what they have in common with the query;
  // of others as Scan. Then the best `refined` of them by all of their codes.
  Status Lists(size_t refined, TopCandidates* top, uint64_t* codes) const;

 private:
  // Of one query token: centroids, those of the largest bytes first, and what each is worth.
  struct Probes {
    std::vector<uint32_t> centroids;
    std::vector<uint32_t> worth;
  };
  struct ListPiece {
    uint32_t segment, block;
  };

  void ScanPiece(const CodedPiece& piece, TopCandidates* top) const;
  void AddBlock(const ListPiece& piece, TopCandidates* top) const;
  Status Refine(std::vector<uint32_t> refs, TopCandidates* top, uint64_t* codes) const;
  bool IsWanted(const Snapshot::Segment& segment, uint32_t ordinal) const;

  const Snapshot& snapshot_;
  const CandidateTable& table_;
  const Limits& limits_;
  const Threads threads_;
  std::vector<CodedPiece> pieces_;
  std::vector<ListPiece> list_pieces_;
  std::vector<uint64_t> wanted_;  // a bit per ref; empty: all live ones
  std::vector<Probes> probes_;
  uint64_t document_count_ = 0, code_count_ = 0;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_CANDIDATES_H_
