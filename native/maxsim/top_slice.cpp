#include "maxsim/top_slice.h"

#include <algorithm>
#include <limits>

namespace maxsim {
namespace {

// As the heap's "less": puts the worst candidate, the latest among equals, on top.
bool Better(const ScoredDocument& a, const ScoredDocument& b) {
  return a.score != b.score ? a.score > b.score : a.document < b.document;
}

}  // namespace

TopSlice::TopSlice(size_t k) : k_(k) {}

void TopSlice::Offer(uint32_t document, float score) {
  const ScoredDocument offered{document, score};
  if (heap_.size() < k_) {
    heap_.push_back(offered);
    std::push_heap(heap_.begin(), heap_.end(), Better);
  } else if (k_ > 0 && Better(offered, heap_.front())) {
    std::pop_heap(heap_.begin(), heap_.end(), Better);
    heap_.back() = offered;
    std::push_heap(heap_.begin(), heap_.end(), Better);
  }
}

float TopSlice::Threshold() const {
  if (k_ == 0) return std::numeric_limits<float>::infinity();
  return heap_.size() < k_ ? -std::numeric_limits<float>::infinity() : heap_.front().score;
}

std::vector<ScoredDocument> TopSlice::Take() {
  std::sort_heap(heap_.begin(), heap_.end(), Better);
  std::vector<ScoredDocument> best;
  best.swap(heap_);
  return best;
}

}  // namespace maxsim
