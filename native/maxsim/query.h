// A query prepared once and scored against many documents: quantised to signed bytes per token and
// packed lanes-first for the kernels (layouts in kernel.h).
#ifndef MAXSIM_MAXSIM_QUERY_H_
#define MAXSIM_MAXSIM_QUERY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "maxsim/kernel.h"

namespace maxsim {

inline constexpr size_t kMinDim = 8, kMaxDim = 1024;
inline constexpr size_t kMaxQueryTokens = 1024;
inline constexpr size_t kMaxDocumentTokens = 65535;
// Larger components are no embeddings; below it no product, sum or rotation in f32 can overflow.
inline constexpr float kMaxMagnitude = 1e15f;

// Rows are stored and scored at the next multiple of 4: one VNNI step takes 4 dims.
inline constexpr size_t PaddedDim(size_t dim) { return (dim + 3) & ~size_t{3}; }

class PreparedQuery {
 public:
  // tokens: row-major [token_count][dim], finite; bits: 8 or 7. The caller has checked all four.
  PreparedQuery(const float* tokens, size_t token_count, size_t dim, unsigned bits);

  size_t token_count() const { return token_count_; }
  size_t dim() const { return dim_; }
  unsigned bits() const { return bits_; }

  // The two faces the kernels take; pointers stay valid as long as this object lives.
  MaxsimQueryInt8 Int8(float document_scale) const;
  MaxsimQueryF32 F32() const;

 private:
  struct FreeAligned {
    void operator()(void* p) const;
  };
  template <typename T>
  using Aligned = std::unique_ptr<T[], FreeAligned>;

  size_t token_count_, dim_, padded_dim_, block_count_;
  unsigned bits_;
  Aligned<int8_t> int8_tokens_;
  Aligned<int32_t> bias_;
  Aligned<float> scale_;
  Aligned<float> f32_tokens_;
  Aligned<float> weight_;
};

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_QUERY_H_
