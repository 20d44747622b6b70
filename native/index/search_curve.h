// How far a search goes down its candidates.
#ifndef MAXSIM_INDEX_SEARCH_CURVE_H_
#define MAXSIM_INDEX_SEARCH_CURVE_H_

#include <cstddef>
#include <vector>

namespace maxsim {

// What it takes to find the promised share of the best k documents, as it was measured for some k
// among some number of documents.
struct SearchCurve {
  struct Point {
    double k;
    double depth;   // how many candidates hold them
    double margin;  // how far their scores as candidates lie below the k-th best score, at most,
                    // per length of the query's tokens; infinite where that was not found
  };
  std::vector<Point> points;  // by k, ascending
  double documents = 0;
  // Whether queries were measured that were really asked. Else the margin alone is no reason to
  // stop: ranks carry over from made-up queries to real ones, gaps between scores less well.
  bool asked = false;

  // For k of `matching` documents, which are part of `all`. Those in question are the best ones of
  // a part, so k of them reach as deep as k / share of all do. Between points a power of k, and
  // where there are more documents than were measured among, so many times more.
  size_t Depth(double k, double matching, double all) const;
  // The same of the margin, which has to do with what centroids leave out and not with how many
  // documents there are.
  double Margin(double k, double matching, double all) const;

 private:
  struct Between {
    const Point &below, &above;
    double part;  // of the way from one to the other
  };
  Between Place(double k) const;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SEARCH_CURVE_H_
