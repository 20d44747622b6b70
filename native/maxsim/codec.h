// Token vectors to stored bytes and back.
#ifndef MAXSIM_MAXSIM_CODEC_H_
#define MAXSIM_MAXSIM_CODEC_H_

#include <cstddef>
#include <cstdint>

#include "maxsim/scan.h"

namespace maxsim {

// Bytes of one stored token.
size_t TokenBytes(Codec codec, size_t dim);

// int8 is the rotation of rotation.h, then one byte per dim, round(value / scale) + 128.

// Encodes row-major [token_count][dim] floats into token_count * TokenBytes bytes. int8 rounds half
// to even and clamps to [-127, 127]; returns how many components were clamped (0 for f32).
size_t EncodeTokens(TokenFormat format, const float* tokens, size_t token_count, size_t dim,
                    uint8_t* bytes);

// The inverse: token_count * dim floats (padding dropped).
void DecodeTokens(TokenFormat format, const uint8_t* bytes, size_t token_count, size_t dim,
                  float* tokens);

// The largest magnitude that int8 would have to hold of these tokens, NaN if one is not finite:
// what a scale is chosen from.
float LargestStoredMagnitude(const float* tokens, size_t token_count, size_t dim);

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_CODEC_H_
