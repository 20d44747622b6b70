// Every kernel set that this CPU can run against the scalar one, and the scalar one against MaxSim
// written down naively in double precision.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "fixtures.h"
#include "maxsim/codec.h"
#include "maxsim/dispatch.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"
#include "maxsim/self_check.h"
#include "platform/cpu.h"

#if defined(MAXSIM_AVXVNNI_EVEX)
extern "C" const MaxsimKernels kMaxsimAvxVnniEvex;  // avxvnni_evex.cpp
#endif

using namespace maxsim;

namespace {

constexpr float kDocumentScale = 1.f / 127.f;

// The AVX-VNNI kernels built with AVX-512's VPDPBUSD, or null where they cannot run.
const MaxsimKernels* AvxVnniAsEvex() {
#if defined(MAXSIM_AVXVNNI_EVEX)
  static const MaxsimKernels kernels = {
      "avxvnni, test build with EVEX", kMaxsimAvxVnniEvex.score_int8, kMaxsimAvxVnniEvex.score_f32};
  const CpuFeatures& cpu = Cpu();
  if (cpu.avx2 && cpu.fma && cpu.avx512vl && cpu.avx512vnni) return &kernels;
#endif
  return nullptr;
}

std::vector<const MaxsimKernels*> FastKernels() {
  std::vector<const MaxsimKernels*> kernels;
  for (const KernelCandidate& c : Kernels().candidates) {
    if (c.supported && c.kernels != &kMaxsimScalar) kernels.push_back(c.kernels);
  }
  if (const MaxsimKernels* test_build = AvxVnniAsEvex()) kernels.push_back(test_build);
  return kernels;
}

float ScoreInt8(const MaxsimKernels& kernels, const PreparedQuery& query, MaxsimDocument document) {
  const MaxsimQueryInt8 prepared = query.Int8(kDocumentScale);
  float score = NAN;
  kernels.score_int8(&prepared, &document, 1, &score);
  return score;
}

float ScoreF32(const MaxsimKernels& kernels, const PreparedQuery& query, MaxsimDocument document) {
  const MaxsimQueryF32 prepared = query.F32();
  float score = NAN;
  kernels.score_f32(&prepared, &document, 1, &score);
  return score;
}

// How far two f32 summation orders may lie apart: 1e-5 of what the score could be at most, which is
// the sum over query tokens of |query token| * |longest document token|.
double ScoreBound(const std::vector<float>& query, const std::vector<float>& document, size_t dim) {
  const auto norm = [dim](const float* v) {
    double sum = 0;
    for (size_t d = 0; d < dim; d++) sum += static_cast<double>(v[d]) * v[d];
    return std::sqrt(sum);
  };
  double longest = 0, sum = 0;
  for (size_t t = 0; t < document.size(); t += dim) longest = std::max(longest, norm(&document[t]));
  for (size_t t = 0; t < query.size(); t += dim) sum += norm(&query[t]) * longest;
  return sum;
}

double NaiveMaxSim(const std::vector<float>& query, const std::vector<float>& document,
                   size_t dim) {
  double score = 0;
  for (size_t q = 0; q < query.size(); q += dim) {
    double best = -INFINITY;
    for (size_t t = 0; t < document.size(); t += dim) {
      double dot = 0;
      for (size_t d = 0; d < dim; d++) {
        dot += static_cast<double>(query[q + d]) * static_cast<double>(document[t + d]);
      }
      best = std::max(best, dot);
    }
    score += best;
  }
  return score;
}

// One query of one shape against documents of all lengths, each ending where memory ends.
void CompareShape(size_t query_tokens, size_t dim, const std::vector<uint32_t>& lengths) {
  Noise noise(query_tokens * 4096 + dim);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery eight(tokens.data(), query_tokens, dim, 8);
  const PreparedQuery seven(tokens.data(), query_tokens, dim, 7);
  const TokenFormat f32{Codec::kF32, 1.f};
  for (const uint32_t length : lengths) {
    CAPTURE(query_tokens);
    CAPTURE(dim);
    CAPTURE(length);
    const std::vector<uint8_t> bytes = noise.Bytes(length * PaddedDim(dim));
    const std::vector<float> floats = noise.Floats(length * dim);
    std::vector<uint8_t> f32_bytes(length * TokenBytes(Codec::kF32, dim));
    EncodeTokens(f32, floats.data(), length, dim, f32_bytes.data());
    GuardedBytes guarded(f32_bytes.size() + 8);
    const size_t slack = length % 4;  // every alignment appears in the sweep

    const MaxsimDocument document{guarded.Place(bytes.data(), bytes.size(), slack), length};
    const float expected8 = ScoreInt8(kMaxsimScalar, eight, document);
    const float expected7 = ScoreInt8(kMaxsimScalar, seven, document);
    for (const MaxsimKernels* kernels : FastKernels()) {
      CAPTURE(kernels->name);
      CHECK(ScoreInt8(*kernels, eight, document) == expected8);
      CHECK(ScoreInt8(*kernels, seven, document) == expected7);
    }
    const MaxsimDocument f32_document{guarded.Place(f32_bytes.data(), f32_bytes.size(), slack),
                                      length};
    const float expected = ScoreF32(kMaxsimScalar, eight, f32_document);
    const double bound = ScoreBound(tokens, floats, dim);
    for (const MaxsimKernels* kernels : FastKernels()) {
      CAPTURE(kernels->name);
      CHECK(std::fabs(ScoreF32(*kernels, eight, f32_document) - expected) <= 1e-5 * bound);
    }
  }
}

const std::vector<uint32_t> kLengths = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 23, 24, 25, 96, 180};

}  // namespace

