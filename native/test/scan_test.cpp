#include "maxsim/scan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "fixtures.h"
#include "formats.h"
#include "kernel_sets.h"
#include "maxsim/codec.h"

using namespace maxsim;

TEST_CASE("what Explain says adds up to the score, in every codec") {
  for (const Codec codec : kAllCodecs) {
    for (const unsigned bits : {8u, 7u}) {
      CAPTURE(std::string(CodecName(codec)));
      Noise noise(21);
      const size_t dim = 50, query_tokens = 37;
      const std::vector<float> tokens = noise.Floats(query_tokens * dim);
      const PreparedQuery query(tokens.data(), query_tokens, dim, bits);
      const EncodedStore store(FormatOf(codec, dim), dim, UnitTokens(112, dim, noise),
                               {1, 4, 30, 77});
      std::vector<float> scores(store.documents.size());
      Scanner scanner(query, store.format);
      scanner.Prepare(store.documents);
      scanner.Scan(store.documents.data(), scores.size(), scores.data());
      for (size_t i = 0; i < scores.size(); i++) {
        std::vector<TokenMatch> matches(query_tokens);
        Explain(query, store.format, store.documents[i], matches.data());
        double sum = 0, magnitude = 0;
        for (size_t q = 0; q < query_tokens; q++) {
          const TokenMatch& match = matches[q];
          REQUIRE(match.document_token < store.documents[i].token_count);
          sum += static_cast<double>(match.contribution);
          magnitude += std::fabs(static_cast<double>(match.contribution));
          // No other document token is better by more than the query's and the table's rounding.
          const auto dot = [&](size_t token) {
            double product = 0;
            for (size_t d = 0; d < dim; d++) {
              product +=
                  static_cast<double>(tokens[q * dim + d]) * store.decoded[i][token * dim + d];
            }
            return product;
          };
          const double best = dot(match.document_token);
          for (uint32_t t = 0; t < store.documents[i].token_count; t++) {
            CHECK(dot(t) <= best + (IsRotated(codec) ? 0.15 : codec == Codec::kBf16 ? 0.02 : 1e-5));
          }
          CHECK(std::fabs(static_cast<double>(match.contribution) - best) <= 0.15);
        }
        CHECK(std::fabs(sum - static_cast<double>(scores[i])) <= 1e-5 * magnitude);
      }
    }
  }
}

// What the tokens of a document add one by one, each a document of its own, decides which is the
// best.
TEST_CASE("Explain names the document token that adds the most, the first of equals") {
  constexpr size_t kDim = 50, kQueryTokens = 37, kTokens = 60;
  for (const Codec codec : kAllCodecs) {
    for (const unsigned bits : {8u, 7u}) {
      CAPTURE(std::string(CodecName(codec)));
      Noise noise(22);
      std::vector<float> tokens = UnitTokens(kTokens, kDim, noise);
      std::copy_n(&tokens[0], 20 * kDim, &tokens[40 * kDim]);  // equals
      const EncodedStore whole(FormatOf(codec, kDim), kDim, tokens, {kTokens});
      const EncodedStore single(whole.format, kDim, tokens, std::vector<uint32_t>(kTokens, 1));
      const PreparedQuery query(noise.Floats(kQueryTokens * kDim).data(), kQueryTokens, kDim, bits);
      std::vector<TokenMatch> matches(kQueryTokens), one(kQueryTokens), best(kQueryTokens);
      Explain(query, whole.format, whole.documents[0], matches.data());
      for (uint32_t t = 0; t < kTokens; t++) {
        Explain(query, whole.format, single.documents[t], one.data());
        for (size_t q = 0; q < kQueryTokens; q++) {
          if (t > 0 && one[q].contribution <= best[q].contribution) continue;
          best[q] = {t, one[q].contribution};
        }
      }
      for (size_t q = 0; q < kQueryTokens; q++) {
        CHECK(matches[q].document_token == best[q].document_token);
        CHECK(matches[q].contribution == best[q].contribution);
        CHECK(matches[q].document_token < 40);
      }
    }
  }
}

TEST_CASE(
    "Explain names the document token that a query token was copied from, the first of equals") {
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    const size_t dim = 16;
    std::vector<float> document(6 * dim, 0.f);
    // Token t points along axis t; token 4 repeats token 1, token 5 is zero.
    for (const size_t t : {0u, 1u, 2u, 3u}) document[t * dim + t] = 1.f;
    document[4 * dim + 1] = 1.f;
    const EncodedStore store(FormatOf(codec, dim), dim, document, {6});
    std::vector<float> tokens(3 * dim, 0.f);
    tokens[0 * dim + 3] = 1.f;
    tokens[1 * dim + 1] = 2.f;
    // Query token 2 stays zero: every document token is as good, the first is named.
    const PreparedQuery query(tokens.data(), 3, dim, 8);
    TokenMatch matches[3];
    Explain(query, store.format, store.documents[0], matches);
    // These codebooks know nothing of such tokens.
    const double tolerance = codec == Codec::kR1 ? 0.35 : ResidualBits(codec) != 0 ? 0.1 : 0.02;
    CHECK(matches[0].document_token == 3);
    CHECK(matches[0].contribution == doctest::Approx(1.).epsilon(tolerance));
    CHECK(matches[1].document_token == 1);
    CHECK(matches[1].contribution == doctest::Approx(2.).epsilon(tolerance));
    CHECK(matches[2].document_token == 0);
    CHECK(matches[2].contribution == 0.f);
  }
}

