// The file of an encoder, proven whole, and its tensors as the kernels want them.
#ifndef MAXSIM_ENCODER_MODEL_READER_H_
#define MAXSIM_ENCODER_MODEL_READER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "encoder/kernel.h"
#include "encoder/model_shape.h"
#include "platform/mapped_file.h"
#include "platform/status.h"

namespace maxsim {

// Immutable; many threads may use one.
class EncoderModel {
 public:
  struct Block {
    EncoderLinear linears[kBlockLinears];
    EncoderNorm norms[2];    // after attention, after the feed-forward part
    EncoderSplit splits[2];  // of the block's input, and after attention
  };
  struct Dense {
    const float* weights;  // [inputs][padded outputs]
    const float* bias;     // [padded outputs]
  };

  // Verifies every byte before it is used: INVALID_MODEL, UNSUPPORTED_FORMAT, IO_ERROR.
  static Status Open(const std::string& path, std::shared_ptr<const EncoderModel>* model,
                     bool* missing = nullptr);
  static Status Open(std::unique_ptr<MappedFile> file, std::shared_ptr<const EncoderModel>* model);

  const ModelShape& shape() const { return shape_; }
  std::span<const uint8_t> recipe() const { return recipe_; }
  const uint8_t* words() const { return words_; }
  const float* word_scales() const { return word_scales_; }
  const float* positions() const { return positions_; }
  const float* types() const { return types_; }
  const EncoderNorm& embedding_norm() const { return embedding_norm_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  const Dense& dense(int i) const { return dense_[i]; }

 private:
  EncoderModel() = default;
  Status Validate();
  // Panels to memory of huge pages, where there is any: page tables would be waited for.
  void CopyPanels(const int8_t** panels, size_t size);

  std::unique_ptr<MappedFile> file_;
  std::unique_ptr<HugeBuffer> copied_;
  ModelShape shape_;
  std::span<const uint8_t> recipe_;
  const uint8_t* words_ = nullptr;
  const float *word_scales_ = nullptr, *positions_ = nullptr, *types_ = nullptr;
  EncoderNorm embedding_norm_{};
  std::vector<Block> blocks_;
  Dense dense_[2] = {};
  std::vector<int32_t> sums_;
  std::vector<float> shares_;
};

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_MODEL_READER_H_
