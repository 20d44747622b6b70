// AVX2 + FMA + F16C kernels: the passes of passes.h over 256-bit vectors. Which way integers are
// multiplied depends on the query: VPMADDUBSW takes 7 bits exactly, 8 bits are widened.
#include <immintrin.h>

#include "maxsim/kernels/passes.h"
#include "maxsim/kernels/ymm.h"

namespace {

// 7-bit queries: u8 x s8 pairs into int16, then int32. Exact for them only: 2 * 255 * 63 < 2^15, so
// VPMADDUBSW cannot saturate. 1024 dims * 255 * 63 < 2^24: nor can an int32 overflow.
MAXSIM_INLINE void AddSevenBit(__m256i& dot, __m256i document, __m256i query) {
#if defined(__GNUC__)
  // In assembly, with the ones in memory: all 16 registers are taken, and g++ would rather spill
  // accumulators (83 % of the peak instead of 97 %).
  alignas(32) static const int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  __m256i pairs;
  __asm__("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
          : "+x"(dot), "=&x"(pairs)
          : "x"(document), "x"(query), "m"(kOnes));
#else
  const __m256i pairs = _mm256_maddubs_epi16(document, query);
  dot = _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

typedef Ymm<AddSevenBit> SevenBit;

// 8-bit queries: every value widened to int16 where it stands, even and odd dims apart, so that
// VPMADDWD of the even ones adds dims 0 and 2 of a lane and of the odd ones dims 1 and 3. Exact for
// all values: 2 * 255 * 127 fits int32, and 1024 dims * 255 * 127 < 2^25. The query is widened once
// per document (a few per cent of a long one), document tokens in registers (widening them to
// memory was no faster).
struct EightBit : SevenBit {
  // A step needs even and odd dims of both query vectors (4 ymm) and of the token (2) beside the
  // accumulators, and temporaries. Its chains are additions of latency 1, so 6 of them suffice.
  static constexpr uint32_t kTile = 3, kResidualTile = 3, kResidualOneBlockTile = 3;
  static constexpr bool kSpecialDims = false;  // the slow way of old CPUs: not worth the code

  // [step of 4 dims][vector][even, odd]
  struct Lanes {
    alignas(64) uint8_t wide[kMaxPaddedDim / 4 * 128];

    MAXSIM_INLINE Lanes(const int8_t* tokens, size_t dim) {
      uint8_t* to = wide;
      for (size_t d = 0; d < dim; d += 4) {
        for (int v = 0; v < 2; v++, to += 64, tokens += 32) {
          const __m256i value = _mm256_load_si256((const __m256i*)tokens);
          _mm256_store_si256((__m256i*)to, _mm256_srai_epi16(_mm256_slli_epi16(value, 8), 8));
          _mm256_store_si256((__m256i*)(to + 32), _mm256_srai_epi16(value, 8));
        }
      }
    }
  };

  template <uint32_t T, uint32_t V, typename Hook>
  static MAXSIM_INLINE void Dot(Int (&dot)[T][V], const uint8_t* rows, size_t stride,
                                const Lanes& query, size_t /*dim*/, size_t begin, size_t end,
                                Hook& hook) {
    const __m256i low_bytes = _mm256_set1_epi16(0xff);
    const uint8_t* lanes = query.wide + begin / 4 * 128;
    const uint8_t* row = rows + begin;
    for (size_t d = begin; d < end; d += 4) {
      hook();
      Int q[2 * V];
      MAXSIM_UNROLL for (uint32_t v = 0; v < 2 * V; v++) {
        q[v] = _mm256_load_si256((const __m256i*)(lanes + v * 32));
      }
      lanes += 128;
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        const Int value = _mm256_set1_epi32(ReadInt32(row + t * stride));
        const Int even = _mm256_and_si256(value, low_bytes);
        const Int odd = _mm256_srli_epi16(value, 8);
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
          dot[t][v] = _mm256_add_epi32(dot[t][v], _mm256_madd_epi16(even, q[2 * v]));
          dot[t][v] = _mm256_add_epi32(dot[t][v], _mm256_madd_epi16(odd, q[2 * v + 1]));
        }
      }
      row += 4;
    }
  }
};

template <bool kTokenScales>
void ScoreInt8(const MaxsimQueryInt8* query, const MaxsimDocument* documents, size_t document_count,
               MaxsimExit* exit, float* scores) {
  (query->bits > 7
       ? ScoreBytes<EightBit, kTokenScales>
       : ScoreBytes<SevenBit, kTokenScales>)(query, documents, document_count, exit, scores);
}

void ScoreResidualOfAny(const MaxsimQueryInt8* query, const MaxsimResidual* residual,
                        const MaxsimDocument* documents, size_t document_count, MaxsimExit* exit,
                        float* scores) {
  (query->bits > 7 ? ScoreResidual<EightBit> : ScoreResidual<SevenBit>)(query, residual, documents,
                                                                        document_count, exit,
                                                                        scores);
}

void FillTableOfAny(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids,
                    const uint32_t* ids, size_t count) {
  (query->bits > 7 ? FillTable<EightBit> : FillTable<SevenBit>)(query, centroids, ids, count);
}

}  // namespace

const MaxsimKernels kMaxsimAvx2 = {"avx2",
                                   ScoreInt8<false>,
                                   ScoreInt8<true>,
                                   ScoreResidualOfAny,
                                   ScoreFloats<SevenBit, F32Source<2>>,
                                   ScoreFloats<SevenBit, HalfSource<1, SevenBit::FromHalves>>,
                                   ScoreFloats<SevenBit, HalfSource<1, SevenBit::FromBfloat16s>>,
                                   FillTableOfAny,
                                   Nearest<SevenBit>,
                                   EncodeInt8,
                                   ScanCodes,
                                   ToBytes};
