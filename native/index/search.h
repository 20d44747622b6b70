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

#include "index/search_curve.h"
#include "index/snapshot.h"

namespace maxsim {

enum class SearchMethod { kAuto, kExhaustive, kScan, kLists };

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
