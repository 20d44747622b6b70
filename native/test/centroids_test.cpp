// fill_table and nearest: every kernel set that this CPU can run against the scalar one, which is
// held against what it says it computes.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "fixtures.h"
#include "kernel_sets.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"

using namespace maxsim;

namespace {

// Around the tiles of 12, 6, 4 and 3 rows, and eight of them and two.
const std::vector<size_t> kCounts = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 24, 26, 34, 50, 98};
constexpr uint32_t kDims[] = {8, 9, 10, 12, 48, 64, 96, 100, 128, 384, 1024};

int QueryValue(const int8_t* tokens, size_t padded_dim, size_t token, size_t d) {
  const size_t block = token / kMaxsimLanes, lane = token % kMaxsimLanes;
  return tokens[((block * padded_dim / 4 + d / 4) * kMaxsimLanes + lane) * 4 + d % 4];
}

struct Table {
  std::vector<int16_t> entries;
  static constexpr int16_t kUntouched = 12345;

  Table(const MaxsimKernels& kernels, const MaxsimQueryInt8& query,
        const std::vector<uint8_t>& rows, uint32_t shift, uint32_t table_shift, const uint32_t* ids,
        size_t count)
      : entries(rows.size() / query.padded_dim * query.block_count * kMaxsimLanes, kUntouched) {
    const MaxsimCentroids centroids{rows.data(), shift, table_shift, entries.data()};
    kernels.fill_table(&query, &centroids, ids, count);
  }
};

void CompareTables(size_t query_tokens, size_t dim) {
  Noise noise(query_tokens * 4096 + dim);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const size_t padded_dim = PaddedDim(dim);
  for (const unsigned bits : {8u, 7u}) {
    const PreparedQuery query(tokens.data(), query_tokens, dim, bits);
    const MaxsimQueryInt8 prepared = query.Int8(1.f);
    for (const size_t count : kCounts) {
      CAPTURE(query_tokens);
      CAPTURE(dim);
      CAPTURE(bits);
      CAPTURE(count);
      const std::vector<uint8_t> bytes = noise.Bytes(count * padded_dim);
      GuardedBytes guarded(bytes.size());
      const uint8_t* end = guarded.Place(bytes.data(), bytes.size());
      const uint32_t shift = static_cast<uint32_t>(count) % 6;
      // As a codebook's query chooses it: what is largest fits 16 bits.
      uint32_t table_shift = 0;
      while ((32766ll << table_shift) < 1024ll * 128 * 127 * (1ll << shift) + 1024 * 128 * 127) {
        table_shift++;
      }
      std::vector<uint32_t> some;
      for (size_t id = count; id-- > 0;) {
        if (id % 3 != 1) some.push_back(static_cast<uint32_t>(id));  // in any order
      }
      const Table expected(kMaxsimScalar, prepared, bytes, shift, table_shift, nullptr, count);
      const Table expected_some(kMaxsimScalar, prepared, bytes, shift, table_shift, some.data(),
                                some.size());
      for (const MaxsimKernels* kernels : FastKernels()) {
        CAPTURE(std::string(kernels->name));
        std::vector<int16_t> all(expected.entries.size(), Table::kUntouched), few = all;
        const MaxsimCentroids into_all{end, shift, table_shift, all.data()};
        const MaxsimCentroids into_few{end, shift, table_shift, few.data()};
        kernels->fill_table(&prepared, &into_all, nullptr, count);
        CHECK(all == expected.entries);
        kernels->fill_table(&prepared, &into_few, some.data(), some.size());
        CHECK(few == expected_some.entries);
        kernels->fill_table(&prepared, &into_few, some.data(), 0);
        CHECK(few == expected_some.entries);
      }
    }
  }
}

struct Choice {
  std::vector<uint8_t> rows;
  std::vector<int32_t> terms;

