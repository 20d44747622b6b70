// The parts of a forward pass that no kernel need do, in one order of float operations everywhere
// (compiled without contraction).
#ifndef MAXSIM_ENCODER_HEAD_H_
#define MAXSIM_ENCODER_HEAD_H_

#include <cstddef>
#include <cstdint>

namespace maxsim {

// sum[i] = word[i] * scale[0] + scale[1] + (position[i] + type[i])
void AddEmbeddings(const uint8_t* word, const float* scale, const float* position,
                   const float* type, size_t hidden, float* sum);
// Of `count` rows, added up one after the other.
void MeanOf(const float* rows, size_t count, size_t hidden, float* mean);
// Within 3e-7 of tanh.
void ApplyTanh(float* values, size_t count);
// A vector of zeros stays.
void ToLengthOne(float* vector, size_t dim);

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_HEAD_H_
