#include "encoder/model_shape.h"

#include <cmath>

namespace maxsim {
namespace {

bool Within(uint32_t value, uint32_t least, uint32_t most, uint32_t multiple = 1) {
  return value >= least && value <= most && value % multiple == 0;
}

std::string Wrong(const char* what, uint32_t value, const char* expected) {
  return std::string(what) + " is " + std::to_string(value) + ", expected " + expected;
}

}  // namespace

std::string ModelShape::Problem() const {
  if (!Within(hidden, 32, 4096, 32)) return Wrong("hidden", hidden, "a multiple of 32 up to 4096");
  if (!Within(layers, 1, 128)) return Wrong("layers", layers, "1 to 128");
  if (!Within(heads, 1, 128) || hidden % heads != 0 || !Within(hidden / heads, 32, 128, 32)) {
    return Wrong("heads", heads, "a number that makes heads of 32, 64, 96 or 128");
  }
  if (!Within(intermediate, 32, 32768, 32)) {
    return Wrong("intermediate", intermediate, "a multiple of 32 up to 32768");
  }
  if (!Within(vocabulary, 1, 1u << 24)) return Wrong("vocabulary", vocabulary, "1 to 2^24");
  if (!Within(positions, 1, kEncoderMostTokens)) return Wrong("positions", positions, "1 to 8192");
  if (!Within(types, 1, 16)) return Wrong("types", types, "1 to 16");
  if (!Within(slots, 0, kEncoderSlots, 4)) return Wrong("slots", slots, "0, 4, 8, 12 or 16");
  if (activation >= kEncoderActivations) {
    return Wrong("activation", activation, "one that is known");
  }
  if (pooling >= Pooling::kCount) {
    return Wrong("pooling", static_cast<uint32_t>(pooling), "one that is known");
  }
  for (const Dense& d : dense) {
    if (!Within(d.outputs, 0, 4096)) return Wrong("outputs", d.outputs, "up to 4096");
    if (d.activation >= DenseActivation::kCount) {
      return Wrong("dense activation", static_cast<uint32_t>(d.activation), "one that is known");
    }
  }
  if (dense[0].outputs == 0 && dense[1].outputs > 0) {
    return "the first dense layer is missing, the second is not";
  }
  if (!std::isfinite(epsilon) || epsilon <= 0 || epsilon > 1) {
    return "epsilon is " + std::to_string(epsilon) + ", expected a number above 0, at most 1";
  }
  return {};
}

LinearShape LinearShapeOf(const ModelShape& shape, BlockLinear linear) {
  const size_t hidden = shape.hidden;
  switch (linear) {
    case kQkv:
      return {3 * hidden, shape.inputs(), true};
    case kUp:
      return {shape.intermediate, shape.inputs(), true};
    case kDown:
      return {hidden, shape.intermediate, false};
    default:
      return {hidden, hidden, false};
  }
}

}  // namespace maxsim
