#include "encoder/model_format.h"

namespace maxsim {

std::array<uint64_t, kModelSections> ModelSectionSizes(const ModelShape& shape,
                                                       uint64_t recipe_size) {
  const uint64_t hidden = shape.hidden, layers = shape.layers;
  uint64_t panels = 0, columns = 0, dense = 0;
  for (uint32_t l = 0; l < kBlockLinears; l++) {
    const LinearShape linear = LinearShapeOf(shape, static_cast<BlockLinear>(l));
    panels += uint64_t{linear.outputs} * linear.inputs;
    columns += 2 * uint64_t{linear.outputs} * sizeof(float);
  }
  for (int i = 0; i < 2; i++) {
    dense += (uint64_t{shape.DenseInputs(i)} + 1) * shape.dense[i].PaddedOutputs() * sizeof(float);
  }
  return {recipe_size,
          shape.vocabulary * hidden,
          uint64_t{shape.vocabulary} * 2 * sizeof(float),
          shape.positions * hidden * sizeof(float),
          shape.types * hidden * sizeof(float),
          (1 + 2 * layers) * 2 * hidden * sizeof(float),
          layers * 2 * shape.slots * sizeof(int32_t),
          layers * panels,
          layers * columns,
          dense};
}

ModelShape ShapeOf(const ModelHeader& header) {
  ModelShape shape;
  shape.hidden = header.hidden;
  shape.layers = header.layers;
  shape.heads = header.heads;
  shape.intermediate = header.intermediate;
  shape.vocabulary = header.vocabulary;
  shape.positions = header.positions;
  shape.types = header.types;
  shape.slots = header.slots;
  shape.activation = header.activation < kEncoderActivations
                         ? static_cast<EncoderActivation>(header.activation)
                         : kEncoderActivations;
  shape.pooling = static_cast<Pooling>(header.pooling);
  for (int i = 0; i < 2; i++) {
    shape.dense[i] = {header.dense_outputs[i],
                      static_cast<DenseActivation>(header.dense_activation[i])};
  }
  shape.normalise = header.normalise != 0;
  shape.epsilon = header.epsilon;
  return shape;
}

}  // namespace maxsim
