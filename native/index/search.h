// START HERE: how the best documents of a whole index are found. In one of three ways:
//
//   exhaustive   every document is scored
//   scan         every document's centroids are looked up in a table of bytes (CandidateTable);
//                the best candidates are scored
//   lists        the documents of the centroids that are nearest to each query token are added up;
//                the best of them are looked up as in a scan, and the best candidates scored
//
// Candidates are scored in their order, until they lie so far below the k-th best score that what
// follows is unlikely to reach it: by a margin that was measured for the share that is to be found.
//
// The last two need codes (codes_reader.h). Documents of segments without codes are scored in any
// case. With `exact`, what was scored gives the k-th best score, and every document that a bound
// cannot keep below it is scored too (bounds.h): the result is that of an exhaustive search.
#ifndef MAXSIM_INDEX_SEARCH_H_
#define MAXSIM_INDEX_SEARCH_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "index/snapshot.h"

namespace maxsim {

enum class SearchMethod { kAuto, kExhaustive, kScan, kLists };

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

struct SearchOptions {
  RankOptions rank;
  SearchMethod method = SearchMethod::kAuto;
  bool exact = false;
  size_t depth = 0;  // so many are scored; 0: by the curve of the method
  SearchCurve scan, lists;
  Threads threads = Threads::kShared;
};

// What a search did.
struct SearchReport {
  SearchMethod method = SearchMethod::kExhaustive;
  const char* reason = "";
  bool certified = false;  // equal to an exhaustive search
  uint64_t documents = 0;  // that are live, and match
  uint64_t depth = 0;      // candidates that were scored
  uint64_t codes = 0;      // looked up
  uint64_t postings = 0;   // added up
  uint64_t scored = 0;     // documents with the index's codec
  uint64_t excluded = 0;   // documents that a bound kept out
  double table_ms = 0, candidates_ms = 0, scoring_ms = 0;
  // By the model of cost.h; negative where a method is not to be had.
  double exhaustive_estimate_ms = -1, scan_estimate_ms = -1, lists_estimate_ms = -1;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SEARCH_H_
