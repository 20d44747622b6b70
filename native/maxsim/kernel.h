// What every kernel receives and returns: plain C types, so that an ISA-flagged file shares nothing
// with the rest of the program but this header (no STL, no templates of ours, no weak symbols).
//
// Query layouts, lanes-first. Query tokens live in SIMD lanes: a block holds 16 of them, the last
// block is filled up with zero tokens whose factor is 0.
//   int8 (8- or 7-bit)  [block][padded_dim / 4][16 lanes][4 dims] signed bytes
//   f32                 [block][padded_dim][16 lanes]
//   bf16                [block][padded_dim / 2][16 lanes][2 dims]
//
// Document layouts: one block of bytes per document, at any address; n is its token count.
//   f32         [n][padded_dim] floats, padding 0
//   f16, bf16   [n][padded_dim] halves, padding 0
//   int8        [n][padded_dim] unsigned bytes, value + 128, padding 128
//   int8-token  the same, then [n] f32 scales
//   residual    [n][code_bytes] packed codes, then [n] f16 factors, then [n] centroid ids of
//   id_bytes
// padded_dim is the dim rounded up to a multiple of 4. All numbers are little-endian.
#ifndef MAXSIM_MAXSIM_KERNEL_H_
#define MAXSIM_MAXSIM_KERNEL_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  kMaxsimLanes = 16,  // query tokens per block
  // A kernel may read this many bytes past the end of a residual document, never use them. (In a
  // segment the document table follows.)
  kMaxsimResidualSlack = 64,
};

struct MaxsimDocument {
  const void* tokens;
  uint32_t token_count;  // 1 or more
};

struct MaxsimQueryInt8 {
  const int8_t* tokens;  // int8 layout above, 64-byte aligned; |value| <= 127 (8-bit) or 63 (7-bit)
  const int32_t* bias;   // [block][16]: -128 * sum of the token's values; accumulators of unsigned
                         // bytes start here, and end as the exact signed dot product
  const float* factor;   // [block][16]: query scale of each token; 0 in unused lanes
  float document_scale;  // what a unit of the document side is worth
  uint32_t block_count;  // ceil(query tokens / 16), 1..64
  uint32_t padded_dim;   // multiple of 4, 8..1024
  uint32_t bits;         // 8 or 7: an AVX2 kernel may use saturating instructions only for 7
};

struct MaxsimQueryF32 {
  const float* tokens;   // f32 layout above, 64-byte aligned
  const float* factor;   // [block][16]: 1 for a query token, 0 in unused lanes
  float document_scale;  // 1
  uint32_t block_count;
  uint32_t padded_dim;
  const uint16_t*
      bf16_tokens;  // bf16 layout, the same values (which then are bf16 values), or null
};

// The codec and the prepared centroids of a residual store. A token is
//   factor * (centroid * 2^centroid_shift + weights[code]) * document_scale
// dim by dim; so its products with a query token are
//   factor * (accumulator that starts at table << table_shift, plus query * (weight + 128) summed)
// where a table row holds round((2^centroid_shift * query * centroid - 128 * sum of query)
// / 2^table_shift): the query's half of the work, done once per centroid, and the offset of the
// unsigned weights with it.
struct MaxsimResidual {
  const int16_t* table;  // [centroid][block][16]
  uint32_t table_shift;
  uint32_t bits;        // 4, 2 or 1 per dim
  uint32_t code_bytes;  // per token: padded_dim rounded up to a multiple of 8, * bits / 8
  uint32_t id_bytes;    // 2, 3 or 4
  uint8_t weights[16];  // weight + 128 of each of the 2^bits codes, then repeated to fill 16
};
// Codes are packed in planes: with c = code_bytes, dim d is bits (d / c) * bits .. of byte d % c.

// Rows of the table for some centroids.
struct MaxsimCentroids {
  const uint8_t* rows;      // [centroid][padded_dim], value + 128
  uint32_t centroid_shift;  // the table rows are those of MaxsimResidual
  uint32_t table_shift;
  int16_t* table;
};

// Exact early exit: a kernel that takes a query in several passes gives a document up between two
// of them when it cannot reach `threshold` any more.
struct MaxsimExit {
  float threshold;
  const float* rest;  // [block_count]: at least what the blocks from this one on can add to a score
  size_t skipped;     // how many documents were given up: their scores are -INFINITY
};

typedef void (*MaxsimScoreInt8)(const struct MaxsimQueryInt8* query,
                                const struct MaxsimDocument* documents, size_t document_count,
                                struct MaxsimExit* exit, float* scores);
typedef void (*MaxsimScoreF32)(const struct MaxsimQueryF32* query,
                               const struct MaxsimDocument* documents, size_t document_count,
                               struct MaxsimExit* exit, float* scores);
typedef void (*MaxsimScoreResidual)(const struct MaxsimQueryInt8* query,
                                    const struct MaxsimResidual* residual,
                                    const struct MaxsimDocument* documents, size_t document_count,
                                    struct MaxsimExit* exit, float* scores);
