// The encoder with each kernel set: the same bits as the scalar one, alone, in a batch and on
// threads; and near enough to a forward pass in double precision.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "encoder/dispatch.h"
#include "encoder/self_check.h"
#include "encoder_fixtures.h"
#include "platform/cpu.h"

#if defined(MAXSIM_AVXVNNI_EVEX)
extern "C" const EncoderKernels kEncoderAvxVnniEvex;  // encoder_avxvnni_evex.cpp
#endif

namespace maxsim {
namespace {

// All that this CPU can run, and the AVX-VNNI set built with AVX-512's VPDPBUSD.
std::vector<const EncoderKernels*> AllKernels() {
  std::vector<const EncoderKernels*> all = RunnableEncoderKernels();
#if defined(MAXSIM_AVXVNNI_EVEX)
  const CpuFeatures& cpu = Cpu();
  if (cpu.avx2 && cpu.fma && cpu.avx512vl && cpu.avx512vnni) all.push_back(&kEncoderAvxVnniEvex);
#endif
  return all;
}

const char* ForcedIsa() { return std::getenv("MAXSIM_ISA"); }

// A query, lengths around tiles and panels, and the two ways of weighing tokens.
const std::vector<uint32_t> kLengths = {1, 2, 12, 13, 32, 33, 48, 64, 65, 100, 3};

std::vector<float> Encode(const Encoder& encoder, const TokenBatch& batch, size_t threads = 1) {
  std::vector<float> output(encoder.OutputSize(batch));
  ForwardOptions options;
  options.threads = threads;
  const Status status = encoder.Forward(batch, options, output);
  CHECK_MESSAGE(status.ok(), status.message());
  return output;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Shapes that differ in what the kernels do.
std::vector<ModelShape> Shapes() {
  std::vector<ModelShape> shapes = {SmallShape()};
  ModelShape classifier = SmallShape();
  classifier.pooling = Pooling::kFirst;
  classifier.dense[0] = {96, DenseActivation::kTanh};
  classifier.dense[1] = {1, DenseActivation::kNone};
  classifier.normalise = false;
  classifier.slots = 0;
  classifier.activation = kEncoderGeluTanh;
  shapes.push_back(classifier);
  ModelShape mean = SmallShape();
  mean.hidden = 128;
  mean.heads = 2;
  mean.slots = 16;
  mean.pooling = Pooling::kMean;
  mean.dense[0] = {};
  mean.activation = kEncoderRelu;
  shapes.push_back(mean);
  return shapes;
}

TEST_CASE("a kernel set that runs here passes the self-check") {
  for (const EncoderKernels* kernels : AllKernels()) {
    CAPTURE(kernels->name);
    CHECK(EncoderSelfCheck(*kernels) == "");
  }
}

TEST_CASE("a kernel set that errs is named by the self-check") {
  EncoderKernels wrong = kEncoderScalar;
  wrong.attend = [](const EncoderHead* head) {
    kEncoderScalar.attend(head);
    head->context[0] += 1e-3f;
  };
  CHECK(EncoderSelfCheck(wrong) == "attention of 1 tokens");
  wrong = kEncoderScalar;
  wrong.quantise = [](const float* values, size_t stride, uint32_t count, uint32_t columns,
                      float factor, uint8_t* bytes, float* scale) {
    kEncoderScalar.quantise(values, stride, count, columns, factor, bytes, scale);
    bytes[0] ^= 1;
  };
  CHECK(EncoderSelfCheck(wrong) == "LayerNorm or bytes of rows");
}

TEST_CASE("every kernel set gives the same bits as the scalar one, for every shape") {
  for (const ModelShape& shape : Shapes()) {
    const auto model = RandomModel(shape).Open();
    const RandomBatch batch(shape, kLengths);
    const std::vector<float> expected = Encode(Encoder(model, &kEncoderScalar), batch.all());
    for (const EncoderKernels* kernels : AllKernels()) {
      CAPTURE(kernels->name);
      CHECK(SameBits(Encode(Encoder(model, kernels), batch.all()), expected));
    }
  }
}

TEST_CASE("a sequence gives the same bits alone and in a batch, on one thread and on several") {
  for (const ModelShape& shape : Shapes()) {
    const Encoder encoder(RandomModel(shape).Open());
    const RandomBatch batch(shape, kLengths);
    const std::vector<float> packed = Encode(encoder, batch.all());
    std::vector<float> alone;
    for (size_t i = 0; i < batch.lengths.size(); i++) {
      const std::vector<float> one = Encode(encoder, batch.Only(i).all());
      alone.insert(alone.end(), one.begin(), one.end());
    }
    CHECK(SameBits(alone, packed));
    for (const size_t threads : {2, 3, 7}) {
      CHECK(SameBits(Encode(encoder, batch.all(), threads), packed));
      CHECK(SameBits(Encode(encoder, batch.Only(9).all(), threads),
                     Encode(encoder, batch.Only(9).all())));
    }
  }
}

TEST_CASE("vectors are near those of a forward pass in double precision") {
  for (const ModelShape& shape : Shapes()) {
    const RandomModel random(shape);
    const Encoder encoder(random.Open());
    const RandomBatch batch(shape, {5, 40, 90});
    for (size_t i = 0; i < batch.lengths.size(); i++) {
      const RandomBatch one = batch.Only(i);
      const std::vector<float> got = Encode(encoder, one.all());
      const std::vector<double> expected = random.Forward(one.ids, one.types);
      REQUIRE(got.size() == expected.size());
      const size_t dim = shape.outputs();
      double worst = 0, largest = 0;
      for (size_t v = 0; v < got.size(); v += dim) {
        double product = 0, own = 0, other = 0;
        for (size_t d = 0; d < dim; d++) {
          const auto value = static_cast<double>(got[v + d]);
          product += value * expected[v + d];
          own += value * value;
          other += expected[v + d] * expected[v + d];
          largest = std::max(largest, std::fabs(value - expected[v + d]));
        }
        worst = std::max(worst, 1 - product / std::sqrt(own * other));
      }
      CAPTURE(batch.lengths[i]);
      if (dim > 1) CHECK(worst < 1e-3);
      if (dim == 1) CHECK(largest < 0.05);
    }
  }
}

TEST_CASE("tokens that are not attended to change no other, and get vectors of their own") {
  const ModelShape shape = SmallShape();
  const RandomModel random(shape);
  const Encoder encoder(random.Open());
  const RandomBatch batch(shape, {30});
  const std::vector<uint32_t> attended = {20};
  TokenBatch all = batch.all();
  all.attended = attended;
  const std::vector<float> got = Encode(encoder, all);
  const std::vector<float> alone =
      Encode(encoder, {all.ids.subspan(0, 20), all.types.subspan(0, 20), attended, {}});
  CHECK(SameBits({got.begin(), got.begin() + static_cast<std::ptrdiff_t>(alone.size())}, alone));
  const std::vector<double> expected = random.Forward(batch.ids, batch.types, 20);
  for (size_t t = 0; t < 30; t++) {
    double product = 0;
    for (size_t d = 0; d < 40; d++) {
      product += static_cast<double>(got[t * 40 + d]) * expected[t * 40 + d];
    }
    CHECK(product > 0.999);
  }
  for (const uint32_t wrong : {0u, 31u}) {
    const std::vector<uint32_t> no = {wrong};
    all.attended = no;
    std::vector<float> output(got.size());
    CHECK(!encoder.Forward(all, {}, output).ok());
  }
}

TEST_CASE("copies of the largest channel lessen the error") {
  const ModelShape shape = SmallShape();
  RandomModel random(shape);
  const RandomBatch batch(shape, {60});
  const std::vector<double> expected = random.Forward(batch.ids, batch.types);
  const auto error = [&] {
    const std::vector<float> got = Encode(Encoder(random.Open()), batch.all());
    double sum = 0;
    for (size_t i = 0; i < got.size(); i++) {
      const double difference = static_cast<double>(got[i]) - expected[i];
      sum += difference * difference;
    }
    return sum;
  };
  const double with_copies = error();
  random.channels.assign(random.channels.size(), -1);
  CHECK(with_copies * 2 < error());
}

TEST_CASE("the largest magnitudes seen are those of LayerNorm") {
  ModelShape shape = SmallShape();
  const Encoder encoder(RandomModel(shape).Open());
  const RandomBatch batch(shape, {30, 40});
  std::vector<float> output(encoder.OutputSize(batch.all())), largest(2 * 2 * 96),
      again(2 * 2 * 96);
  ForwardOptions options;
  options.largest = largest;
  REQUIRE(encoder.Forward(batch.all(), options, output).ok());
  for (size_t place = 0; place < 4; place++) {
    const auto begin = largest.begin() + static_cast<std::ptrdiff_t>(place * 96);
    CHECK(std::max_element(begin, begin + 96) - begin == 5);
  }
  options.largest = again;
  options.threads = 2;
  REQUIRE(encoder.Forward(batch.all(), options, output).ok());
  CHECK(SameBits(largest, again));
}

TEST_CASE("a check that fails ends the work, on any number of threads") {
  const ModelShape shape = SmallShape();
  const Encoder encoder(RandomModel(shape).Open());
  const RandomBatch batch(shape, {100, 100});
  std::vector<float> output(encoder.OutputSize(batch.all()));
  for (const size_t threads : {1, 2}) {
    std::atomic<int> asked{0};
    ForwardOptions options;
    options.threads = threads;
    options.check = [&] {
      return ++asked < 3 ? Status::Ok() : Status::Error("ABORTED", "The caller aborted.");
    };
    const Status status = encoder.Forward(batch.all(), options, output);
    CHECK(!status.ok());
    CHECK(std::string(status.code()) == "ABORTED");
  }
}

TEST_CASE("a batch that is not one of the model's is refused") {
  const ModelShape shape = SmallShape();
  const Encoder encoder(RandomModel(shape).Open());
  const auto refused = [&](RandomBatch batch) {
    std::vector<float> output(encoder.OutputSize(batch.all()));
    const Status status = encoder.Forward(batch.all(), {}, output);
    return !status.ok() && std::string(status.code()) == "INVALID_ARGUMENT";
  };
  const RandomBatch good(shape, {5, 6});
  CHECK(!refused(good));
  RandomBatch bad = good;
  bad.ids[3] = 100;
  CHECK(refused(bad));
  bad.ids[3] = -1;
  CHECK(refused(bad));
  bad = good;
  bad.types[3] = 2;
  CHECK(refused(bad));
  bad = good;
  bad.lengths[0] = 6;
  CHECK(refused(bad));
  bad.lengths[0] = 0;
  CHECK(refused(bad));
  CHECK(refused(RandomBatch(shape, {201})));
  bad = good;
  bad.types.pop_back();
  CHECK(refused(bad));
  std::vector<float> small(1);
  CHECK(!encoder.Forward(good.all(), {}, small).ok());
  CHECK(encoder.Forward({}, {}, {}).ok());
}

}  // namespace
}  // namespace maxsim

int main(int argc, char** argv) {
  // A set that this CPU lacks cannot be tested: skipped, see CMakeLists.txt.
  const char* forced = maxsim::ForcedIsa();
  if (forced != nullptr && *forced != '\0' &&
      std::strcmp(maxsim::ChosenEncoderKernels()->name, forced) != 0 &&
      std::strcmp(forced, "avx512bf16") != 0) {
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
