// The file of an encoder: what is written is read, and what is broken is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "encoder/model_format.h"
#include "encoder_fixtures.h"
#include "platform/crc32c.h"

namespace maxsim {
namespace {

Status OpenBytes(const std::vector<uint8_t>& bytes) {
  std::unique_ptr<MappedFile> file;
  REQUIRE(MappedFile::Copy("encoder", bytes.data(), bytes.size(), &file).ok());
  std::shared_ptr<const EncoderModel> model;
  return EncoderModel::Open(std::move(file), &model);
}

// Right checksums over whatever the sections and the header hold.
void Sign(std::vector<uint8_t>& bytes) {
  ModelHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  for (ModelSectionEntry& section : header.sections) {
    section.crc32c = Crc32c(bytes.data() + section.offset, section.size);
  }
  header.crc32c = Crc32c(&header, offsetof(ModelHeader, crc32c));
  std::memcpy(bytes.data(), &header, sizeof(header));
}

TEST_CASE("an encoder's file opens with what was written") {
  const RandomModel random(SmallShape());
  const auto model = random.Open();
  const ModelTensors tensors = random.Tensors();
  CHECK(model->shape().hidden == 96);
  CHECK(model->shape().outputs() == 40);
  CHECK(std::string(model->recipe().begin(), model->recipe().end()) == "{}");
  CHECK(std::memcmp(model->positions(), tensors.positions.data(), tensors.positions.size_bytes()) ==
        0);
  // Row 33 of the first layer is output 1 of its second panel; a slot repeats channel 5.
  const EncoderLinear& linear = model->blocks()[0].linears[kQkv];
  const int8_t* panel = linear.panels + size_t{linear.inputs} * kEncoderPanel;
  CHECK(linear.inputs == 100);
  CHECK(panel[4] == tensors.weights[33 * 96]);
  CHECK(panel[(96 / 4) * 4 * kEncoderPanel + 4] == tensors.weights[33 * 96 + 5]);
  CHECK(panel[(96 / 4) * 4 * kEncoderPanel + 4 + 3] == 0);
  int32_t sum = 0;
  for (size_t k = 0; k < 96; k++) sum += tensors.weights[33 * 96 + k];
  CHECK(linear.sums[33] == sum + 2 * tensors.weights[33 * 96 + 5]);
}

TEST_CASE("any flipped bit and any cut of an encoder's file is refused") {
  const std::vector<uint8_t> bytes = RandomModel(SmallShape()).Bytes();
  CHECK(OpenBytes(bytes).ok());
  for (size_t at = 0; at < bytes.size(); at = at < 4096 ? at + 1 : at + 1009) {
    std::vector<uint8_t> broken = bytes;
    broken[at] ^= static_cast<uint8_t>(1u << at % 8);
    CAPTURE(at);
    const Status status = OpenBytes(broken);
    CHECK(!status.ok());
    CHECK(!status.message().empty());
  }
  for (const size_t size : {size_t{0}, size_t{1}, size_t{383}, size_t{384}, bytes.size() - 1}) {
    CHECK(!OpenBytes({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}).ok());
  }
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  CHECK(!OpenBytes(longer).ok());
}

TEST_CASE("a file with right checksums and values that cannot be is refused") {
  const std::vector<uint8_t> bytes = RandomModel(SmallShape()).Bytes();
  const auto refused = [&](auto change) {
    std::vector<uint8_t> changed = bytes;
    ModelHeader header;
    std::memcpy(&header, changed.data(), sizeof(header));
    change(header, changed);
    std::memcpy(changed.data(), &header, sizeof(header));
    Sign(changed);
    return !OpenBytes(changed).ok();
  };
  CHECK(!refused([](ModelHeader&, std::vector<uint8_t>&) {}));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.hidden = 64; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.heads = 5; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.layers = 0; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.activation = 9; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.pooling = 9; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.normalise = 2; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.version = 0; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.version = 2; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.epsilon = NAN; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>&) { h.file_size--; }));
  CHECK(refused(
      [](ModelHeader& h, std::vector<uint8_t>& b) { b[h.sections[kPanels].offset + 7] = 0x80; }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>& b) {
    const float infinite = std::numeric_limits<float>::infinity();
    std::memcpy(b.data() + h.sections[kColumns].offset, &infinite, sizeof(infinite));
  }));
  CHECK(refused([](ModelHeader& h, std::vector<uint8_t>& b) {
    const int32_t channel = 96;
    std::memcpy(b.data() + h.sections[kChannels].offset, &channel, sizeof(channel));
  }));
}

TEST_CASE("tensors that do not fit the shape are not written") {
  const RandomModel random(SmallShape());
  const TemporaryFile file;
  const auto refused = [&](auto change) {
    ModelTensors tensors = random.Tensors();
    change(tensors);
    const Status status = WriteModel(file.path(), tensors);
    return !status.ok() && std::string(status.code()) == "INVALID_MODEL";
  };
  CHECK(!refused([](ModelTensors&) {}));
  CHECK(refused([](ModelTensors& t) { t.shape.heads = 7; }));
  CHECK(refused([](ModelTensors& t) { t.words = t.words.subspan(1); }));
  CHECK(refused([](ModelTensors& t) { t.weights = t.weights.subspan(1); }));
  CHECK(refused([](ModelTensors& t) { t.columns = t.columns.subspan(1); }));
  const std::vector<int32_t> channels(16, 96);
  CHECK(refused([&](ModelTensors& t) { t.channels = channels; }));
}

}  // namespace
}  // namespace maxsim
