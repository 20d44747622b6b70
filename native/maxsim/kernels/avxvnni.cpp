// AVX-VNNI kernels (with AVX2, FMA and F16C): the passes of passes.h over 256-bit vectors. For CPUs
// that have VPDPBUSD in its VEX encoding and no AVX-512.
#include <immintrin.h>

#include "maxsim/kernels/passes.h"
#include "maxsim/kernels/ymm.h"

// "{vex}", because an assembler may prefer the EVEX encoding, which is AVX-512's. The tests define
// that one instead, to run this file on CPUs that have no other (test/avxvnni_evex.cpp).
#if !defined(MAXSIM_VPDPBUSD)
#define MAXSIM_VPDPBUSD "%{vex%} vpdpbusd"
#endif

namespace {

// Exact for 8- and 7-bit queries alike: VPDPBUSD adds four products to an int32 without saturating,
// and 1024 dims * 255 * 127 < 2^25. Through inline assembly for the reason that zmm.h gives: g++
// copies and spills the accumulators of the intrinsic.
MAXSIM_INLINE void AddFourProducts(__m256i& dot, __m256i document, __m256i query) {
#if defined(__GNUC__)
  __asm__(MAXSIM_VPDPBUSD " %2, %1, %0" : "+x"(dot) : "x"(document), "x"(query));
#else
  dot = _mm256_dpbusd_avx_epi32(dot, document, query);
#endif
}

typedef Ymm<AddFourProducts> Vnni;

}  // namespace

const MaxsimKernels kMaxsimAvxVnni = {"avxvnni",
                                      ScoreBytes<Vnni, false>,
                                      ScoreBytes<Vnni, true>,
                                      ScoreResidual<Vnni>,
                                      ScoreFloats<Vnni, F32Source<2>>,
                                      ScoreFloats<Vnni, HalfSource<1, Vnni::FromHalves>>,
                                      ScoreFloats<Vnni, HalfSource<1, Vnni::FromBfloat16s>>,
                                      FillTable<Vnni>,
                                      Nearest<Vnni>,
                                      EncodeInt8,
                                      ScanCodes,
                                      ToBytes};
