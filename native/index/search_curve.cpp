#include "index/search_curve.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace maxsim {

size_t SearchCurve::Depth(double k, double matching, double all) const {
  const double share = all > 0 ? matching / all : 1;
  const double wanted = share > 0 ? k / share : k;
  double depth;
  if (points.empty()) {
    // Nothing was measured: what sufficed where it was, and a half more.
    depth = 30 * wanted + 4 * std::sqrt(all);
  } else {
    const auto [below, above, part] = Place(wanted);
    if (wanted > points.back().k) {
      depth = above.depth * wanted / above.k;
    } else {
      depth = below.depth * std::pow(above.depth / below.depth, part);
    }
    if (documents > 0) depth *= std::max(1., all / documents);
  }
  const double least = std::max(4 * k, 64.);
  return static_cast<size_t>(std::min(std::ceil(std::max(depth * share, least)), matching));
}

double SearchCurve::Margin(double k, double matching, double all) const {
  if (points.empty()) return std::numeric_limits<double>::infinity();
  const auto [below, above, part] = Place(matching > 0 ? k * all / matching : k);
  if (!std::isfinite(below.margin) || !std::isfinite(above.margin)) {
    return std::numeric_limits<double>::infinity();
  }
  return below.margin + (above.margin - below.margin) * part;
}

SearchCurve::Between SearchCurve::Place(double k) const {
  size_t next = 0;
  while (next < points.size() && points[next].k < k) next++;
  if (next == 0) return {points.front(), points.front(), 0};
  if (next == points.size()) return {points.back(), points.back(), 0};
  const Point &below = points[next - 1], &above = points[next];
  return {below, above, std::log(k / below.k) / std::log(above.k / below.k)};
}

}  // namespace maxsim
