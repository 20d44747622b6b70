// What an encoder is made of: the BERT family. Token, position and type embeddings, LayerNorm; then
// blocks of self-attention and a feed-forward part, each with a residual and a LayerNorm after it;
// then a head.
#ifndef MAXSIM_ENCODER_MODEL_SHAPE_H_
#define MAXSIM_ENCODER_MODEL_SHAPE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "encoder/kernel.h"

namespace maxsim {

// Which vectors of a sequence the head gets: all, that of the first token, or the mean.
enum class Pooling : uint32_t { kTokens, kFirst, kMean, kCount };

enum class DenseActivation : uint32_t { kNone, kTanh, kCount };

struct ModelShape {
  struct Dense {
    uint32_t outputs = 0;  // 0: there is none
    DenseActivation activation = DenseActivation::kNone;

    // Whole panels: weights are stored as [inputs][padded outputs], zeros added.
    size_t PaddedOutputs() const {
      return (size_t{outputs} + kEncoderPanel - 1) / kEncoderPanel * kEncoderPanel;
    }
  };

  uint32_t hidden = 0, layers = 0, heads = 0, intermediate = 0;
  uint32_t vocabulary = 0, positions = 0, types = 0;
  uint32_t slots = 0;  // of an EncoderSplit
  EncoderActivation activation = kEncoderGelu;
  Pooling pooling = Pooling::kTokens;
  Dense dense[2];
  bool normalise = false;  // vectors of length 1
  float epsilon = 0;       // of every LayerNorm

  size_t head_dim() const { return hidden / heads; }
  size_t inputs() const { return size_t{hidden} + slots; }  // of what follows a LayerNorm
  // Values of a vector, or of what a classifier says.
  size_t outputs() const {
    return dense[1].outputs > 0   ? dense[1].outputs
           : dense[0].outputs > 0 ? dense[0].outputs
                                  : hidden;
  }
  size_t DenseInputs(int i) const { return i == 0 ? hidden : dense[0].outputs; }

  // Empty, or a clause that says what is wrong.
  std::string Problem() const;
};

// The linear layers of a block, in the order in which they are stored.
enum BlockLinear : uint32_t { kQkv, kAttentionOutput, kUp, kDown, kBlockLinears };

struct LinearShape {
  size_t outputs, inputs;  // inputs with slots
  bool has_slots;
};
LinearShape LinearShapeOf(const ModelShape& shape, BlockLinear linear);

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_MODEL_SHAPE_H_
