// The documents and the query that every system is measured on, as bench/data.mjs writes them: a
// folder with
//   shape.txt   documents, tokens per document, dim, query tokens, clusters: numbers in words'
//   place tokens.f32  [documents][tokens][dim], unit length, little-endian query.f32   [query
//   tokens][dim]
#ifndef MAXSIM_BENCH_DATA_H_
#define MAXSIM_BENCH_DATA_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace maxsim::bench {

struct Data {
  size_t documents = 0, document_tokens = 0, dim = 0, query_tokens = 0;
  std::vector<float> tokens, query;

  // False, with a sentence on stderr, when a file is missing or of another size.
  bool Load(const std::string& folder);

  // The first `dim` dims of a document's tokens, or of the first `count` query tokens.
  std::vector<float> Document(size_t document, size_t dims) const;
  std::vector<float> Query(size_t count, size_t dims) const;
};

// xorshift64 (Marsaglia, 2003): which documents a cold measurement draws.
class Random {
 public:
  size_t Below(size_t bound) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<size_t>(state_ % bound);
  }

 private:
  uint64_t state_ = 88172645463325252u;
};

}  // namespace maxsim::bench

#endif  // MAXSIM_BENCH_DATA_H_
