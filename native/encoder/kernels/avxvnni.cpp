// AVX-VNNI kernels (with AVX2 and FMA), for CPUs that have VPDPBUSD in its VEX encoding and no
// AVX-512.
#include "encoder/kernels/table.h"
#include "encoder/kernels/ymm.h"

// "{vex}", because an assembler may prefer the EVEX encoding, which is AVX-512's. The tests define
// that one instead, to run this file on CPUs that have no other.
#if !defined(MAXSIM_VPDPBUSD)
#define MAXSIM_VPDPBUSD "%{vex%} vpdpbusd"
#endif

namespace {

struct Vnni {
  static constexpr uint32_t kTile = 6;
  typedef __m256i Weights;
  typedef __m256i Activations;
  static ENCODER_INLINE Weights Prepare(__m256i weights) { return weights; }
  static ENCODER_INLINE Activations Spread(__m256i bytes) { return bytes; }
  static ENCODER_INLINE void Accumulate(__m256i& sum, Activations bytes, Weights weights) {
#if defined(__GNUC__)
    __asm__(MAXSIM_VPDPBUSD " %2, %1, %0" : "+x"(sum) : "x"(bytes), "x"(weights));
#else
    sum = _mm256_dpbusd_avx_epi32(sum, bytes, weights);
#endif
  }
};

}  // namespace

const EncoderKernels kEncoderAvxVnni = KernelsOf<Ymm<Vnni>>("avxvnni");
