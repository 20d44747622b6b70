// What the steps of a search cost on this machine, in nanoseconds of one thread: measured once in a
// process, in a few milliseconds, so that one query is always searched in one way.
#ifndef MAXSIM_INDEX_COST_H_
#define MAXSIM_INDEX_COST_H_

#include <cstddef>

#include "index/segment_format.h"
#include "maxsim/query.h"

namespace maxsim {

struct Costs {
  double product_ns;  // of a query token with a token of 1 dim, stored as int8
  double fill_ns;     // of a query token with a centroid of 1 dim, for a byte of a table
  double code_ns;     // a code looked up for 16 query tokens
  double posting_ns;  // a document added up

  // Of a query with one stored token.
  double TokenNs(const VectorFormat& format, const PreparedQuery& query) const;
  // Of 16 query tokens with a centroid.
  double RowNs(size_t dim) const { return fill_ns * static_cast<double>(dim) * 16; }

  static const Costs& Measured();
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_COST_H_