TEST_CASE("every kernel agrees with the scalar one for every number of query tokens") {
  for (const size_t query_tokens : {1, 8, 15, 16, 17, 31, 32, 33, 48, 64, 100, 1024}) {
    for (const size_t dim : {8, 12, 100, 128}) CompareShape(query_tokens, dim, kLengths);
  }
}

TEST_CASE("every kernel agrees with the scalar one for every dim") {
  for (const size_t dim : {8, 9, 10, 12, 48, 64, 96, 100, 128, 384, 1024}) {
    for (const size_t query_tokens : {1, 17, 32}) CompareShape(query_tokens, dim, kLengths);
  }
}

TEST_CASE("the longest document has no overflow and no over-read") { CompareShape(5, 9, {65535}); }

TEST_CASE("the largest query of the largest dim has no overflow") {
  CompareShape(1024, 1024, {13});
}

TEST_CASE("a document may start at any address") {
  const size_t dim = 20, query_tokens = 33;
  Noise noise(7);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery query(tokens.data(), query_tokens, dim, 8);
  const std::vector<uint8_t> bytes = noise.Bytes(25 * dim);
  const float expected = ScoreInt8(kMaxsimScalar, query, {bytes.data(), 25});
  std::vector<uint8_t> moved(bytes.size() + 64);
  for (size_t offset = 0; offset < 64; offset++) {
    std::memcpy(moved.data() + offset, bytes.data(), bytes.size());
    for (const MaxsimKernels* kernels : FastKernels()) {
      CHECK(ScoreInt8(*kernels, query, {moved.data() + offset, 25}) == expected);
    }
  }
}

TEST_CASE("values at their limits do not saturate") {
  for (const size_t dim : {8, 128, 1024}) {
    for (const float sign : {1.f, -1.f}) {
      std::vector<float> tokens(17 * dim, sign);
      // Rotated by the query, they are quantised to +-127 or +-63 everywhere.
      for (size_t t = 0; t < 17; t++) RotateBack(tokens.data() + t * dim, dim);
      for (const unsigned bits : {8u, 7u}) {
        const PreparedQuery query(tokens.data(), 17, dim, bits);
        for (const int byte : {0, 1, 128, 255}) {
          CAPTURE(byte);
          CAPTURE(bits);
          const std::vector<uint8_t> bytes(13 * dim, static_cast<uint8_t>(byte));
          const MaxsimDocument document{bytes.data(), 13};
          const float expected = ScoreInt8(kMaxsimScalar, query, document);
          CHECK(expected == doctest::Approx(17. * static_cast<double>(dim) * sign * (byte - 128) *
                                            static_cast<double>(kDocumentScale)));
          for (const MaxsimKernels* kernels : FastKernels()) {
            CHECK(ScoreInt8(*kernels, query, document) == expected);
          }
        }
      }
    }
  }
}

