// What is measured of a codec: one entry per codec and query precision, and how a kernel set scores
// its documents. Another codec is another entry of Codings() and a case in ScoreWith.
#ifndef MAXSIM_BENCH_CODING_H_
#define MAXSIM_BENCH_CODING_H_

#include <memory>
#include <span>
#include <vector>

#include "data.h"
#include "maxsim/centroid_table.h"
#include "maxsim/codec.h"
#include "maxsim/kernel.h"
#include "maxsim/query.h"

namespace maxsim::bench {

struct Coding {
  Codec codec;
  unsigned query_bits;  // 8, or 7: what AVX2 kernels are fast with
};

std::span<const Coding> Codings();

// False where a kernel set has no kernel of this codec.
bool CanScore(const MaxsimKernels& kernels, Codec codec);
// Whether two sets use the same kernel for this codec.
bool SameKernel(const MaxsimKernels& a, const MaxsimKernels& b, Codec codec);

// As Scanner::Scan, with the kernels of a given set.
void ScoreWith(const MaxsimKernels& kernels, const PreparedQuery& query, const TokenFormat& format,
               const CentroidTable& table, const MaxsimDocument* documents, size_t count,
               float* scores);

// Encoded documents at the alignment they have in a segment, repeated until they fill `bytes`.
class Store {
 public:
  Store(const Data& data, const TokenFormat& format, size_t dim, size_t bytes);

  const TokenFormat& format() const { return format_; }
  size_t document_count() const { return document_count_; }
  MaxsimDocument Document(size_t i) const {
    return {bytes_.get() + i * stride_, static_cast<uint32_t>(document_tokens_)};
  }

 private:
  struct Free {
    void operator()(uint8_t* bytes) const;
  };
  TokenFormat format_;
  size_t document_tokens_, stride_, document_count_;
  std::unique_ptr<uint8_t, Free> bytes_;
};

// The format an index of this data would have: its scale, or the codebook it would learn.
TokenFormat LearnFormat(const Data& data, Codec codec, size_t dim);

}  // namespace maxsim::bench

#endif  // MAXSIM_BENCH_CODING_H_