  std::vector<uint32_t> Best(const MaxsimKernels& kernels, const MaxsimQueryInt8& query) const {
    // Rows and terms end where memory ends.
    GuardedBytes row_memory(rows.size()), term_memory(terms.size() * sizeof(int32_t));
    const MaxsimRows choice{
        row_memory.Place(rows.data(), rows.size()),
        reinterpret_cast<const int32_t*>(term_memory.Place(
            reinterpret_cast<const uint8_t*>(terms.data()), terms.size() * sizeof(int32_t))),
        terms.size(), query.padded_dim};
    std::vector<uint32_t> best(query.block_count * kMaxsimLanes, 0xffffffff);
    kernels.nearest(query.tokens, query.block_count, &choice, best.data(), nullptr);
    return best;
  }

  // How much larger the maxima among all rows are than those of the first row alone.
  std::vector<int32_t> Gains(const MaxsimKernels& kernels, const MaxsimQueryInt8& query) const {
    std::vector<uint32_t> best(query.block_count * kMaxsimLanes);
    std::vector<int32_t> all(best.size()), one(best.size());
    MaxsimRows choice{rows.data(), terms.data(), terms.size(), query.padded_dim};
    kernels.nearest(query.tokens, query.block_count, &choice, best.data(), all.data());
    choice.count = 1;
    kernels.nearest(query.tokens, query.block_count, &choice, best.data(), one.data());
    for (size_t i = 0; i < all.size(); i++) all[i] -= one[i];
    return all;
  }
};

void CompareNearest(size_t query_tokens, size_t dim) {
  Noise noise(query_tokens * 4096 + dim);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery query(tokens.data(), query_tokens, dim, 7);
  const MaxsimQueryInt8 prepared = query.Int8(1.f);
  const size_t padded_dim = PaddedDim(dim);
  for (const size_t count : kCounts) {
    CAPTURE(query_tokens);
    CAPTURE(dim);
    CAPTURE(count);
    Choice choice{noise.Bytes(count * padded_dim), {}};
    for (size_t c = 0; c < count; c++) {
      choice.terms.push_back(-static_cast<int32_t>((noise.Next() >> 20) % 100000));
    }
    // Half of the rows stand there twice, so that nearly every best one has an equal.
    for (size_t c = count / 2; c + 1 < count; c++) {
      std::memcpy(&choice.rows[c * padded_dim], &choice.rows[(count - 1 - c) * padded_dim],
                  padded_dim);
      choice.terms[c] = choice.terms[count - 1 - c];
    }
    const std::vector<uint32_t> expected = choice.Best(kMaxsimScalar, prepared);
    const std::vector<int32_t> gains = choice.Gains(kMaxsimScalar, prepared);
    for (const MaxsimKernels* kernels : FastKernels()) {
      CAPTURE(std::string(kernels->name));
      CHECK(choice.Best(*kernels, prepared) == expected);
      CHECK(choice.Gains(*kernels, prepared) == gains);
    }
  }
}

}  // namespace

TEST_CASE("every kernel fills a table as the scalar one does, all rows of it or some") {
  for (const size_t query_tokens : {1, 16, 17, 32, 33, 48, 100}) {
    for (const size_t dim : {8, 12, 100, 128}) CompareTables(query_tokens, dim);
  }
  for (const size_t dim : kDims) CompareTables(37, dim);
}

TEST_CASE("every kernel finds the nearest row that the scalar one finds, the first of equals") {
  for (const size_t query_tokens : {1, 16, 17, 32, 33, 48, 100}) {
    for (const size_t dim : {8, 12, 100, 128}) CompareNearest(query_tokens, dim);
  }
  for (const size_t dim : kDims) CompareNearest(37, dim);
}

