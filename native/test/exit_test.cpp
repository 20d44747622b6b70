// Early exit: a score is what it is without, or the document could not have reached the threshold.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "fixtures.h"
#include "formats.h"
#include "kernel_sets.h"
#include "maxsim/query.h"
#include "maxsim/scan.h"

using namespace maxsim;

namespace {

constexpr float kGivenUp = -std::numeric_limits<float>::infinity();

// A store with a query, and its scores by one kernel set without early exit.
struct Case {
  const MaxsimKernels& kernels;
  const EncodedStore& store;
  const PreparedQuery& query;
  std::vector<float> rest, scores;

  Case(const MaxsimKernels& kernel_set, const EncodedStore& documents, const PreparedQuery& asked)
      : kernels(kernel_set), store(documents), query(asked), scores(documents.documents.size()) {
    Scanner scanner(query, store.format);
    scanner.Prepare(store.documents);
    rest = scanner.Rest(store.encoded.longest, store.encoded.largest_factor);
    ScoreWith(kernels, query, store.format, store.documents, nullptr, scores.data());
  }

  // How many documents are given up, all of them rightly.
  size_t GivenUp(float threshold) const {
    std::vector<float> got(scores.size());
    MaxsimExit exit{threshold, rest.data(), 1000};
    ScoreWith(kernels, query, store.format, store.documents, &exit, got.data());
    size_t given_up = 0;
    for (size_t i = 0; i < got.size(); i++) {
      if (got[i] == kGivenUp) {
        given_up++;
        CHECK(scores[i] < threshold);
      } else {
        CHECK(got[i] == scores[i]);
      }
    }
    CHECK(exit.skipped == 1000 + given_up);
    return given_up;
  }
};

std::vector<uint32_t> Lengths(size_t count, Noise& noise) {
  std::vector<uint32_t> lengths;
  for (size_t i = 0; i < count; i++) {
    lengths.push_back(1 + static_cast<uint32_t>(noise.Next() >> 40) % 20);
  }
  return lengths;
}

size_t Sum(const std::vector<uint32_t>& lengths) {
  size_t sum = 0;
  for (const uint32_t length : lengths) sum += length;
  return sum;
}

}  // namespace

TEST_CASE("a document is given up only below the threshold, and then counted, in every codec") {
  constexpr size_t kDim = 24;
  for (const Codec codec : kAllCodecs) {
    for (const size_t query_tokens : {33, 48, 100}) {
      CAPTURE(std::string(CodecName(codec)));
      CAPTURE(query_tokens);
      Noise noise(query_tokens);
      const std::vector<uint32_t> lengths = Lengths(20, noise);
      const EncodedStore store(FormatOf(codec, kDim), kDim, UnitTokens(Sum(lengths), kDim, noise),
                               lengths);
      for (const unsigned bits : {8u, 7u}) {
        const PreparedQuery query(UnitTokens(query_tokens, kDim, noise).data(), query_tokens, kDim,
                                  bits);
        for (const MaxsimKernels* kernels : AllKernels()) {
          CAPTURE(std::string(kernels->name));
          const Case one(*kernels, store, query);
          CHECK(one.GivenUp(kGivenUp) == 0);
          // At most all but what needs a single pass; here nothing does.
          CHECK(one.GivenUp(std::numeric_limits<float>::infinity()) == lengths.size());
          for (const float score : one.scores) one.GivenUp(score);
        }
      }
    }
  }
}

TEST_CASE("queries of a single pass are never given up") {
  constexpr size_t kDim = 24;
  Noise noise(3);
  const EncodedStore store(FormatOf(Codec::kInt8, kDim), kDim, UnitTokens(40, kDim, noise),
                           {10, 10, 20});
  const PreparedQuery query(UnitTokens(16, kDim, noise).data(), 16, kDim, 8);
  for (const MaxsimKernels* kernels : AllKernels()) {
    CHECK(Case(*kernels, store, query).GivenUp(std::numeric_limits<float>::infinity()) == 0);
  }
}

