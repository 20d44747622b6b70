// Tensors in, the file of an encoder out.
#ifndef MAXSIM_ENCODER_MODEL_WRITER_H_
#define MAXSIM_ENCODER_MODEL_WRITER_H_

#include <cstdint>
#include <span>
#include <string>

#include "encoder/model_shape.h"
#include "platform/status.h"

namespace maxsim {

// As model_format.h has them, but for `weights`: rows [outputs][inputs] without slots, of each
// linear layer of each block, back to back.
struct ModelTensors {
  ModelShape shape;
  std::span<const uint8_t> recipe;
  std::span<const uint8_t> words;
  std::span<const float> word_scales, positions, types, norms;
  std::span<const int32_t> channels;
  std::span<const int8_t> weights;
  std::span<const float> columns;
  std::span<const float> dense;
};

// INVALID_MODEL where tensors do not fit the shape or hold what a reader would refuse; IO_ERROR.
Status WriteModel(const std::string& path, const ModelTensors& tensors);

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_MODEL_WRITER_H_
