#include "maxsim/centroid_groups.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "fixtures.h"
#include "formats.h"
#include "maxsim/codebook.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"
#include "platform/crc32c.h"

using namespace maxsim;

namespace {

constexpr size_t kDim = 16, kCentroids = 2 * CentroidGroups::kFewestCentroids, kTokens = 1500;

const Codebook& Large() {
  static const auto codebook = RandomCodebook(4, kDim, kCentroids, 3);
  return *codebook;
}

// Tokens as near to centroids as tokens are.
std::vector<float> TokensNearCentroids() {
  Noise noise(8);
  std::vector<float> tokens = UnitTokens(kTokens, kDim, noise);
  const CodebookContents& contents = Large().contents();
  for (size_t t = 0; t < kTokens; t++) {
    const uint8_t* row = &contents.rows[t * 7 % kCentroids * PaddedDim(kDim)];
    float centroid[kDim];
    for (size_t d = 0; d < kDim; d++) {
      centroid[d] = static_cast<float>(row[d] - 128) * contents.scale * 2.f;
    }
    RotateBack(centroid, kDim);
    for (size_t d = 0; d < kDim; d++) {
      tokens[t * kDim + d] = tokens[t * kDim + d] * 0.4f + centroid[d];
    }
  }
  return tokens;
}

std::vector<uint32_t> Assigned(const std::vector<float>& tokens, size_t at_once) {
  const size_t count = tokens.size() / kDim;
  std::vector<uint32_t> centroids(count);
  std::vector<float> cosines(count);
  for (size_t first = 0; first < count; first += at_once) {
    Large().Assign(&tokens[first * kDim], std::min(at_once, count - first), &centroids[first],
                   &cosines[first]);
  }
  return centroids;
}

// The distance that kernels compare, but for what they round.
double Squares(const float* rotated, uint32_t centroid) {
  const CodebookContents& contents = Large().contents();
  double sum = 0;
  for (size_t d = 0; d < kDim; d++) {
    const int value = contents.rows[centroid * PaddedDim(kDim) + d] - 128;
    sum += std::pow(rotated[d] - value * 2.f * contents.scale, 2.);
  }
  return sum;
}

}  // namespace

TEST_CASE("of many centroids nearly every token finds the nearest, and the others a near one") {
  const std::vector<float> tokens = TokensNearCentroids();
  const std::vector<uint32_t> found = Assigned(tokens, kTokens);
  size_t nearest = 0;
  double beyond = 0;
  for (size_t t = 0; t < kTokens; t += 5) {
    float rotated[kDim];
    double length = 0;
    for (size_t d = 0; d < kDim; d++) {
      rotated[d] = tokens[t * kDim + d];
      length += static_cast<double>(rotated[d]) * rotated[d];
    }
    for (float& value : rotated) value /= static_cast<float>(std::sqrt(length));
    Rotate(rotated, kDim);
    double least = 1e9;
    for (uint32_t c = 0; c < kCentroids; c++) least = std::min(least, Squares(rotated, c));
    const double own = Squares(rotated, found[t]);
    nearest += own <= least + 0.01 ? 1 : 0;  // tokens are compared in steps of 7 bits
    beyond += own - least;
  }
  CHECK(nearest >= kTokens / 5 * 95 / 100);
  CHECK(beyond / (kTokens / 5) < 0.01);
}

TEST_CASE("what a token finds does not depend on the tokens beside it") {
  std::vector<float> tokens = TokensNearCentroids();
  tokens.resize(200 * kDim);
  const std::vector<uint32_t> found = Assigned(tokens, 200);
  for (const size_t at_once : {1, 16, 33}) CHECK(Assigned(tokens, at_once) == found);
}

TEST_CASE("what a token finds is the same on every machine") {
  // Whole numbers, which no compiler rounds in its own way.
  Noise noise(5);
  CodebookContents contents = Large().contents();
  contents.rows = noise.Bytes(contents.rows.size());
  const Codebook codebook(std::move(contents));
  std::vector<float> tokens;
  for (const uint8_t byte : noise.Bytes(200 * kDim)) tokens.push_back(byte - 128.f);
  std::vector<uint32_t> centroids(200);
  std::vector<float> cosines(200);
  codebook.Assign(tokens.data(), 200, centroids.data(), cosines.data());
  CHECK(Crc32c(centroids.data(), centroids.size() * sizeof(uint32_t)) == 662969212u);
}

TEST_CASE("tokens of zeros and centroids that are all the same are assigned too") {
  CodebookContents contents = Large().contents();
  std::fill(contents.rows.begin(), contents.rows.end(), uint8_t{140});
  const Codebook same(std::move(contents));
  std::vector<float> tokens(40 * kDim, 0.f);
  std::fill_n(tokens.begin() + 8 * kDim, 8 * kDim, 1.f);
  std::vector<uint32_t> centroids(40, 9);
  std::vector<float> cosines(40);
  same.Assign(tokens.data(), 40, centroids.data(), cosines.data());
  CHECK(std::count(centroids.begin(), centroids.end(), 0u) == 40);  // the first of equals
}

TEST_CASE("every token finds a centroid where most groups begin as copies of one") {
  CodebookContents contents = Large().contents();
  const std::vector<float> tokens = TokensNearCentroids();
  const size_t row = PaddedDim(kDim);
  for (size_t c = 64; c < kCentroids; c += 64) {
    std::copy_n(contents.rows.begin(), row, &contents.rows[c * row]);
  }
  const Codebook copies(std::move(contents));
  std::vector<uint32_t> centroids(kTokens);
  std::vector<float> cosines(kTokens);
  copies.Assign(tokens.data(), kTokens, centroids.data(), cosines.data());
  CHECK(*std::max_element(centroids.begin(), centroids.end()) < kCentroids);
  size_t near = 0;
  for (const float cosine : cosines) near += cosine > 0.7f ? 1 : 0;
  CHECK(near >= kTokens * 9 / 10);
}