TEST_CASE("a document scores the same in any company") {
  const size_t dim = 64;
  Noise noise(11);
  const std::vector<float> tokens = noise.Floats(50 * dim);
  const PreparedQuery query(tokens.data(), 50, dim, 8);
  const std::vector<uint8_t> bytes = noise.Bytes(400 * dim);
  std::vector<MaxsimDocument> documents;
  for (size_t row = 0, length = 1; row + length <= 400; row += length, length = length * 5 % 31) {
    documents.push_back({bytes.data() + row * dim, static_cast<uint32_t>(length)});
  }
  const MaxsimQueryInt8 prepared = query.Int8(kDocumentScale);
  std::vector<const MaxsimKernels*> sets = FastKernels();
  sets.push_back(&kMaxsimScalar);
  for (const MaxsimKernels* kernels : sets) {
    CAPTURE(kernels->name);
    std::vector<float> together(documents.size());
    kernels->score_int8(&prepared, documents.data(), documents.size(), together.data());
    for (size_t i = 0; i < documents.size(); i++) {
      CHECK(together[i] == ScoreInt8(*kernels, query, documents[i]));
    }
    kernels->score_int8(&prepared, documents.data(), 0, nullptr);  // no documents, no scores
  }
}

// Registered nowhere, so the dispatch tests do not see it; the sweeps above do.
#if defined(MAXSIM_AVXVNNI_EVEX)
TEST_CASE("the AVX-VNNI kernels, in a test build whose VPDPBUSD is EVEX, pass the self-check") {
  const MaxsimKernels* kernels = AvxVnniAsEvex();
  if (kernels == nullptr) {
    MESSAGE("skipped: this CPU lacks AVX-512 VNNI");
    return;
  }
  CHECK(SelfCheck(*kernels) == "");
  CHECK(FastKernels().back() == kernels);
}
#endif

TEST_CASE("the scalar f32 kernel computes MaxSim") {
  for (const size_t dim : {8, 9, 128}) {
    Noise noise(dim);
    const std::vector<float> tokens = noise.Floats(33 * dim), floats = noise.Floats(25 * dim);
    std::vector<uint8_t> bytes(25 * TokenBytes(Codec::kF32, dim));
    EncodeTokens({Codec::kF32, 1.f}, floats.data(), 25, dim, bytes.data());
    const PreparedQuery query(tokens.data(), 33, dim, 8);
    const double expected = NaiveMaxSim(tokens, floats, dim);
    CHECK(std::fabs(ScoreF32(kMaxsimScalar, query, {bytes.data(), 25}) - expected) <=
          1e-5 * ScoreBound(tokens, floats, dim));
  }
}

TEST_CASE("the scalar int8 kernel computes MaxSim of the decoded values") {
  for (const size_t dim : {8, 9, 128}) {
    for (const unsigned bits : {8u, 7u}) {
      Noise noise(dim);
      std::vector<float> tokens = noise.Floats(33 * dim);
      const std::vector<float> floats = noise.Floats(25 * dim);
      const TokenFormat format{Codec::kInt8, kDocumentScale};
      std::vector<uint8_t> bytes(25 * TokenBytes(Codec::kInt8, dim));
      EncodeTokens(format, floats.data(), 25, dim, bytes.data());
      std::vector<float> decoded(25 * dim);
      DecodeTokens(format, bytes.data(), 25, dim, decoded.data());
      const PreparedQuery query(tokens.data(), 33, dim, bits);
      const float score = ScoreInt8(kMaxsimScalar, query, {bytes.data(), 25});
      // Against rotated documents and the query as it was rotated and quantised, the score is exact
      // but for the final f32 sums.
      for (size_t t = 0; t < 33; t++) Rotate(tokens.data() + t * dim, dim);
      for (size_t t = 0; t < 25; t++) Rotate(decoded.data() + t * dim, dim);
      const float limit = bits == 7 ? 63.f : 127.f;
      for (size_t t = 0; t < 33; t++) {
        float largest = 0;
        for (size_t d = 0; d < dim; d++)
          largest = std::max(largest, std::fabs(tokens[t * dim + d]));
        for (size_t d = 0; d < dim; d++) {
          float& value = tokens[t * dim + d];
          value = std::nearbyintf(value * (limit / largest)) * (largest / limit);
        }
      }
      CHECK(std::fabs(score - NaiveMaxSim(tokens, decoded, dim)) <=
            1e-6 * ScoreBound(tokens, decoded, dim));
    }
  }
}
