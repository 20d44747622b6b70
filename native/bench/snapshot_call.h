// The work of the addon's snapshot.score, timed where no JavaScript is: what the call from Node
// costs on top is the difference.
#ifndef MAXSIM_BENCH_SNAPSHOT_CALL_H_
#define MAXSIM_BENCH_SNAPSHOT_CALL_H_

#include <string>

#include "data.h"
#include "measurement.h"

namespace maxsim::bench {

// An int8 index as its manifest describes it, of the first documents of the data in one segment.
struct IndexSpec {
  std::string directory, file;
  float scale;
  uint64_t documents, tokens;
  uint32_t header_crc;
};

// False, with a sentence on stderr, when the index cannot be opened.
bool AddSnapshotCalls(const Data& data, const IndexSpec& spec, Measurements* measurements);

}  // namespace maxsim::bench

#endif  // MAXSIM_BENCH_SNAPSHOT_CALL_H_
