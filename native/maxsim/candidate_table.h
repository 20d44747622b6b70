// What one query has to do with the centroids of a codebook, a byte each: small enough to be looked
// up for every centroid of every document of an index (kernels/codes.h). The first stage of a
// search, like the centroid interaction of Santhanam et al., "PLAID" (2022).
#ifndef MAXSIM_MAXSIM_CANDIDATE_TABLE_H_
#define MAXSIM_MAXSIM_CANDIDATE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "maxsim/codebook.h"
#include "maxsim/kernel.h"
#include "maxsim/query.h"

namespace maxsim {

// A byte is the product of a query token with the direction of a centroid, in steps of unit(),
// rounded down, and 0 where it is negative: what a token of length 1 in that direction would have.
// (Products with the centroids themselves, which are shorter than their tokens, miss a third more
// of the best documents.) Whole numbers: the same on every CPU, for a query of as many bits.
class CandidateTable {
 public:
  // Both must outlive it.
  CandidateTable(const PreparedQuery& query, const Codebook& codebook);
  ~CandidateTable();
  CandidateTable(const CandidateTable&) = delete;
  CandidateTable& operator=(const CandidateTable&) = delete;

  size_t centroid_count() const { return codebook_.contents().centroid_count; }
  // Of a row: the query's tokens, filled up to a multiple of 16 with lanes that are 0.
  size_t lanes() const { return query_.block_count() * kMaxsimLanes; }
  // Different threads may fill different rows.
  void Fill(size_t first, size_t count);
  const uint8_t* rows() const { return rows_; }
  // A document's score, times this, is about its MaxSim score where tokens have length 1.
  float unit() const { return unit_; }

  // Scores of documents[i], or of first + i where `documents` is null.
  void Scan(const MaxsimCodes& codes, const uint32_t* documents, uint32_t first, size_t count,
            uint32_t* scores) const;

 private:
  const PreparedQuery& query_;
  const Codebook& codebook_;
  uint32_t shift_;  // of rows of products, as CentroidTable has them
  float unit_;
  std::vector<int16_t> zero_, factor_;  // per lane, of MaxsimToBytes
  uint8_t* rows_ = nullptr;
  size_t size_;
};

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_CANDIDATE_TABLE_H_
