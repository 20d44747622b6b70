// Centroids as bytes, and documents as their centroids: every kernel set against plain loops.
#include "maxsim/candidate_table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "fixtures.h"
#include "kernel_sets.h"
#include "maxsim/training.h"

using namespace maxsim;

namespace {

struct Documents {
  std::vector<uint32_t> starts{0};
  std::vector<uint32_t> ids;
  std::vector<uint16_t> short_ids;

  Documents(Noise& noise, size_t count, uint32_t centroids) {
    for (size_t i = 0; i < count; i++) {
      const size_t size = i % 7 == 3 ? 0 : (noise.Next() >> 32) % 40;
      for (size_t c = 0; c < size; c++)
        ids.push_back(static_cast<uint32_t>((noise.Next() >> 32) % centroids));
      starts.push_back(static_cast<uint32_t>(ids.size()));
    }
    short_ids.assign(ids.begin(), ids.end());
  }

  uint32_t Score(size_t document, const std::vector<uint8_t>& table, size_t lanes) const {
    uint32_t sum = 0;
    for (size_t lane = 0; lane < lanes; lane++) {
      uint8_t largest = 0;
      for (uint32_t c = starts[document]; c < starts[document + 1]; c++) {
        largest = std::max(largest, table[ids[c] * lanes + lane]);
      }
      sum += largest;
    }
    return sum;
  }
};

}  // namespace

TEST_CASE("the score of codes is the sum of the largest bytes, on every instruction set") {
  constexpr uint32_t kCentroids = 60;
  Noise noise(11);
  const Documents documents(noise, 40, kCentroids);
  std::vector<uint32_t> chosen;
  for (uint32_t i = 40; i-- > 0;) {
    if (i % 3 != 1) chosen.push_back(i);
  }
  for (const uint32_t blocks : {1u, 2u, 3u, 4u, 5u, 7u, 64u}) {
    const size_t lanes = blocks * kMaxsimLanes;
    const std::vector<uint8_t> table = noise.Bytes(kCentroids * lanes);
    for (const MaxsimKernels* kernels : AllKernels()) {
      for (const uint32_t bytes : {2u, 4u}) {
        CAPTURE(std::string(kernels->name));
        CAPTURE(blocks);
        CAPTURE(bytes);
        const MaxsimCodes codes{documents.starts.data(),
                                bytes == 2 ? static_cast<const void*>(documents.short_ids.data())
                                           : documents.ids.data(),
                                bytes};
        std::vector<uint32_t> range(35, 7), list(chosen.size(), 7);
        kernels->scan_codes(table.data(), blocks, &codes, nullptr, 5, range.size(), range.data());
        kernels->scan_codes(table.data(), blocks, &codes, chosen.data(), 0, list.size(),
                            list.data());
        for (size_t i = 0; i < range.size(); i++) {
          CHECK(range[i] == documents.Score(5 + i, table, lanes));
        }
        for (size_t i = 0; i < list.size(); i++) {
          CHECK(list[i] == documents.Score(chosen[i], table, lanes));
        }
      }
    }
  }
}

TEST_CASE("products become bytes alike on every instruction set") {
  Noise noise(12);
  constexpr size_t kRows = 9, kLanes = 48;
  std::vector<int16_t> products(kRows * kLanes), zero(kLanes), row_factor(kRows), factor(kLanes);
  for (int16_t& value : products) value = static_cast<int16_t>(noise.Next() >> 32);
  for (int16_t& value : zero) value = static_cast<int16_t>(noise.Next() >> 32);
  for (int16_t& value : factor) value = static_cast<int16_t>((noise.Next() >> 32) % 1500);
  for (int16_t& value : row_factor) value = static_cast<int16_t>((noise.Next() >> 32) % 32768);
  row_factor[0] = 32767;
  products[0] = 32767, zero[0] = -32768, factor[0] = 32767;
  factor[1] = 0;
  for (const MaxsimKernels* kernels : AllKernels()) {
    CAPTURE(std::string(kernels->name));
    std::vector<uint8_t> bytes(products.size());
    kernels->to_bytes(products.data(), kRows, kLanes, zero.data(), row_factor.data(), factor.data(),
                      bytes.data());
    for (size_t i = 0; i < bytes.size(); i++) {
      const int above = products[i] - zero[i % kLanes];
      const int by_row = std::clamp(above, 0, 32767) * row_factor[i / kLanes] / 65536;
      const int value = by_row * factor[i % kLanes] / 65536;
      CHECK(bytes[i] == std::min(value, 255));
    }
  }
}

TEST_CASE("a table holds the products of a query with all centroids, in steps of one unit") {
  Noise noise(13);
  for (const size_t dim : {8, 96, 128}) {
    for (const size_t tokens : {1, 17, 32, 70}) {
      CodebookContents contents;
      contents.bits = 1;
      contents.dim = static_cast<uint32_t>(dim);
      contents.centroid_count = 101;
      contents.centroid_shift = 2;
      contents.scale = 0.01f;
      contents.weights[0] = -1, contents.weights[1] = 1;
      contents.rows = noise.Bytes(101 * PaddedDim(dim));
      for (uint8_t& byte : contents.rows) byte = std::max<uint8_t>(byte, 1);
      const Codebook codebook(contents);
      std::vector<float> values = noise.Floats(tokens * dim);
      // Query tokens of different lengths share the unit.
      for (size_t d = 0; d < dim; d++) values[d] *= 0.25f;
      const PreparedQuery query(values.data(), tokens, dim, 8);
      const MaxsimQueryInt8 int8 = query.Int8(1.f);
      CandidateTable table(query, codebook);
      table.Fill(40, 61);
      table.Fill(0, 40);
      uint8_t largest = 0;
      for (size_t c = 0; c < 101; c++) {
        for (size_t lane = 0; lane < table.lanes(); lane++) {
          const uint8_t byte = table.rows()[c * table.lanes() + lane];
          largest = std::max(largest, byte);
          double dot = 0;
          for (size_t d = 0; d < dim && lane < tokens; d++) {
            const size_t block = lane / kMaxsimLanes;
            dot +=
                int8.tokens[((block * int8.padded_dim / 4 + d / 4) * kMaxsimLanes + lane % 16) * 4 +
                            d % 4] *
                (contents.rows[c * PaddedDim(dim) + d] - 128.);
          }
          double squares = 0;
          for (size_t d = 0; d < dim; d++) {
            squares += std::pow(contents.rows[c * PaddedDim(dim) + d] - 128., 2);
          }
          const double product =
              lane < tokens ? dot * int8.factor[lane] / std::sqrt(squares) / table.unit() : 0;
          // Rounded down, a little lower still where factors were.
          CHECK(byte <= std::max(0., product) * 1.005 + 0.6);
          CHECK(byte >= product * 0.99 - 1.8);
        }
      }
      CHECK(largest > 40);
    }
  }
}
