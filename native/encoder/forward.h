// Token ids in, vectors out. No token is ever computed that nobody asked for: sequences of any
// lengths are packed into one matrix of rows, and only attention looks at them one by one.
//
// What comes out for a sequence is the same to the bit, whatever else is in the batch, however many
// threads there are and whichever kernels run: every row is computed by itself, and kernel.h fixes
// each float operation.
#ifndef MAXSIM_ENCODER_FORWARD_H_
#define MAXSIM_ENCODER_FORWARD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "encoder/kernel.h"
#include "encoder/model_reader.h"
#include "platform/status.h"

namespace maxsim {

struct TokenBatch {
  std::span<const int32_t> ids;       // of all sequences, back to back
  std::span<const int32_t> types;     // of as many tokens, or empty: 0
  std::span<const uint32_t> lengths;  // of each sequence, 1 or more
  // Of each sequence, how many tokens, its first ones, are looked at; those after them (expansion
  // that is not attended to) look, and get vectors. Empty: all.
  std::span<const uint32_t> attended;
};

struct ForwardOptions {
  size_t threads = 1;
  // Asked between layers: an error ends the work and is returned.
  std::function<Status()> check;
  // [layers][2][hidden], or empty: becomes the largest magnitude of each channel in the rows that a
  // split may serve. For choosing channels.
  std::span<float> largest;
};

class Encoder {
 public:
  explicit Encoder(std::shared_ptr<const EncoderModel> model,
                   const EncoderKernels* kernels = nullptr);  // null: chosen for this CPU
  ~Encoder();

  const EncoderModel& model() const { return *model_; }

  // Floats that Forward gives: [tokens or sequences][outputs].
  size_t OutputSize(const TokenBatch& batch) const;
  // INVALID_ARGUMENT where the batch is not one of this model's; INVALID_MODEL where a vector is
  // not finite; what `check` says; std::bad_alloc. Thread-safe.
  Status Forward(const TokenBatch& batch, const ForwardOptions& options,
                 std::span<float> output) const;

 private:
  struct Workspace;
  class Run;
  Status Validate(const TokenBatch& batch, std::span<float> output) const;

  const std::shared_ptr<const EncoderModel> model_;
  const EncoderKernels& kernels_;
  // Of calls that have ended, for those to come.
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> spare_;
};

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_FORWARD_H_
