// A query prepared once and scored against many documents. It has a face per kind of codec: signed
// bytes per token for the integer ones, floats, or bfloat16 values, each packed lanes-first for the
// kernels (layouts in kernel.h) and made when it is first asked for.
#ifndef MAXSIM_MAXSIM_QUERY_H_
#define MAXSIM_MAXSIM_QUERY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

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
  size_t block_count() const { return block_count_; }

  // The faces that kernels take; pointers stay valid as long as this object lives. Thread-safe.
  MaxsimQueryInt8 Int8(float document_scale) const;
  MaxsimQueryF32 F32() const;
  MaxsimQueryF32 Bfloat16() const;  // of tokens rounded to bfloat16

  // Lengths of the tokens as Int8() has them, per token, a rounding too long rather than too short;
  // and in units of the token's scale. F32() and Bfloat16() have none longer than lengths().
  std::span<const float> lengths() const;
  std::span<const float> int8_lengths() const;

 private:
  struct FreeAligned {
    void operator()(void* p) const;
  };
  template <typename T>
  using Aligned = std::unique_ptr<T[], FreeAligned>;

  struct Int8Face {
    Aligned<int8_t> tokens;
    Aligned<int32_t> bias;
    Aligned<float> scale;
    std::vector<float> lengths;  // in units of scale
  };
  struct FloatFace {
    Aligned<float> tokens, weight;
    Aligned<uint16_t> bf16_tokens;  // of the bfloat16 face only
  };
  struct Faces {
    std::once_flag int8_once, f32_once, bf16_once;
    Int8Face int8;
    FloatFace f32, bf16;
  };

  const Int8Face& MakeInt8() const;
  void FillFloats(bool round, FloatFace* face) const;
  template <typename T>
  static Aligned<T> Zeros(size_t count);

  size_t token_count_, dim_, padded_dim_, block_count_;
  unsigned bits_;
  std::vector<float> tokens_, lengths_;
  std::unique_ptr<Faces> faces_;
};

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_QUERY_H_
