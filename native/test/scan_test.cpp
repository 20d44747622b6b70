#include "maxsim/scan.h"

#include <doctest/doctest.h>

#include <cmath>

#include "fixtures.h"
#include "maxsim/codec.h"

using namespace maxsim;

namespace {

struct Corpus {
  std::vector<uint8_t> bytes;
  std::vector<MaxsimDocument> documents;
};

Corpus EncodedCorpus(TokenFormat format, size_t dim, Noise& noise) {
  const std::vector<uint32_t> lengths = {1, 4, 30, 77};
  Corpus corpus;
  const size_t rows = 112, row_bytes = TokenBytes(format.codec, dim);
  corpus.bytes.resize(rows * row_bytes);
  const std::vector<float> floats = noise.Floats(rows * dim);
  EncodeTokens(format, floats.data(), rows, dim, corpus.bytes.data());
  const uint8_t* row = corpus.bytes.data();
  for (const uint32_t length : lengths) {
    corpus.documents.push_back({row, length});
    row += length * row_bytes;
  }
  return corpus;
}

}  // namespace

TEST_CASE("what Explain says adds up to the score") {
  for (const TokenFormat format : {TokenFormat{Codec::kInt8, 1.f / 127.f}, {Codec::kF32, 1.f}}) {
    for (const unsigned bits : {8u, 7u}) {
      Noise noise(21);
      const size_t dim = 50, query_tokens = 37;
      const std::vector<float> tokens = noise.Floats(query_tokens * dim);
      const PreparedQuery query(tokens.data(), query_tokens, dim, bits);
      const Corpus corpus = EncodedCorpus(format, dim, noise);
      std::vector<float> scores(corpus.documents.size());
      Scan(query, format, corpus.documents.data(), scores.size(), scores.data());
      for (size_t i = 0; i < scores.size(); i++) {
        std::vector<TokenMatch> matches(query_tokens);
        Explain(query, format, corpus.documents[i], matches.data());
        double sum = 0, magnitude = 0;
        for (const TokenMatch& match : matches) {
          CHECK(match.document_token < corpus.documents[i].token_count);
          sum += static_cast<double>(match.contribution);
          magnitude += std::fabs(static_cast<double>(match.contribution));
        }
        CHECK(std::fabs(sum - static_cast<double>(scores[i])) <= 1e-5 * magnitude);
      }
    }
  }
}

TEST_CASE(
    "Explain names the document token that a query token was copied from, the first of equals") {
  for (const TokenFormat format : {TokenFormat{Codec::kInt8, 1.f / 127.f}, {Codec::kF32, 1.f}}) {
    const size_t dim = 16;
    std::vector<float> document(6 * dim, 0.f);
    // Token t points along axis t; token 4 repeats token 1, token 5 is zero.
    for (const size_t t : {0u, 1u, 2u, 3u}) document[t * dim + t] = 1.f;
    document[4 * dim + 1] = 1.f;
    std::vector<uint8_t> bytes(6 * TokenBytes(format.codec, dim));
    EncodeTokens(format, document.data(), 6, dim, bytes.data());
    std::vector<float> tokens(3 * dim, 0.f);
    tokens[0 * dim + 3] = 1.f;
    tokens[1 * dim + 1] = 2.f;
    // Query token 2 stays zero: every document token is as good, the first is named.
    const PreparedQuery query(tokens.data(), 3, dim, 8);
    TokenMatch matches[3];
    Explain(query, format, {bytes.data(), 6}, matches);
    CHECK(matches[0].document_token == 3);
    CHECK(matches[0].contribution == doctest::Approx(1.).epsilon(0.02));
    CHECK(matches[1].document_token == 1);
    CHECK(matches[1].contribution == doctest::Approx(2.).epsilon(0.02));
    CHECK(matches[2].document_token == 0);
    CHECK(matches[2].contribution == 0.f);
  }
}
