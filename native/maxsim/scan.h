// START HERE: scores a prepared query against documents with the kernels chosen for this CPU.
#ifndef MAXSIM_MAXSIM_SCAN_H_
#define MAXSIM_MAXSIM_SCAN_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "maxsim/centroid_table.h"
#include "maxsim/codec.h"
#include "maxsim/kernel.h"
#include "maxsim/query.h"

namespace maxsim {

// One query against documents of one format. Prepare first, on one thread; then Scan from any. Both
// the query and the format must outlive it.
class Scanner {
 public:
  Scanner(const PreparedQuery& query, const TokenFormat& format);

  // The documents that will be scanned; without an argument, any. Residual codecs need what a query
  // has to do with each centroid: either of those that occur here or, where that is no more work,
  // of all. Other codecs need nothing.
  void Prepare(std::span<const MaxsimDocument> documents);
  void Prepare();

  // scores[i] = MaxSim(query, documents[i]); the documents may lie in different segments.
  void Scan(const MaxsimDocument* documents, size_t document_count, float* scores) const {
    Scan(documents, document_count, nullptr, scores);
  }
  // The same, giving up documents that cannot reach exit->threshold (kernel.h). `exit` may be null.
  void Scan(const MaxsimDocument* documents, size_t document_count, MaxsimExit* exit,
            float* scores) const;

  // For MaxsimExit: rest[b] is at least what blocks b and later can add to the score of a document
  // whose decoded tokens are no longer than `longest`, in whatever order floats are added and
  // however their sums are rounded; `largest_factor` is that of EncodedTokens.
  std::vector<float> Rest(float longest, float largest_factor) const;

 private:
  const PreparedQuery& query_;
  const TokenFormat& format_;
  CentroidTable table_;
};

// The best document token of one query token and what it adds to the score.
struct TokenMatch {
  uint32_t document_token;
  float contribution;
};

// Explains one score: matches[i] for query token i (query.token_count() of them); ties take the
// first document token. The contributions add up to the score of Scan (same integers, same scales).
void Explain(const PreparedQuery& query, const TokenFormat& format, MaxsimDocument document,
             TokenMatch* matches);

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_SCAN_H_
