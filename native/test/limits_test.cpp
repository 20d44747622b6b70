// What each codec can hold is said at the door, and nothing else gets in.
#include <doctest/doctest.h>

#include <cmath>

#include "index_fixtures.h"
#include "maxsim/rotation.h"

using namespace maxsim;

TEST_CASE(
    "a component beyond the int8 range is clamped in a unit-length token and refused in others") {
  const VectorFormat narrow{{Codec::kInt8, 0.5f / 127}, 9};
  Corpus corpus;
  corpus.ids = {"unit"};
  corpus.vectors = {{0.8f, 0.6f, 0, 0, 0, 0, 0, 0, 0}};
  RotateBack(corpus.vectors[0].data(), 9);  // what the codec sees is the rotated token
  corpus.records = {{}};
  FloatDocuments source = corpus.Source(narrow);
  CHECK(source.Validate().ok());
  source.Tokens(0);
  CHECK(source.encoded().clamped == 2);
  const VectorFormat narrower{{Codec::kInt8, 0.3f / 127}, 9};
  CHECK(std::string(corpus.Source(narrower).Validate().code()) == "VECTOR_OUT_OF_RANGE");
  for (float& x : corpus.vectors[0]) x *= 1.1f;
  const Status status = corpus.Source(narrow).Validate();
  CHECK(std::string(status.code()) == "VECTOR_OUT_OF_RANGE");
  CHECK(status.message().find("\"unit\": token 0 has length 1.1 and a component of 0.88") !=
        std::string::npos);
  CHECK(corpus.Source(kF32Format).Validate().ok());
}

namespace {

// One document of a single token of this length.
Status ValidateLength(const VectorFormat& format, float length) {
  const std::vector<float> vector = {0, 0, 0, length, 0, 0, 0, 0, 0};
  return FloatDocuments(format, {{"one", vector, {}}}).Validate();
}

}  // namespace

TEST_CASE("f16 holds lengths of 0.001 to 65504, residual codecs of 0.001 to 1000, all hold 0") {
  for (const Codec codec : {Codec::kF16, Codec::kR4, Codec::kR2, Codec::kR1}) {
    CAPTURE(std::string(CodecName(codec)));
    const VectorFormat format = IndexFormat(codec);
    const float longest = codec == Codec::kF16 ? 65504.f : 1000.f;
    for (const float length : {0.f, 0.0010001f, 1.f, longest, -longest}) {
      CAPTURE(length);
      CHECK(ValidateLength(format, length).ok());
    }
    for (const float length : {1e-45f, 1e-10f, 0.0009999f, longest * 1.0001f, 1e15f}) {
      CAPTURE(length);
      const Status status = ValidateLength(format, length);
      CHECK(CodeOf(status) == "VECTOR_OUT_OF_RANGE");
      CHECK(status.message().find("document \"one\": token 0 has length") == 0);
      CHECK(status.message().find(CodecName(codec)) != std::string::npos);
    }
  }
}

TEST_CASE("f32, bf16 and int8-token hold lengths up to 1e15, and no codec holds more") {
  for (const Codec codec : {Codec::kF32, Codec::kBf16, Codec::kInt8Token}) {
    for (const float length : {0.f, 1e-45f, 1e-10f, 1.f, 9.9e14f}) {
      CHECK(ValidateLength(IndexFormat(codec), length).ok());
    }
  }
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    for (const float length : {1.1e15f, 1e38f, INFINITY, NAN}) {
      CHECK(CodeOf(ValidateLength(IndexFormat(codec), length)) == "INVALID_VECTORS");
    }
  }
}