// Fills the rows of `ids[0 .. count)`, or of the centroids 0 .. count where ids is null.
typedef void (*MaxsimFillTable)(const struct MaxsimQueryInt8* query,
                                const struct MaxsimCentroids* centroids, const uint32_t* ids,
                                size_t count);

// Rows to choose from: the one with the largest product with a token, plus the row's term.
struct MaxsimRows {
  const uint8_t* rows;   // [count][padded_dim], value + 128
  const int32_t* terms;  // [count]
  size_t count;          // 1 or more
  uint32_t padded_dim;
};
// best[token] = the row that maximises tokens[token] * row + terms[row], the first of equals.
// tokens: int8 layout, 64-byte aligned, |value| <= 63; best: [block][16].
// largest, unless it is null: [block][16], that maximum less something that depends on the kernel
// and the token alone, so that it can be compared with the same token's among other rows.
typedef void (*MaxsimNearest)(const int8_t* tokens, size_t block_count,
                              const struct MaxsimRows* rows, uint32_t* best, int32_t* largest);

// The rotation of rotation.h for a dim.
struct MaxsimRotation {
  size_t dim;
  size_t transform;          // the largest power of two that is at most dim
  float scale;               // 1 / sqrt(transform)
  const uint64_t* signs[2];  // of each round: a bit per dim, 1 for minus
};

// What became of each of 16 tokens.
struct MaxsimEncodedInt8 {
  float largest[kMaxsimLanes];         // magnitude of a component, rotated; not that of a NaN
  float squares[kMaxsimLanes];         // of the token's length; NaN or infinite as it is
  float stored_squares[kMaxsimLanes];  // of what is stored, in squares of `unit`; exact
  float clamped[kMaxsimLanes];         // components beyond 127 units
};

// Rotates `count` tokens (1 to 16, [count][dim]) and rounds them to bytes, value + 128, in steps of
// `unit`; rows are `stride` apart, dims beyond the last are 128. Each token is stretched by up to
// 2 % so that the product of what is stored with the token itself comes out right: what rounding
// changes along a token would be in its products with all query tokens like it. Any floats may be
// given, and any come out as bytes from 1 to 255.
typedef void (*MaxsimEncodeInt8)(const float* tokens, size_t count,
                                 const struct MaxsimRotation* rotation, float unit, size_t stride,
                                 uint8_t* rows, struct MaxsimEncodedInt8* encoded);

// The centroids of the documents of a segment: those of document i are codes[starts[i]] to
// codes[starts[i + 1] - 1].
struct MaxsimCodes {
  const uint32_t* starts;
  const void* codes;    // numbers of centroids
  uint32_t code_bytes;  // of each: 2 or 4
};
// scores[i] = the sum over the lanes of the largest byte in table[code][lane] among the codes of
// documents[i], or of document first + i where `documents` is null; 0 without codes.
// table: [centroid][block][16].
typedef void (*MaxsimScanCodes)(const uint8_t* table, uint32_t block_count,
                                const struct MaxsimCodes* codes, const uint32_t* documents,
                                uint32_t first, size_t count, uint32_t* scores);
// bytes[row][lane] = (products[row][lane] - zero[lane], within 0 and 2^15 - 1) * row_factor[row] /
// 2^16 * factor[lane] / 2^16, rounded down twice, at most 255. `lanes` is a multiple of 16; factors
// are not negative.
typedef void (*MaxsimToBytes)(const int16_t* products, size_t rows, size_t lanes,
                              const int16_t* zero, const int16_t* row_factor, const int16_t* factor,
                              uint8_t* bytes);

// scores[i] = MaxSim(query, documents[i]) for every document; `exit` may be null. Never fails: the
// caller has validated.
struct MaxsimKernels {
  const char* name;  // what MAXSIM_ISA selects: "scalar", "avx2", "avxvnni", ...
  MaxsimScoreInt8 score_int8;
  MaxsimScoreInt8 score_int8_token;
  MaxsimScoreResidual score_residual;
  MaxsimScoreF32 score_f32;
  MaxsimScoreF32 score_f16;
  MaxsimScoreF32 score_bf16;
  MaxsimFillTable fill_table;
  MaxsimNearest nearest;
  MaxsimEncodeInt8 encode_int8;
  MaxsimScanCodes scan_codes;
  MaxsimToBytes to_bytes;
};

extern const struct MaxsimKernels kMaxsimScalar;
extern const struct MaxsimKernels kMaxsimAvx2;        // AVX2 + FMA + F16C
extern const struct MaxsimKernels kMaxsimAvxVnni;     // AVX2 + FMA + F16C + AVX-VNNI
extern const struct MaxsimKernels kMaxsimAvx512;      // AVX-512 F, BW, VL, DQ, VNNI
extern const struct MaxsimKernels kMaxsimAvx512Bf16;  // and BF16, for score_bf16
extern const struct MaxsimKernels kMaxsimNeon;        // Armv8.2 + dot product

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // MAXSIM_MAXSIM_KERNEL_H_