TEST_CASE("the scalar kernel fills a table with rounded products of query and centroids") {
  constexpr size_t kDim = 10, kQueryTokens = 18, kCount = 5;
  Noise noise(4);
  const PreparedQuery query(noise.Floats(kQueryTokens * kDim).data(), kQueryTokens, kDim, 8);
  const MaxsimQueryInt8 prepared = query.Int8(1.f);
  const std::vector<uint8_t> rows = noise.Bytes(kCount * PaddedDim(kDim));
  for (const uint32_t shift : {0u, 3u}) {
    const uint32_t table_shift = 6;
    const Table table(kMaxsimScalar, prepared, rows, shift, table_shift, nullptr, kCount);
    for (size_t c = 0; c < kCount; c++) {
      for (size_t token = 0; token < kQueryTokens; token++) {
        int64_t exact = 0;
        for (size_t d = 0; d < PaddedDim(kDim); d++) {
          const int q = QueryValue(prepared.tokens, PaddedDim(kDim), token, d);
          exact += q * ((rows[c * PaddedDim(kDim) + d] - 128) * (1 << shift) - 128);
        }
        const double rounded = std::floor(static_cast<double>(exact) / 64 + 0.5);
        const size_t at = (c * 2 + token / kMaxsimLanes) * kMaxsimLanes + token % kMaxsimLanes;
        CHECK(table.entries[at] == static_cast<int16_t>(rounded));
      }
    }
  }
}

TEST_CASE("the scalar kernel finds the row of the largest product and term") {
  constexpr size_t kDim = 9, kQueryTokens = 20, kCount = 30;
  Noise noise(5);
  const PreparedQuery query(noise.Floats(kQueryTokens * kDim).data(), kQueryTokens, kDim, 7);
  const MaxsimQueryInt8 prepared = query.Int8(1.f);
  Choice choice{noise.Bytes(kCount * PaddedDim(kDim)), {}};
  for (size_t c = 0; c < kCount; c++) {
    choice.terms.push_back(static_cast<int32_t>((noise.Next() >> 20) % 20000) - 10000);
  }
  const std::vector<uint32_t> best = choice.Best(kMaxsimScalar, prepared);
  for (size_t token = 0; token < kQueryTokens; token++) {
    int64_t largest = INT64_MIN;
    uint32_t expected = 0;
    for (uint32_t c = 0; c < kCount; c++) {
      int64_t value = choice.terms[c];
      for (size_t d = 0; d < PaddedDim(kDim); d++) {
        value += QueryValue(prepared.tokens, PaddedDim(kDim), token, d) *
                 choice.rows[c * PaddedDim(kDim) + d];
      }
      if (value > largest) {
        largest = value;
        expected = c;
      }
    }
    CHECK(best[token] == expected);
  }
}

TEST_CASE("tokens, rows and terms at their limits do not saturate") {
  for (const size_t dim : {8, 128, 1024}) {
    for (const float sign : {1.f, -1.f}) {
      std::vector<float> tokens(17 * dim, sign);
      for (size_t t = 0; t < 17; t++) RotateBack(tokens.data() + t * dim, dim);
      const PreparedQuery query(tokens.data(), 17, dim, 7);
      const MaxsimQueryInt8 prepared = query.Int8(1.f);
      Choice choice{std::vector<uint8_t>(26 * dim, 255), std::vector<int32_t>(26, -1000000000)};
      std::memset(&choice.rows[5 * dim], 254, dim);
      std::memset(&choice.rows[13 * dim], 0, dim);
      for (const int32_t term : {-1000000000, 0}) {
        choice.terms[20] = term;  // the best by far if it is 0
        const std::vector<uint32_t> expected = choice.Best(kMaxsimScalar, prepared);
        CHECK(expected[0] == (term == 0 ? 20u : sign > 0 ? 0u : 13u));
        for (const MaxsimKernels* kernels : FastKernels()) {
          CHECK(choice.Best(*kernels, prepared) == expected);
        }
      }
      // Products at their limits, in rows of a table.
      for (const unsigned bits : {8u, 7u}) {
        const PreparedQuery filling(tokens.data(), 17, dim, bits);
        const MaxsimQueryInt8 filled = filling.Int8(1.f);
        const Table expected(kMaxsimScalar, filled, choice.rows, 5, 17, nullptr, 26);
        for (const MaxsimKernels* kernels : FastKernels()) {
          CHECK(Table(*kernels, filled, choice.rows, 5, 17, nullptr, 26).entries ==
                expected.entries);
        }
      }
    }
  }
}
