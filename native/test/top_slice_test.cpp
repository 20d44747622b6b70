#include "maxsim/top_slice.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "fixtures.h"

using namespace maxsim;

TEST_CASE("the slice is the head of a stable sort, ties in order of arrival") {
  Noise noise(5);
  for (const uint32_t count : {0u, 1u, 7u, 1000u}) {
    std::vector<ScoredDocument> all;
    for (uint32_t i = 0; i < count; i++) all.push_back({i, static_cast<float>(noise.Next() % 50)});
    std::vector<ScoredDocument> sorted = all;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.score > b.score; });
    for (const size_t k : {size_t{0}, size_t{1}, size_t{10}, size_t{999}, size_t{5000}}) {
      TopSlice slice(k);
      for (const ScoredDocument& s : all) slice.Offer(s.document, s.score);
      const std::vector<ScoredDocument> best = slice.Take();
      REQUIRE(best.size() == std::min<size_t>(k, count));
      for (size_t i = 0; i < best.size(); i++) {
        CHECK(best[i].document == sorted[i].document);
        CHECK(best[i].score == sorted[i].score);
      }
      CHECK(slice.Take().empty());
    }
  }
}
