#include "maxsim/self_check.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "maxsim/query.h"

namespace maxsim {
namespace {

// One step of a 32-bit linear congruence: the cases must be the same on every machine and every
// run.
class Noise {
 public:
  explicit Noise(uint32_t seed) : state_(seed) {}
  uint32_t Next() {
    state_ = state_ * 1664525u + 1013904223u;
    return state_ >> 8;  // the low bits of a congruence repeat too soon
  }
  float Unit() { return static_cast<float>(Next() % 2001) / 1000.f - 1.f; }

 private:
  uint32_t state_;
};

struct Case {
  size_t query_tokens, dim;
  std::vector<uint32_t> document_tokens;
};

// One and two blocks and both together; padded rows; documents below, at and above every tile size.
const Case kCases[] = {
    {5, 8, {1, 3, 4, 7}},
    {32, 64, {6, 12, 13}},
    {37, 50, {2, 5, 11, 25}},
};

// Rows are not aligned in a mapped file, so they are not here.
constexpr size_t kMisalignment = 1;

std::vector<MaxsimDocument> Documents(const Case& c, const uint8_t* bytes, size_t row_bytes) {
  std::vector<MaxsimDocument> documents;
  for (const uint32_t tokens : c.document_tokens) {
    documents.push_back({bytes, tokens});
    bytes += tokens * row_bytes;
  }
  return documents;
}

std::string Describe(const char* mode, const Case& c, uint32_t document_tokens, float got,
                     float expected) {
  char text[160];
  std::snprintf(text, sizeof(text),
                "%s, %zu query tokens, dim %zu, %u document tokens: %.9g instead of %.9g", mode,
                c.query_tokens, c.dim, document_tokens, static_cast<double>(got),
                static_cast<double>(expected));
  return text;
}

std::string CheckInt8(const MaxsimKernels& kernels, const Case& c, unsigned bits, Noise& noise) {
  std::vector<float> tokens(c.query_tokens * c.dim);
  for (float& value : tokens) value = noise.Unit();
  const PreparedQuery query(tokens.data(), c.query_tokens, c.dim, bits);
  size_t rows = 0;
  for (const uint32_t count : c.document_tokens) rows += count;
  std::vector<uint8_t> bytes(kMisalignment + rows * PaddedDim(c.dim));
  // Extremes in every third byte: a saturating product must show.
  for (uint8_t& byte : bytes) {
    const uint32_t draw = noise.Next();
    byte = static_cast<uint8_t>(draw % 3 == 0 ? 255 : draw);
  }
  const auto documents = Documents(c, bytes.data() + kMisalignment, PaddedDim(c.dim));
  std::vector<float> expected(documents.size()), got(documents.size());
  const MaxsimQueryInt8 prepared = query.Int8(0.0078125f);
  kMaxsimScalar.score_int8(&prepared, documents.data(), documents.size(), expected.data());
  kernels.score_int8(&prepared, documents.data(), documents.size(), got.data());
  for (size_t i = 0; i < documents.size(); i++) {
    if (std::memcmp(&got[i], &expected[i], sizeof(float)) != 0) {
      return Describe(bits == 7 ? "int8 with a 7-bit query" : "int8 with an 8-bit query", c,
                      documents[i].token_count, got[i], expected[i]);
    }
  }
  return {};
}

std::string CheckF32(const MaxsimKernels& kernels, const Case& c, Noise& noise) {
  std::vector<float> tokens(c.query_tokens * c.dim);
  for (float& value : tokens) value = noise.Unit();
  const PreparedQuery query(tokens.data(), c.query_tokens, c.dim, 8);
  size_t rows = 0;
  for (const uint32_t count : c.document_tokens) rows += count;
  const size_t row_bytes = PaddedDim(c.dim) * sizeof(float);
  std::vector<uint8_t> bytes(kMisalignment + rows * row_bytes);
  for (size_t i = kMisalignment; i < bytes.size(); i += sizeof(float)) {
    const float value = noise.Unit();
    std::memcpy(&bytes[i], &value, sizeof(value));
  }
  const auto documents = Documents(c, bytes.data() + kMisalignment, row_bytes);
  std::vector<float> expected(documents.size()), got(documents.size());
  const MaxsimQueryF32 prepared = query.F32();
  kMaxsimScalar.score_f32(&prepared, documents.data(), documents.size(), expected.data());
  kernels.score_f32(&prepared, documents.data(), documents.size(), got.data());
  for (size_t i = 0; i < documents.size(); i++) {
    // Every product is at most 1, so query_tokens * dim bounds what the sums round.
    const float tolerance = 1e-5f * static_cast<float>(c.query_tokens * c.dim);
    if (!(std::fabs(got[i] - expected[i]) <= tolerance)) {
      return Describe("f32", c, documents[i].token_count, got[i], expected[i]);
    }
  }
  return {};
}

}  // namespace

std::string SelfCheck(const MaxsimKernels& kernels) {
  Noise noise(20);
  for (const Case& c : kCases) {
    for (const unsigned bits : {8u, 7u}) {
      if (std::string found = CheckInt8(kernels, c, bits, noise); !found.empty()) return found;
    }
    if (std::string found = CheckF32(kernels, c, noise); !found.empty()) return found;
  }
  return {};
}

}  // namespace maxsim
