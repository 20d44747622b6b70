// A small encoder of random weights, in memory and as a file, and its forward pass in double
// precision.
#ifndef MAXSIM_TEST_ENCODER_FIXTURES_H_
#define MAXSIM_TEST_ENCODER_FIXTURES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "encoder/forward.h"
#include "encoder/model_writer.h"

namespace maxsim {

// What shapes of the tests have in common: 2 blocks, 96 channels, 100 words, 200 positions.
ModelShape SmallShape();

class RandomModel {
 public:
  explicit RandomModel(const ModelShape& shape, uint32_t seed = 1);

  const ModelShape& shape() const { return shape_; }
  // Valid while this lives.
  ModelTensors Tensors() const;
  // Written to a temporary file and opened.
  std::shared_ptr<const EncoderModel> Open() const;
  // The bytes of that file.
  std::vector<uint8_t> Bytes() const;

  // One sequence, no rounding to bytes but that of the weights. Its first `attended` tokens are
  // looked at; 0: all.
  std::vector<double> Forward(const std::vector<int32_t>& ids, const std::vector<int32_t>& types,
                              size_t attended = 0) const;

  std::vector<int32_t> channels;  // may be changed

 private:
  ModelShape shape_;
  std::vector<uint8_t> recipe_, words_;
  std::vector<float> word_scales_, positions_, types_, norms_, columns_, dense_;
  std::vector<int8_t> weights_;
};

// Sequences of these lengths, of random ids and types.
struct RandomBatch {
  RandomBatch(const ModelShape& shape, std::vector<uint32_t> of_lengths, uint32_t seed = 7);
  TokenBatch all() const { return {ids, types, lengths, {}}; }
  RandomBatch Only(size_t sequence) const;

  std::vector<int32_t> ids, types;
  std::vector<uint32_t> lengths;

 private:
  RandomBatch() = default;
};

// A file of these bytes that removes itself.
class TemporaryFile {
 public:
  TemporaryFile();
  explicit TemporaryFile(const std::vector<uint8_t>& bytes);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace maxsim

#endif  // MAXSIM_TEST_ENCODER_FIXTURES_H_
