// What every kernel receives and returns: plain C types, so that an ISA-flagged file shares nothing
// with the rest of the program but this header (no STL, no templates of ours, no weak symbols).
//
// Layouts
//   query, lanes-first   Query tokens live in SIMD lanes. A block holds 16 query tokens; the last
//   block
//                        is filled up with zero tokens whose maxima are ignored (their scale is 0).
//     int8 (8- or 7-bit) [block][padded_dim / 4][16 lanes][4 dims] signed bytes
//     f32                [block][padded_dim][16 lanes]
//   document             Row-major token vectors. int8: one unsigned byte per dim, stored as value
//   + 128;
//                        f32: little-endian floats. Rows are padded_dim long (a multiple of 4), the
//                        padding being 128 (int8 zero) or 0.f.
#ifndef MAXSIM_MAXSIM_KERNEL_H_
#define MAXSIM_MAXSIM_KERNEL_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { kMaxsimLanes = 16 };  // query tokens per block

// One document of a store: its first token's row and how many rows follow (1 or more).
struct MaxsimDocument {
  const void* tokens;
  uint32_t token_count;
};

struct MaxsimQueryInt8 {
  const int8_t* tokens;  // int8 layout above, 64-byte aligned; |value| <= 127 (8-bit) or 63 (7-bit)
  const int32_t* bias;   // [block][16]: -128 * sum of the token's values; accumulators of unsigned
                         // bytes start here, and end as the exact signed dot product
  const float* scale;    // [block][16]: query scale of each token; 0 in unused lanes
  float document_scale;  // the codec's scale: float value = (byte - 128) * document_scale
  uint32_t block_count;  // ceil(query tokens / 16), 1..64
  uint32_t padded_dim;   // multiple of 4, 8..1024
  uint32_t bits;         // 8 or 7: an AVX2 kernel may use saturating instructions only for 7
};

struct MaxsimQueryF32 {
  const float* tokens;  // f32 layout above, 64-byte aligned
  const float* weight;  // [block][16]: 1 for a query token, 0 in unused lanes
  uint32_t block_count;
  uint32_t padded_dim;
};

// scores[i] = MaxSim(query, documents[i]) for every document. Never fails: the caller has
// validated.
typedef void (*MaxsimScoreInt8)(const struct MaxsimQueryInt8* query,
                                const struct MaxsimDocument* documents, size_t document_count,
                                float* scores);
typedef void (*MaxsimScoreF32)(const struct MaxsimQueryF32* query,
                               const struct MaxsimDocument* documents, size_t document_count,
                               float* scores);

struct MaxsimKernels {
  const char* name;  // what MAXSIM_ISA selects: "scalar", "avx2", "avxvnni", ...
  MaxsimScoreInt8 score_int8;
  MaxsimScoreF32 score_f32;
};

extern const struct MaxsimKernels kMaxsimScalar;
extern const struct MaxsimKernels kMaxsimAvx2;     // AVX2 + FMA
extern const struct MaxsimKernels kMaxsimAvxVnni;  // AVX2 + FMA + AVX-VNNI
extern const struct MaxsimKernels kMaxsimAvx512;   // AVX-512 F, BW, VL, DQ, VNNI
extern const struct MaxsimKernels kMaxsimNeon;     // Armv8.2 + dot product

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // MAXSIM_MAXSIM_KERNEL_H_
