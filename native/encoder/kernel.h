// What every encoder kernel receives and returns: plain C types, so that an ISA-flagged file shares
// nothing with the rest of the program but this header (no STL, no templates of ours, no weak
// symbols).
//
// All kernels give the same bits on every CPU: integers are exact, and every float operation has
// one order. Lanes: vectors of 16 floats, element i in lane i % 16; a sum over lanes is a tree of
// widths 8, 4, 2, 1; multiplications and additions are fused exactly where the source says so.
//
// Activations are rows of bytes: value = (byte - zero) * scale, zero 128 unless the row has its
// own. Weights are panels of 32 outputs, [outputs / 32][inputs / 4][32][4] signed bytes, one scale
// per output. Panels and rows of floats are 64-byte aligned.
#ifndef MAXSIM_ENCODER_KERNEL_H_
#define MAXSIM_ENCODER_KERNEL_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  kEncoderLanes = 16,
  kEncoderPanel = 32,  // outputs per panel
  kEncoderTile = 12,   // rows that are multiplied at once
  kEncoderSlots = 16,  // the most added inputs of a split
};

struct EncoderRows {
  const uint8_t* bytes;  // [count][stride]
  size_t stride;
  const float* scale;   // [count]
  const int32_t* zero;  // [count], or null: 128
  uint32_t count;
};

// A linear layer. 255 * 127 * inputs < 2^31 holds up to 2^16 inputs.
struct EncoderLinear {
  const int8_t* panels;
  const float* scale;   // [outputs]
  const float* bias;    // [outputs]
  const int32_t* sums;  // [outputs]: the weights of an output, added up
  uint32_t inputs;      // a multiple of 4
};

// Where a product goes: row r, output 32 * p + c at values[r * row_stride + p * panel_stride + c].
// Both strides are multiples of 16.
struct EncoderOutput {
  float* values;
  size_t row_stride, panel_stride;
};

// Products of all rows with the panels begin to end - 1; `begin` is the first that `output` has.
typedef void (*EncoderLinearKernel)(const struct EncoderRows* rows,
                                    const struct EncoderLinear* linear, uint32_t begin,
                                    uint32_t end, const struct EncoderOutput* output);
// The same, added to `residual`, which is laid out as `output` is.
typedef void (*EncoderLinearResidual)(const struct EncoderRows* rows,
                                      const struct EncoderLinear* linear, uint32_t begin,
                                      uint32_t end, const float* residual,
                                      const struct EncoderOutput* output);

enum EncoderActivation { kEncoderGelu, kEncoderGeluTanh, kEncoderRelu, kEncoderActivations };
// The same, through an activation. largest: [count][16], a maximum per lane, 0 or more.
typedef void (*EncoderLinearActivate)(const struct EncoderRows* rows,
                                      const struct EncoderLinear* linear, uint32_t begin,
                                      uint32_t end, enum EncoderActivation activation,
                                      const struct EncoderOutput* output, float* largest);

// Bytes of what EncoderLinearActivate gave: the smallest value of an activation is known, so each
// row gets a zero of its own and wastes no codes below it.
typedef void (*EncoderQuantiseActivated)(const struct EncoderOutput* values, uint32_t count,
                                         uint32_t columns, enum EncoderActivation activation,
                                         const float* largest, uint8_t* bytes, float* scale,
                                         int32_t* zero);

// Bytes with zero 128 of rows of floats; scale[r] is multiplied by `factor`. columns: a multiple of
// 16.
typedef void (*EncoderQuantise)(const float* values, size_t stride, uint32_t count,
                                uint32_t columns, float factor, uint8_t* bytes, float* scale);