// The end of the query weighs as little as the roundings of the sum: scores that are equal but for
// those roundings must not be taken for smaller ones.
TEST_CASE("roundings of a sum never give a document up that reaches the threshold after all") {
  constexpr size_t kDim = 8, kQueryTokens = 48;
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    for (int round = 0; round < 12; round++) {
      Noise noise(static_cast<uint64_t>(round) + 100);
      std::vector<float> tokens = UnitTokens(kQueryTokens, kDim, noise);
      const float little = std::ldexp(1.f, -16 - round);
      for (size_t i = 32 * kDim; i < tokens.size(); i++) tokens[i] *= little;
      // Documents of nearly the same score: permutations and repetitions of a few tokens.
      const std::vector<float> few = UnitTokens(3, kDim, noise);
      std::vector<float> documents;
      const std::vector<uint32_t> lengths(60, 4);
      for (size_t t = 0; t < 4 * lengths.size(); t++) {
        const size_t from = (t % 4 < 3 ? t % 4 : (noise.Next() >> 40) % 3) * kDim;
        for (size_t d = 0; d < kDim; d++) {
          documents.push_back(few[from + d] + (t % 4 == 3 ? 1e-7f * noise.Unit() : 0.f));
        }
        // A token that only the end of the query likes.
        if (t % 4 == 3) {
          for (size_t d = 0; d < kDim; d++) {
            documents[t * kDim + d] = tokens[40 * kDim + d] / little * noise.Unit() * 0.3f;
          }
        }
      }
      const EncodedStore store(FormatOf(codec, kDim), kDim, documents, lengths);
      const PreparedQuery query(tokens.data(), kQueryTokens, kDim, 8);
      for (const MaxsimKernels* kernels : AllKernels()) {
        CAPTURE(std::string(kernels->name));
        const Case one(*kernels, store, query);
        for (const float score : one.scores) one.GivenUp(score);
      }
    }
  }
}

TEST_CASE("documents that match the beginning of a query badly are given up") {
  constexpr size_t kDim = 64, kQueryTokens = 40;
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    Noise noise(5);
    const std::vector<float> asked = UnitTokens(kQueryTokens, kDim, noise);
    // The first document holds what is asked for, the others anything.
    std::vector<float> tokens = asked;
    const std::vector<float> others = UnitTokens(20 * kQueryTokens, kDim, noise);
    tokens.insert(tokens.end(), others.begin(), others.end());
    const EncodedStore store(FormatOf(codec, kDim), kDim, tokens,
                             std::vector<uint32_t>(21, kQueryTokens));
    const PreparedQuery query(asked.data(), kQueryTokens, kDim, 8);
    for (const MaxsimKernels* kernels : AllKernels()) {
      CAPTURE(std::string(kernels->name));
      const Case one(*kernels, store, query);
      CHECK(one.GivenUp(one.scores[0]) == 20);
    }
  }
}

TEST_CASE("what is left of a query bounds what it adds, and falls from block to block") {
  constexpr size_t kDim = 20, kQueryTokens = 100;
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    Noise noise(6);
    const EncodedStore store(FormatOf(codec, kDim), kDim, UnitTokens(90, kDim, noise), {30, 60});
    const std::vector<float> tokens = UnitTokens(kQueryTokens, kDim, noise);
    const PreparedQuery query(tokens.data(), kQueryTokens, kDim, 8);
    const Case whole(kMaxsimScalar, store, query);
    REQUIRE(whole.rest.size() == query.block_count());
    for (size_t block = 0; block < whole.rest.size(); block++) {
      if (block > 0) CHECK(whole.rest[block] < whole.rest[block - 1]);
      CHECK(whole.rest[block] > 0);
      const size_t first = block * kMaxsimLanes;
      const PreparedQuery end(&tokens[first * kDim], kQueryTokens - first, kDim, 8);
      const Case part(kMaxsimScalar, store, end);
      for (const float score : part.scores) CHECK(score <= whole.rest[block]);
    }
  }
}
