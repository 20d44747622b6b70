#include "encoder/model_writer.h"

#include <cstring>
#include <memory>
#include <vector>

#include "encoder/model_format.h"
#include "encoder/model_reader.h"
#include "platform/crc32c.h"
#include "platform/durable_file.h"
#include "platform/mapped_file.h"

namespace maxsim {
namespace {

struct Bytes {
  const uint8_t* data;
  uint64_t size;
};
template <typename T>
Bytes BytesOf(std::span<const T> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

// Rows to panels of 32 outputs; a slot has the weights of the channel that it copies.
void Pack(const int8_t* rows, const LinearShape& linear, size_t slots, const int32_t* channels,
          int8_t* panels) {
  const size_t own = linear.has_slots ? linear.inputs - slots : linear.inputs;
  for (size_t output = 0; output < linear.outputs; output++) {
    const int8_t* row = rows + output * own;
    int8_t* panel = panels + output / kEncoderPanel * linear.inputs * kEncoderPanel +
                    output % kEncoderPanel * 4;
    for (size_t i = 0; i < linear.inputs; i++) {
      const int32_t from = i < own ? static_cast<int32_t>(i) : channels[i - own];
      panel[i / 4 * 4 * kEncoderPanel + i % 4] = from < 0 ? int8_t{0} : row[from];
    }
  }
}

}  // namespace

Status WriteModel(const std::string& path, const ModelTensors& tensors) {
  const ModelShape& shape = tensors.shape;
  if (const std::string problem = shape.Problem(); !problem.empty()) {
    return Status::Error("INVALID_MODEL", "The encoder cannot be written: %s.", problem.c_str());
  }
  const auto sizes = ModelSectionSizes(shape, tensors.recipe.size());
  std::vector<int8_t> panels(sizes[kPanels]);
  Bytes sections[kModelSections] = {
      BytesOf(tensors.recipe),      BytesOf(tensors.words),
      BytesOf(tensors.word_scales), BytesOf(tensors.positions),
      BytesOf(tensors.types),       BytesOf(tensors.norms),
      BytesOf(tensors.channels),    BytesOf(std::span<const int8_t>(panels)),
      BytesOf(tensors.columns),     BytesOf(tensors.dense)};
  for (uint32_t s = 0; s < kModelSections; s++) {
    if (sections[s].size == sizes[s]) continue;
    return Status::Error("INVALID_MODEL",
                         "The encoder cannot be written: its %s have %llu bytes, expected %llu.",
                         kModelSectionNames[s], static_cast<unsigned long long>(sections[s].size),
                         static_cast<unsigned long long>(sizes[s]));
  }
  for (const int32_t channel : tensors.channels) {
    if (channel >= -1 && channel < static_cast<int32_t>(shape.hidden)) continue;
    return Status::Error("INVALID_MODEL",
                         "The encoder cannot be written: a slot copies channel %d of %u.", channel,
                         shape.hidden);
  }
  size_t read = 0, packed = 0;
  for (uint32_t layer = 0; layer < shape.layers; layer++) {
    for (uint32_t l = 0; l < kBlockLinears; l++) {
      const LinearShape linear = LinearShapeOf(shape, static_cast<BlockLinear>(l));
      const size_t own = linear.has_slots ? shape.hidden : linear.inputs;
      if (tensors.weights.size() - read < linear.outputs * own) {
        return Status::Error("INVALID_MODEL",
                             "The encoder cannot be written: it has %zu weights, too few.",
                             tensors.weights.size());
      }
      const size_t norm = size_t{layer} * 2 + (l == kUp ? 1 : 0);
      Pack(tensors.weights.data() + read, linear, shape.slots,
           tensors.channels.data() + norm * shape.slots, panels.data() + packed);
      read += linear.outputs * own;
      packed += linear.outputs * linear.inputs;
    }
  }
  if (read != tensors.weights.size()) {
    return Status::Error("INVALID_MODEL",
                         "The encoder cannot be written: it has %zu weights, expected %zu.",
                         tensors.weights.size(), read);
  }

  ModelHeader header{};
  std::memcpy(header.magic, kModelMagic, sizeof(header.magic));
  header.version = kModelVersion;
  header.header_size = sizeof(header);
  header.hidden = shape.hidden;
  header.layers = shape.layers;
  header.heads = shape.heads;
  header.intermediate = shape.intermediate;
  header.vocabulary = shape.vocabulary;
  header.positions = shape.positions;
  header.types = shape.types;
  header.slots = shape.slots;
  header.activation = shape.activation;
  header.pooling = static_cast<uint32_t>(shape.pooling);
  for (int i = 0; i < 2; i++) {
    header.dense_outputs[i] = shape.dense[i].outputs;
    header.dense_activation[i] = static_cast<uint32_t>(shape.dense[i].activation);
  }
  header.normalise = shape.normalise ? 1 : 0;
  header.epsilon = shape.epsilon;
  uint64_t end = sizeof(header);
  for (uint32_t s = 0; s < kModelSections; s++) {
    const uint64_t offset = ModelAlignUp(end);
    header.sections[s] = {offset, sizes[s], Crc32c(sections[s].data, sections[s].size), 0};
    end = offset + sizes[s];
  }
  header.file_size = end;
  header.crc32c = Crc32c(&header, offsetof(ModelHeader, crc32c));

  std::unique_ptr<DurableFile> file;
  Status status = DurableFile::Create(path, &file);
  if (status.ok()) status = file->Append(&header, sizeof(header));
  for (uint32_t s = 0; s < kModelSections && status.ok(); s++) {
    constexpr uint8_t kPadding[kModelAlignment] = {};
    status = file->Append(kPadding, header.sections[s].offset - file->size());
    if (status.ok()) status = file->Append(sections[s].data, sections[s].size);
  }
  return status.ok() ? file->Commit() : status;
}

}  // namespace maxsim
