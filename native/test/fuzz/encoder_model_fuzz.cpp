// Any bytes as an encoder's file, also with right checksums: it is refused with a reason, or it can
// be used without harm.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "encoder/forward.h"
#include "encoder/model_format.h"
#include "platform/crc32c.h"

using namespace maxsim;

namespace {

// What a program that writes nonsense would write: a header of a small shape, sections where they
// must be, sums that fit.
void Sign(std::vector<uint8_t>& bytes) {
  ModelHeader header;
  bytes.resize(std::max(bytes.size(), sizeof(header)));
  std::memcpy(&header, bytes.data(), sizeof(header));
  std::memcpy(header.magic, kModelMagic, sizeof(header.magic));
  header.version = kModelVersion;
  header.header_size = sizeof(header);
  header.hidden = 32 * (1 + header.hidden % 2);
  header.heads = 1 + header.heads % 2;
  header.layers = 1 + header.layers % 2;
  header.intermediate = 32 * (1 + header.intermediate % 2);
  header.vocabulary = 1 + header.vocabulary % 16;
  header.positions = 1 + header.positions % 80;
  header.types = 1 + header.types % 2;
  header.slots = 4 * (header.slots % 5);
  header.activation %= kEncoderActivations;
  header.pooling %= static_cast<uint32_t>(Pooling::kCount);
  for (int i = 0; i < 2; i++) {
    header.dense_outputs[i] %= 40;
    header.dense_activation[i] %= static_cast<uint32_t>(DenseActivation::kCount);
  }
  header.normalise %= 2;
  if (!(header.epsilon > 0 && header.epsilon <= 1)) header.epsilon = 1e-12f;
  const ModelShape shape = ShapeOf(header);
  if (!shape.Problem().empty()) return;
  const auto sizes = ModelSectionSizes(shape, header.sections[kRecipe].size % 64);
  uint64_t end = sizeof(header);
  for (uint32_t s = 0; s < kModelSections; s++) {
    header.sections[s].offset = ModelAlignUp(end);
    header.sections[s].size = sizes[s];
    end = header.sections[s].offset + sizes[s];
  }
  header.file_size = end;
  // The given bytes again and again, where there are too few.
  const size_t given = bytes.size();
  bytes.resize(end);
  for (size_t i = given; i < end; i++) bytes[i] = bytes[i - given / 2 - 1];
  uint64_t at = sizeof(header);
  for (ModelSectionEntry& section : header.sections) {
    std::memset(bytes.data() + at, 0, section.offset - at);
    section.crc32c = Crc32c(bytes.data() + section.offset, section.size);
    at = section.offset + section.size;
  }
  header.crc32c = Crc32c(&header, offsetof(ModelHeader, crc32c));
  std::memcpy(bytes.data(), &header, sizeof(header));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  if (size > 0 && data[0] % 4 != 0) Sign(bytes);
  std::unique_ptr<MappedFile> file;
  if (!MappedFile::Copy("encoder", bytes.data(), bytes.size(), &file).ok()) return 0;
  std::shared_ptr<const EncoderModel> model;
  const Status opened = EncoderModel::Open(std::move(file), &model);
  if (!opened.ok()) {
    if (opened.message().empty()) std::abort();
    return 0;
  }
  const ModelShape& shape = model->shape();
  if (shape.hidden > 128 || shape.layers > 2 || shape.intermediate > 128) return 0;
  const Encoder encoder(model);
  const uint32_t longest = std::min<uint32_t>(shape.positions, 70);
  const std::vector<uint32_t> lengths = {1, longest};
  std::vector<int32_t> ids;
  for (uint32_t t = 0; t <= longest; t++) {
    ids.push_back(static_cast<int32_t>(t % shape.vocabulary));
  }
  const TokenBatch batch = {ids, {}, lengths, {}};
  std::vector<float> output(encoder.OutputSize(batch)), again(output.size());
  const Status done = encoder.Forward(batch, {}, output);
  ForwardOptions options;
  options.threads = 2;
  if (done.ok() != encoder.Forward(batch, options, again).ok()) std::abort();
  if (done.ok() && std::memcmp(output.data(), again.data(), output.size() * sizeof(float)) != 0) {
    std::abort();
  }
  return 0;
}