// A few channels of a normalised row are far larger than all others, and would alone set the step
// of its bytes. A channel with k copies beside itself counts for 1 / (k + 1) when the step is
// chosen, and its copies take what is above 127 steps: added inputs with the same weights.
struct EncoderSplit {
  uint32_t slots;                  // added inputs, a multiple of 4, at most kEncoderSlots
  int32_t channel[kEncoderSlots];  // of each slot; 0 where it is not used
  float below[kEncoderSlots];      // steps that the channel and earlier copies take; huge: not used
  const float* share;              // [hidden]: 1 / (copies + 1)
};
struct EncoderNorm {
  const float* gamma;  // [hidden]
  const float* beta;
  float epsilon;
  uint32_t hidden;  // a multiple of 32
};
// LayerNorm of rows [count][hidden]: floats to `normal`, bytes and those of the slots to
// [count][hidden + slots]. `normal` may be `values`. No bytes where `split` is null.
typedef void (*EncoderNormalise)(const float* values, uint32_t count,
                                 const struct EncoderNorm* norm, const struct EncoderSplit* split,
                                 float* normal, uint8_t* bytes, float* scale);

// One head of one sequence: `query_count` tokens look at `tokens`.
struct EncoderHead {
  const uint8_t* queries;    // [query_count][dim], zero 128
  const float* query_scale;  // [query_count], with log2(e) / sqrt(dim)
  const uint8_t* keys;       // [tokens][dim], zero 128
  const float* key_scale;    // [tokens]
  const float* values;       // [tokens][dim]
  uint32_t tokens;           // 1 to kEncoderMostTokens
  uint32_t dim;              // a multiple of 32
  uint32_t query_count;      // 1 or more
  float* context;            // [query_count], rows context_stride apart
  size_t context_stride;
  uint8_t* scratch;  // EncoderScratchBytes(tokens, dim), 64-byte aligned
};
enum { kEncoderMostTokens = 8192 };  // 65280 * 8192 < 2^31: the sum of a row of weights
typedef void (*EncoderAttend)(const struct EncoderHead* head);

// out[r] = bias + values[r] * weights, added up input by input. weights: [inputs][outputs]; outputs
// is a multiple of 32.
typedef void (*EncoderProject)(const float* values, size_t stride, uint32_t count,
                               const float* weights, const float* bias, uint32_t inputs,
                               uint32_t outputs, float* out, size_t out_stride);

struct EncoderKernels {
  const char* name;  // what MAXSIM_ISA selects
  EncoderLinearKernel linear;
  EncoderLinearResidual linear_residual;
  EncoderLinearActivate linear_activate;
  EncoderQuantiseActivated quantise_activated;
  EncoderQuantise quantise;
  EncoderNormalise normalise;
  EncoderAttend attend;
  EncoderProject project;
};

extern const struct EncoderKernels kEncoderScalar;
extern const struct EncoderKernels kEncoderAvx2;     // AVX2 + FMA
extern const struct EncoderKernels kEncoderAvxVnni;  // AVX2 + FMA + AVX-VNNI
extern const struct EncoderKernels kEncoderAvx512;   // AVX-512 F, BW, VL, DQ, VNNI

// The parts of a head's scratch, in bytes, each a multiple of 64.
struct EncoderScratch {
  size_t padded;  // tokens rounded up to a panel
  size_t keys, values, key_sums, key_scale, key_bias, scores, weights;
  size_t total;
};
static inline struct EncoderScratch EncoderScratchOf(size_t tokens, size_t dim) {
  struct EncoderScratch s;
  s.padded = (tokens + kEncoderPanel - 1) / kEncoderPanel * kEncoderPanel;
  s.keys = s.padded * dim;
  s.values = s.padded * dim;
  s.key_sums = s.key_scale = s.key_bias = s.padded * 4;
  s.scores = kEncoderTile * s.padded * 4;
  s.weights = 2 * kEncoderTile * s.padded;  // high bytes, then low bytes
  s.total = s.keys + s.values + s.key_sums + s.key_scale + s.key_bias + s.scores + s.weights;
  return s;
}

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // MAXSIM_ENCODER_KERNEL_H_
