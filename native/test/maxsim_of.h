// MaxSim of floats as its definition reads, in double precision.
#ifndef MAXSIM_TEST_MAXSIM_OF_H_
#define MAXSIM_TEST_MAXSIM_OF_H_

#include <algorithm>
#include <cmath>
#include <vector>

namespace maxsim {

inline double NaiveMaxSim(const std::vector<float>& query, const std::vector<float>& document,
                          size_t dim) {
  double score = 0;
  for (size_t q = 0; q < query.size(); q += dim) {
    double best = -INFINITY;
    for (size_t t = 0; t < document.size(); t += dim) {
      double dot = 0;
      for (size_t d = 0; d < dim; d++) {
        dot += static_cast<double>(query[q + d]) * static_cast<double>(document[t + d]);
      }
      best = std::max(best, dot);
    }
    score += best;
  }
  return score;
}

// What the score could be at most: the sum over query tokens of |query token| * |longest document
// token|. Two orders of summing floats may lie 1e-5 of it apart.
inline double ScoreBound(const std::vector<float>& query, const std::vector<float>& document,
                         size_t dim) {
  const auto norm = [dim](const float* v) {
    double sum = 0;
    for (size_t d = 0; d < dim; d++) sum += static_cast<double>(v[d]) * v[d];
    return std::sqrt(sum);
  };
  double longest = 0, sum = 0;
  for (size_t t = 0; t < document.size(); t += dim) longest = std::max(longest, norm(&document[t]));
  for (size_t t = 0; t < query.size(); t += dim) sum += norm(&query[t]) * longest;
  return sum;
}

}  // namespace maxsim

#endif  // MAXSIM_TEST_MAXSIM_OF_H_
