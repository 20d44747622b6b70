// AVX-VNNI kernels (with AVX2 and FMA): a query and documents in, MaxSim scores out, int8 bit-equal
// to scalar.cpp. For CPUs that have VPDPBUSD on 256-bit vectors in its VEX encoding and no AVX-512.
// The tiles, and all of f32, are those of avx2.cpp (ymm.h).
#include <immintrin.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/blocks.h"
#include "maxsim/kernels/ymm.h"

// "{vex}", because an assembler may prefer the EVEX encoding, which is AVX-512's. The tests define
// that one instead, to run this file on CPUs that have no other (test/avxvnni_evex.cpp).
#if !defined(MAXSIM_VPDPBUSD)
#define MAXSIM_VPDPBUSD "%{vex%} vpdpbusd"
#endif

namespace {

// Exact for 8- and 7-bit queries alike: VPDPBUSD adds four products to an int32 without saturating,
// and 1024 dims * 255 * 127 < 2^25. Through inline assembly for the reason that avx512.cpp gives:
// g++ copies and spills the accumulators of the intrinsic.
MAXSIM_INLINE void AddFourProducts(__m256i& dot, __m256i document, __m256i query) {
#if defined(__GNUC__)
  __asm__(MAXSIM_VPDPBUSD " %2, %1, %0" : "+x"(dot) : "x"(document), "x"(query));
#else
  dot = _mm256_dpbusd_avx_epi32(dot, document, query);
#endif
}

void BlockInt8(const MaxsimQueryInt8* /*query*/, const int8_t* tokens, const int32_t* bias,
               const Rows& rows, int32_t* maxima) {
  if (rows.count >= kTile) return PassInt8<kTile, AddFourProducts>(tokens, bias, rows, maxima);
  PassInt8<1, AddFourProducts>(tokens, bias, rows, maxima);
}

}  // namespace

const MaxsimKernels kMaxsimAvxVnni = {"avxvnni", ScoreInt8<BlockInt8>, ScoreF32<BlockF32>};
