// Learns a codebook from token vectors: k-means centroids and the weights of what is left over.
#ifndef MAXSIM_MAXSIM_TRAINING_H_
#define MAXSIM_MAXSIM_TRAINING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "maxsim/codebook.h"
#include "platform/status.h"

namespace maxsim {

// Documents to learn from, by number; thread-safe.
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  virtual size_t document_count() const = 0;
  virtual uint32_t TokenCount(size_t document) const = 0;
  // Row-major [TokenCount][dim] floats.
  virtual void Vectors(size_t document, float* vectors) const = 0;
};

// Fewer tokens say too little: centroids would be memorised, and later tokens fit none of them.
inline constexpr uint64_t kFewestTrainingTokens = 4096;

struct TrainingOptions {
  uint32_t bits = 4;
  uint32_t dim = 0;
  // 0: the largest power of two that is at most 16 * sqrt(tokens), as PLAID has it (Santhanam et
  // al., 2022), and at most an eighth of the tokens.
  uint32_t centroid_count = 0;
  uint64_t seed = 0;
  const std::atomic<bool>* cancelled = nullptr;
  std::atomic<float>* progress = nullptr;  // 0 to 1
};

// Lloyd's k-means over a random sample of unit-length tokens, in whole numbers: tokens of 7 bits,
// centroids of 8, sums exact. So the codebook depends on tokens, options and seed, and on nothing
// else: not on the machine, nor on how many threads share the work. The weights are Lloyd's scalar
// quantiser of the differences between tokens that were held back and their centroids. Fails with
// INVALID_ARGUMENT (too few tokens) or ABORTED.
Status TrainCodebook(const TokenSource& source, const TrainingOptions& options,
                     std::shared_ptr<const Codebook>* codebook);

// What centroid_count 0 stands for.
uint32_t DefaultCentroidCount(uint64_t token_count);

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_TRAINING_H_
