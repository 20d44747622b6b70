// bf16 documents by VDPBF16PS, for CPUs that have AVX512_BF16 and are fast at it; the other kernels
// of this set are avx512's, and dispatch.cpp puts them together.
#include "maxsim/kernels/passes.h"
#include "maxsim/kernels/zmm.h"

namespace {

struct ZmmBfloat16 : Zmm {
  // Rows and lanes are pairs of bfloat16; a step takes 2 dims.
  template <uint32_t T, uint32_t V, typename Hook>
  static MAXSIM_INLINE void DotFloats(Float (&dot)[T][V], const uint8_t* rows,
                                      const uint16_t* lanes, size_t dim, Hook& hook) {
    const size_t block_values = dim * kMaxsimLanes, stride = dim * sizeof(uint16_t);
    for (size_t d = 0; d < dim; d += 4) {
      hook();
      for (int step = 0; step < 2; step++) {
        Int q[V];
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
          q[v] = _mm512_load_si512(lanes + v * block_values);
        }
        lanes += 2 * kMaxsimLanes;
        MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
          const Int pair = Broadcast(rows + t * stride);
          MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) AddPairs(dot[t][v], pair, q[v]);
        }
        rows += 2 * sizeof(uint16_t);
      }
    }
  }

 private:
  // In assembly for the reason that zmm.h gives.
  static MAXSIM_INLINE void AddPairs(Float& dot, Int document, Int query) {
#if defined(__GNUC__)
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(dot) : "v"(document), "v"(query));
#else
    dot = _mm512_dpbf16_ps(dot, (__m512bh)document, (__m512bh)query);
#endif
  }
};

struct Bfloat16Source {
  static constexpr size_t kBytes = 2;
  static constexpr uint32_t kFetchLines = 2;
  static MAXSIM_INLINE const uint16_t* Lanes(const MaxsimQueryF32& query) {
    return query.bf16_tokens;
  }
  template <uint32_t T>
  struct Tile {
    MAXSIM_INLINE const uint8_t* Read(const uint8_t* rows, size_t /*dim*/) { return rows; }
  };
};

}  // namespace

const MaxsimKernels kMaxsimAvx512Bf16 = {"avx512bf16",
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         ScoreFloats<ZmmBfloat16, Bfloat16Source>,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr};