TEST_CASE("a document scores the same in any company, by any kernels") {
  const size_t dim = 64;
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    Noise noise(11);
    const std::vector<float> tokens = noise.Floats(50 * dim);
    const PreparedQuery query(tokens.data(), 50, dim, 8);
    std::vector<uint32_t> lengths;
    for (size_t row = 0, length = 1; row + length <= 400; length = length * 5 % 31) {
      lengths.push_back(static_cast<uint32_t>(length));
      row += length;
    }
    const EncodedStore store(FormatOf(codec, dim), dim, UnitTokens(400, dim, noise), lengths);
    for (const MaxsimKernels* kernels : AllKernels()) {
      CAPTURE(std::string(kernels->name));
      std::vector<float> together(store.documents.size());
      ScoreWith(*kernels, query, store.format, store.documents, nullptr, together.data());
      for (size_t i = 0; i < store.documents.size(); i++) {
        float alone;
        ScoreWith(*kernels, query, store.format, {&store.documents[i], 1}, nullptr, &alone);
        CHECK(together[i] == alone);
      }
      ScoreWith(*kernels, query, store.format, {}, nullptr, nullptr);  // no documents, no scores
    }
  }
}

TEST_CASE("a scanner prepared for some documents scores them as one prepared for any") {
  const size_t dim = 32;
  for (const Codec codec : {Codec::kR4, Codec::kR2, Codec::kR1}) {
    Noise noise(13);
    const std::vector<float> tokens = noise.Floats(20 * dim);
    const PreparedQuery query(tokens.data(), 20, dim, 8);
    for (const uint32_t centroids : {40u, 500u, 70000u}) {  // ids of 3 bytes, too
      const EncodedStore store(FormatOf(codec, dim, centroids), dim, UnitTokens(60, dim, noise),
                               {30, 20, 10});
      Scanner any(query, store.format), some(query, store.format);
      any.Prepare();
      some.Prepare({&store.documents[0], 1});
      some.Prepare({&store.documents[1], 2});  // what was filled before stays
      float expected[3], got[3];
      any.Scan(store.documents.data(), 3, expected);
      some.Scan(store.documents.data(), 3, got);
      for (int i = 0; i < 3; i++) CHECK(got[i] == expected[i]);
    }
  }
}

TEST_CASE("no finite query and no finite document have a score that is not finite") {
  for (const Codec codec : kAllCodecs) {
    for (const size_t dim : {8, 9, 1024}) {
      // What the doors of the codec let in: see FloatDocuments::Validate.
      const bool residual = ResidualBits(codec) != 0;
      const double longest = residual                ? 1e3
                             : codec == Codec::kF16  ? 65504.
                             : codec == Codec::kInt8 ? 3.
                                                     : 1e15;
      const double shortest = residual || codec == Codec::kF16 ? 1e-3 : 1e-45;
      const auto even = [dim](double length) {
        return static_cast<float>(length / std::sqrt(static_cast<double>(dim)));
      };
      std::vector<float> tokens(5 * dim, 0.f);
      std::fill_n(&tokens[1 * dim], dim, even(longest));
      std::fill_n(&tokens[2 * dim], dim, even(shortest));
      tokens[3 * dim] = static_cast<float>(longest);
      tokens[4 * dim + 1] = static_cast<float>(-shortest);
      const EncodedStore store(FormatOf(codec, dim), dim, tokens, {1, 1, 1, 1, 1});
      for (const std::vector<float>& decoded : store.decoded) {
        for (const float value : decoded) REQUIRE(std::isfinite(value));
      }
      CHECK(std::isfinite(store.encoded.longest));
      for (const float value : {0.f, 1e-45f, 1e-38f, 1e-30f, 1.f, kMaxMagnitude}) {
        std::vector<float> query_tokens(33 * dim, value);
        std::fill_n(query_tokens.begin(), dim, -value);
        for (const unsigned bits : {8u, 7u}) {
          const PreparedQuery query(query_tokens.data(), 33, dim, bits);
          for (const MaxsimKernels* kernels : AllKernels()) {
            float scores[5];
            ScoreWith(*kernels, query, store.format, store.documents, nullptr, scores);
            for (const float score : scores) CHECK(std::isfinite(score));
          }
          Scanner scanner(query, store.format);
          scanner.Prepare(store.documents);
          const std::vector<float> rest =
              scanner.Rest(store.encoded.longest, store.encoded.largest_factor);
          for (const float bound : rest) CHECK(std::isfinite(bound));
        }
      }
    }
  }
}
