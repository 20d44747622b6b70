#include "encoder_fixtures.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

namespace maxsim {
namespace {

using Matrix = std::vector<std::vector<double>>;  // rows

void Normalise(Matrix& rows, const float* norm, double epsilon) {
  for (std::vector<double>& row : rows) {
    const auto size = static_cast<double>(row.size());
    double mean = 0, variance = 0;
    for (const double value : row) mean += value / size;
    for (const double value : row) variance += (value - mean) * (value - mean) / size;
    for (size_t i = 0; i < row.size(); i++) {
      row[i] = (row[i] - mean) / std::sqrt(variance + epsilon) * static_cast<double>(norm[i]) +
               static_cast<double>(norm[row.size() + i]);
    }
  }
}

// Walks over weights and columns in the order of the file.
struct Weights {
  const int8_t* weights;
  const float* columns;

  Matrix Linear(const Matrix& rows, size_t outputs) {
    const size_t inputs = rows[0].size();
    Matrix result(rows.size(), std::vector<double>(outputs));
    for (size_t r = 0; r < rows.size(); r++) {
      for (size_t n = 0; n < outputs; n++) {
        double sum = 0;
        for (size_t k = 0; k < inputs; k++) sum += rows[r][k] * weights[n * inputs + k];
        result[r][n] =
            sum * static_cast<double>(columns[n]) + static_cast<double>(columns[outputs + n]);
      }
    }
    weights += outputs * inputs;
    columns += 2 * outputs;
    return result;
  }
};

double Activated(double x, EncoderActivation activation) {
  if (activation == kEncoderGelu) return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
  if (activation == kEncoderRelu) return std::max(x, 0.0);
  return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

}  // namespace

ModelShape SmallShape() {
  ModelShape shape;
  shape.hidden = 96;
  shape.layers = 2;
  shape.heads = 3;
  shape.intermediate = 160;
  shape.vocabulary = 100;
  shape.positions = 200;
  shape.types = 2;
  shape.slots = 4;
  shape.dense[0].outputs = 40;
  shape.normalise = true;
  shape.epsilon = 1e-12f;
  return shape;
}

RandomModel::RandomModel(const ModelShape& shape, uint32_t seed) : shape_(shape) {
  std::mt19937 random(seed);
  const auto floats = [&](size_t count, float centre, float spread) {
    std::vector<float> values(count);
    std::normal_distribution<float> normal(centre, spread);
    for (float& value : values) value = normal(random);
    return values;
  };
  const auto append = [](std::vector<float>& to, const std::vector<float>& values) {
    to.insert(to.end(), values.begin(), values.end());
  };
  const size_t hidden = shape.hidden;
  recipe_ = {'{', '}'};
  words_.resize(shape.vocabulary * hidden);
  for (uint8_t& byte : words_) byte = static_cast<uint8_t>(random());
  for (uint32_t word = 0; word < shape.vocabulary; word++) append(word_scales_, {0.01f, -1.28f});
  positions_ = floats(shape.positions * hidden, 0, 0.3f);
  types_ = floats(shape.types * hidden, 0, 0.3f);
  for (uint32_t norm = 0; norm < 1 + 2 * shape.layers; norm++) {
    std::vector<float> gamma = floats(hidden, 1, 0.2f);
    gamma[5] = 12;  // a channel that is far larger than the others
    append(norms_, gamma);
    append(norms_, floats(hidden, 0, 0.2f));
  }
  for (uint32_t layer = 0; layer < shape.layers; layer++) {
    for (uint32_t l = 0; l < kBlockLinears; l++) {
      const LinearShape linear = LinearShapeOf(shape, static_cast<BlockLinear>(l));
      const size_t inputs = linear.has_slots ? hidden : linear.inputs;
      for (size_t i = 0; i < linear.outputs * inputs; i++) {
        weights_.push_back(static_cast<int8_t>(static_cast<int>(random() % 255) - 127));
      }
      const float step = 1.f / (73.f * std::sqrt(static_cast<float>(inputs)));
      for (size_t n = 0; n < linear.outputs; n++) {
        columns_.push_back(step * (0.5f + static_cast<float>(random() % 100) / 100.f));
      }
      append(columns_, floats(linear.outputs, 0, 0.2f));
    }
  }
  channels.assign(size_t{shape.layers} * 2 * shape.slots, -1);
  for (size_t i = 0; i < channels.size(); i++) {
    if (i % shape.slots < 2) channels[i] = 5;
  }
  for (int i = 0; i < 2; i++) {
    const size_t padded = shape.dense[i].PaddedOutputs();
    if (padded > 0) append(dense_, floats((shape.DenseInputs(i) + 1) * padded, 0, 0.1f));
  }
}

ModelTensors RandomModel::Tensors() const {
  ModelTensors tensors;
  tensors.shape = shape_;
  tensors.recipe = recipe_;
  tensors.words = words_;
  tensors.word_scales = word_scales_;
  tensors.positions = positions_;
  tensors.types = types_;
  tensors.norms = norms_;
  tensors.channels = channels;
  tensors.weights = weights_;
  tensors.columns = columns_;
  tensors.dense = dense_;
  return tensors;
}

std::vector<uint8_t> RandomModel::Bytes() const {
  const TemporaryFile file;
  const Status status = WriteModel(file.path(), Tensors());
  REQUIRE_MESSAGE(status.ok(), status.message());
  std::ifstream in(file.path(), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::shared_ptr<const EncoderModel> RandomModel::Open() const {
  const TemporaryFile file(Bytes());
  std::shared_ptr<const EncoderModel> model;
  const Status status = EncoderModel::Open(file.path(), &model);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return model;
}

std::vector<double> RandomModel::Forward(const std::vector<int32_t>& ids,
                                         const std::vector<int32_t>& types, size_t attended) const {
  const size_t hidden = shape_.hidden, dim = shape_.head_dim(), tokens = ids.size();
  const size_t keys = attended == 0 ? tokens : attended;
  Matrix x(tokens, std::vector<double>(hidden));
  for (size_t t = 0; t < tokens; t++) {
    const auto id = static_cast<size_t>(ids[t]);
    for (size_t i = 0; i < hidden; i++) {
      x[t][i] =
          static_cast<double>(words_[id * hidden + i]) * static_cast<double>(word_scales_[2 * id]) +
          static_cast<double>(word_scales_[2 * id + 1]) +
          static_cast<double>(positions_[t * hidden + i]) +
          static_cast<double>(types_[static_cast<size_t>(types[t]) * hidden + i]);
    }
  }
  const auto epsilon = static_cast<double>(shape_.epsilon);
  const float* norm = norms_.data();
  Normalise(x, norm, epsilon);
  Weights weights = {weights_.data(), columns_.data()};
  for (uint32_t layer = 0; layer < shape_.layers; layer++) {
    const Matrix qkv = weights.Linear(x, 3 * hidden);
    Matrix context(tokens, std::vector<double>(hidden));
    for (size_t head = 0; head < shape_.heads; head++) {
      for (size_t q = 0; q < tokens; q++) {
        std::vector<double> weight(keys);
        double sum = 0;
        for (size_t k = 0; k < keys; k++) {
          double score = 0;
          for (size_t d = 0; d < dim; d++) {
            score += qkv[q][head * dim + d] * qkv[k][hidden + head * dim + d];
          }
          weight[k] = std::exp(score / std::sqrt(static_cast<double>(dim)));
          sum += weight[k];
        }
        for (size_t k = 0; k < keys; k++) {
          for (size_t d = 0; d < dim; d++) {
            context[q][head * dim + d] += weight[k] / sum * qkv[k][2 * hidden + head * dim + d];
          }
        }
      }
    }
    const auto add = [&](const Matrix& rows) {
      for (size_t t = 0; t < tokens; t++) {
        for (size_t i = 0; i < hidden; i++) x[t][i] += rows[t][i];
      }
      norm += 2 * hidden;
      Normalise(x, norm, epsilon);
    };
    add(weights.Linear(context, hidden));
    Matrix wide = weights.Linear(x, shape_.intermediate);
    for (std::vector<double>& row : wide) {
      for (double& value : row) value = Activated(value, shape_.activation);
    }
    add(weights.Linear(wide, hidden));
  }
  if (shape_.pooling == Pooling::kFirst) x.resize(1);
  if (shape_.pooling == Pooling::kMean) {
    for (size_t t = 1; t < keys; t++) {
      for (size_t i = 0; i < hidden; i++) x[0][i] += x[t][i];
    }
    for (double& value : x[0]) value /= static_cast<double>(keys);
    x.resize(1);
  }
  std::vector<double> result;
  for (std::vector<double> row : x) {
    const float* dense = dense_.data();
    for (int d = 0; d < 2 && shape_.dense[d].outputs > 0; d++) {
      const size_t padded = shape_.dense[d].PaddedOutputs();
      std::vector<double> out(shape_.dense[d].outputs);
      for (size_t n = 0; n < out.size(); n++) {
        out[n] = static_cast<double>(dense[row.size() * padded + n]);
        for (size_t k = 0; k < row.size(); k++) {
          out[n] += row[k] * static_cast<double>(dense[k * padded + n]);
        }
        if (shape_.dense[d].activation == DenseActivation::kTanh) out[n] = std::tanh(out[n]);
      }
      dense += (row.size() + 1) * padded;
      row = std::move(out);
    }
    double squares = 0;
    for (const double value : row) squares += value * value;
    for (const double value : row) {
      result.push_back(shape_.normalise ? value / std::sqrt(squares) : value);
    }
  }
  return result;
}

RandomBatch::RandomBatch(const ModelShape& shape, std::vector<uint32_t> of_lengths, uint32_t seed)
    : lengths(std::move(of_lengths)) {
  std::mt19937 random(seed);
  for (const uint32_t length : lengths) {
    for (uint32_t t = 0; t < length; t++) {
      ids.push_back(static_cast<int32_t>(random() % shape.vocabulary));
      types.push_back(static_cast<int32_t>(random() % shape.types));
    }
  }
}

RandomBatch RandomBatch::Only(size_t sequence) const {
  RandomBatch one;
  size_t start = 0;
  for (size_t i = 0; i < sequence; i++) start += lengths[i];
  const auto begin = static_cast<std::ptrdiff_t>(start);
  const auto end = begin + static_cast<std::ptrdiff_t>(lengths[sequence]);
  one.ids.assign(ids.begin() + begin, ids.begin() + end);
  one.types.assign(types.begin() + begin, types.begin() + end);
  one.lengths = {lengths[sequence]};
  return one;
}

TemporaryFile::TemporaryFile() {
  static std::atomic<int> count{0};
  path_ =
      (std::filesystem::temp_directory_path() /
       ("maxsim-encoder-" + std::to_string(std::random_device{}()) + "-" + std::to_string(count++)))
          .string();
}

TemporaryFile::TemporaryFile(const std::vector<uint8_t>& bytes) : TemporaryFile() {
  std::ofstream out(path_, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
}

TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace maxsim
