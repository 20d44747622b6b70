// The best k of a stream of scores, best first; of equals, the lower document number comes first.
#ifndef MAXSIM_MAXSIM_TOP_SLICE_H_
#define MAXSIM_MAXSIM_TOP_SLICE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace maxsim {

struct ScoredDocument {
  uint32_t document;
  float score;
};

class TopSlice {
 public:
  explicit TopSlice(size_t k);
  // In any order: the slice depends on what was offered alone.
  void Offer(uint32_t document, float score);
  // The worst score that a document may have to get in: -infinity until k have been offered. (One
  // of that score still may, if its number is lower.)
  float Threshold() const;
  // Empties the slice: at most k documents, best first.
  std::vector<ScoredDocument> Take();

 private:
  size_t k_;
  std::vector<ScoredDocument> heap_;  // worst on top
};

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_TOP_SLICE_H_
