#include "maxsim/self_check.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "maxsim/half.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"

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
  // Extremes in every third byte: a saturating product must show.
  uint8_t Byte() {
    const uint32_t draw = Next();
    return static_cast<uint8_t>(draw % 3 == 0 ? 255 : draw);
  }

 private:
  uint32_t state_;
};

struct Case {
  size_t query_tokens, dim;
  std::vector<uint32_t> document_tokens;
};

// One and two blocks and both together; padded rows, and rows that kernels are specialised for;
// documents below, at and above every tile size.
const Case kCases[] = {
    {5, 8, {1, 3, 4, 7}}, {32, 64, {6, 12, 13}}, {37, 50, {2, 5, 11, 25}},
    {17, 128, {1, 14}},   {16, 96, {13}},
};

// Rows are not aligned in a mapped file, so they are not here.
constexpr size_t kMisalignment = 1;

// Documents of one case, back to back, `token_bytes` a token.
struct Store {
  std::vector<uint8_t> bytes;
  std::vector<MaxsimDocument> documents;

  template <typename Fill>
  Store(const Case& c, size_t token_bytes, Fill fill) {
    size_t tokens = 0;
    for (const uint32_t count : c.document_tokens) tokens += count;
    bytes.resize(kMisalignment + tokens * token_bytes + kMaxsimResidualSlack);
    uint8_t* at = bytes.data() + kMisalignment;
    for (const uint32_t count : c.document_tokens) {
      fill(at, count);
      documents.push_back({at, count});
      at += count * token_bytes;
    }
  }
};

std::string Describe(const char* what, const Case& c, uint32_t document_tokens, float got,
                     float expected) {
  char text[160];
  std::snprintf(text, sizeof(text),
                "%s, %zu query tokens, dim %zu, %u document tokens: %.9g instead of %.9g", what,
                c.query_tokens, c.dim, document_tokens, static_cast<double>(got),
                static_cast<double>(expected));
  return text;
}

class Check {
 public:
  Check(const MaxsimKernels& kernels, const Case& c, Noise& noise)
      : kernels_(kernels), case_(c), noise_(noise), tokens_(c.query_tokens * c.dim) {
    for (float& value : tokens_) value = noise.Unit();
  }

  std::string Run() {
    for (const unsigned bits : {8u, 7u}) {
      const PreparedQuery query(tokens_.data(), case_.query_tokens, case_.dim, bits);
      const bool eight = bits == 8;
      std::string found =
          Bytes(query, eight ? "int8 with an 8-bit query" : "int8 with a 7-bit query");
      if (found.empty()) found = TokenScales(query);
      for (const uint32_t residual_bits : {4u, 2u, 1u}) {
        if (found.empty()) found = Residuals(query, residual_bits);
      }
      if (!found.empty()) return found;
    }
    if (std::string found = NearestRows(); !found.empty()) return found;
    if (std::string found = CodesOfDocuments(); !found.empty()) return found;
    if (const std::string found = Encoded(); !found.empty()) return found;
    return Floats();
  }

 private:
  template <typename Score, typename Query, typename... Codec>
  std::string Compare(const char* what, const Store& store, float tolerance,
                      Score MaxsimKernels::*score, const Query& query, const Codec*... codec) {
    std::vector<float> expected(store.documents.size()), got(store.documents.size());
    (kMaxsimScalar.*score)(&query, codec..., store.documents.data(), store.documents.size(),
                           nullptr, expected.data());
    (kernels_.*score)(&query, codec..., store.documents.data(), store.documents.size(), nullptr,
                      got.data());
    for (size_t i = 0; i < got.size(); i++) {
      const bool same = tolerance == 0 ? std::memcmp(&got[i], &expected[i], sizeof(float)) == 0
                                       : std::fabs(got[i] - expected[i]) <= tolerance;
      if (!same) return Describe(what, case_, store.documents[i].token_count, got[i], expected[i]);
    }
    return {};
  }

  std::string Bytes(const PreparedQuery& query, const char* what) {
    const size_t row = PaddedDim(case_.dim);
    const Store store(case_, row, [&](uint8_t* at, uint32_t count) {
      for (size_t i = 0; i < count * row; i++) at[i] = noise_.Byte();
    });
    return Compare(what, store, 0, &MaxsimKernels::score_int8, query.Int8(0.0078125f));
  }

  std::string TokenScales(const PreparedQuery& query) {
    const size_t row = PaddedDim(case_.dim);
    const Store store(case_, row + sizeof(float), [&](uint8_t* at, uint32_t count) {
      for (size_t i = 0; i < count * row; i++) at[i] = noise_.Byte();
      for (uint32_t t = 0; t < count; t++) {
        const float scale = 0.003f + 0.001f * noise_.Unit();
        std::memcpy(at + count * row + t * sizeof(scale), &scale, sizeof(scale));
      }
    });
    return Compare("int8-token", store, 0, &MaxsimKernels::score_int8_token, query.Int8(1.f));
  }

  std::string Residuals(const PreparedQuery& query, uint32_t bits) {
    constexpr uint32_t kCentroids = 37, kShift = 2, kTableShift = 6;
    const size_t row = PaddedDim(case_.dim);
    const MaxsimQueryInt8 prepared = query.Int8(0.001f);
    // Rows as a codebook's might be, of moderate length: a table of 16 bits must hold the products.
    std::vector<uint8_t> rows(kCentroids * row, 128);
    for (uint8_t& byte : rows)
      byte = static_cast<uint8_t>(128 + static_cast<int>(noise_.Next() % 25) - 12);
    std::vector<int16_t> table(kCentroids * prepared.block_count * kMaxsimLanes), own(table.size());
    const MaxsimCentroids scalar_rows{rows.data(), kShift, kTableShift, table.data()};
    const MaxsimCentroids own_rows{rows.data(), kShift, kTableShift, own.data()};
    kMaxsimScalar.fill_table(&prepared, &scalar_rows, nullptr, kCentroids);
    std::vector<uint32_t> some;
    for (uint32_t id = 0; id < kCentroids; id++) {
      if (id % 3 != 1) some.push_back(id);
    }
    kernels_.fill_table(&prepared, &own_rows, nullptr, kCentroids);
    if (own != table) return std::string("centroid table, ") + std::to_string(case_.dim) + " dims";
    std::fill(own.begin(), own.end(), int16_t{0});
    kernels_.fill_table(&prepared, &own_rows, some.data(), some.size());
    for (const uint32_t id : some) {
      const size_t row_values = prepared.block_count * kMaxsimLanes;
      if (std::memcmp(&own[id * row_values], &table[id * row_values], row_values * 2) != 0) {
        return std::string("rows of a centroid table, ") + std::to_string(case_.dim) + " dims";
      }
    }
    MaxsimResidual residual{};
    residual.table = table.data();
    residual.table_shift = kTableShift;
    residual.bits = bits;
    residual.code_bytes = static_cast<uint32_t>((case_.dim + 7) / 8 * bits);
    residual.id_bytes = bits == 4 ? 2 : (bits == 2 ? 3 : 4);
    for (uint32_t i = 0; i < 16; i++)
      residual.weights[i] = static_cast<uint8_t>(1 + (i % (1u << bits)) * 254 / ((1u << bits) - 1));
    const size_t code_bytes = residual.code_bytes;
    const Store store(case_, code_bytes + sizeof(uint16_t) + residual.id_bytes,
                      [&](uint8_t* at, uint32_t count) {
                        for (size_t i = 0; i < count * code_bytes; i++) at[i] = noise_.Byte();
                        at += count * code_bytes;
                        for (uint32_t t = 0; t < count; t++, at += sizeof(uint16_t)) {
                          const uint16_t factor = ToHalf(1.f + 0.25f * noise_.Unit());
                          std::memcpy(at, &factor, sizeof(factor));
                        }
                        for (uint32_t t = 0; t < count; t++, at += residual.id_bytes) {
                          const uint32_t id = noise_.Next() % kCentroids;
                          std::memcpy(at, &id, residual.id_bytes);
                        }
                      });
    const char* what = bits == 4 ? "r4" : (bits == 2 ? "r2" : "r1");
    return Compare(what, store, 0, &MaxsimKernels::score_residual, prepared, &residual);
  }

  std::string NearestRows() {
    const PreparedQuery seven(tokens_.data(), case_.query_tokens, case_.dim, 7);
    const MaxsimQueryInt8 prepared = seven.Int8(1.f);
    const size_t row = PaddedDim(case_.dim);
    for (const size_t count : {size_t{1}, size_t{5}, size_t{12}, size_t{41}}) {
      std::vector<uint8_t> rows(count * row);
      std::vector<int32_t> terms(count);
      for (uint8_t& byte : rows) byte = noise_.Byte();
      // Twice the same row, for the first of equals to be found.
      if (count > 12) std::memcpy(&rows[20 * row], &rows[7 * row], row);
      for (int32_t& term : terms) term = -static_cast<int32_t>(noise_.Next() % 4000);
      if (count > 12) terms[20] = terms[7] = 20000;
      const MaxsimRows choice{rows.data(), terms.data(), count, static_cast<uint32_t>(row)};
      std::vector<uint32_t> expected(prepared.block_count * kMaxsimLanes), got(expected.size());
      kMaxsimScalar.nearest(prepared.tokens, prepared.block_count, &choice, expected.data(),
                            nullptr);
      kernels_.nearest(prepared.tokens, prepared.block_count, &choice, got.data(), nullptr);
      if (got != expected) return "nearest of " + std::to_string(count) + " rows";
    }
    return {};
  }

  std::string CodesOfDocuments() {
    constexpr uint32_t kRows = 50, kDocuments = 9;
    const uint32_t blocks = static_cast<uint32_t>((case_.query_tokens + 15) / 16);
    const size_t lanes = size_t{blocks} * kMaxsimLanes;
    std::vector<int16_t> products(kRows * lanes), zero(lanes), row_factor(kRows), factor(lanes);
    for (int16_t& value : products) value = static_cast<int16_t>(noise_.Next());
    for (int16_t& value : zero) value = static_cast<int16_t>(noise_.Next());
    for (int16_t& value : factor) value = static_cast<int16_t>(noise_.Next() % 1500);
    for (int16_t& value : row_factor) value = static_cast<int16_t>(noise_.Next() % 32768);
    std::vector<uint8_t> table(kRows * lanes), own(table.size());
    kMaxsimScalar.to_bytes(products.data(), kRows, lanes, zero.data(), row_factor.data(),
                           factor.data(), table.data());
    kernels_.to_bytes(products.data(), kRows, lanes, zero.data(), row_factor.data(), factor.data(),
                      own.data());
    if (own != table) return "products as bytes";
    std::vector<uint32_t> starts{0}, chosen;
    std::vector<uint16_t> ids;
    for (uint32_t i = 0; i < kDocuments; i++) {
      for (uint32_t c = noise_.Next() % 30; c > 0; c--) {
        ids.push_back(static_cast<uint16_t>(noise_.Next() % kRows));
      }
      starts.push_back(static_cast<uint32_t>(ids.size()));
      chosen.push_back(kDocuments - 1 - i);
    }
    const std::vector<uint32_t> long_ids(ids.begin(), ids.end());
    for (const MaxsimCodes& codes : {MaxsimCodes{starts.data(), ids.data(), 2},
                                     MaxsimCodes{starts.data(), long_ids.data(), 4}}) {
      for (const uint32_t* documents :
           std::initializer_list<const uint32_t*>{nullptr, chosen.data()}) {
        std::vector<uint32_t> expected(kDocuments), got(kDocuments);
        kMaxsimScalar.scan_codes(table.data(), blocks, &codes, documents, 0, kDocuments,
                                 expected.data());
        kernels_.scan_codes(table.data(), blocks, &codes, documents, 0, kDocuments, got.data());
        if (got != expected) return "scan of centroid ids";
      }
    }
    return {};
  }

  // Bytes and what is told of them are the same to the bit.
  std::string Encoded() {
    const RotationOf rotation(case_.dim);
    const size_t row = PaddedDim(case_.dim);
    for (size_t count = 1; count <= kMaxsimLanes; count += 5) {
      std::vector<float> tokens(count * case_.dim);
      // Some of them clamped.
      for (float& value : tokens) value = noise_.Unit() * (noise_.Next() % 50 == 0 ? 4.f : 0.1f);
      std::vector<uint8_t> expected(count * row), got(count * row);
      MaxsimEncodedInt8 scalar, own;
      std::memset(&scalar, 0, sizeof(scalar));
      std::memset(&own, 0, sizeof(own));
      kMaxsimScalar.encode_int8(tokens.data(), count, rotation.get(), 0.004f, row, expected.data(),
                                &scalar);
      kernels_.encode_int8(tokens.data(), count, rotation.get(), 0.004f, row, got.data(), &own);
      if (got != expected || std::memcmp(&scalar, &own, sizeof(own)) != 0) {
        return "int8 tokens encoded, " + std::to_string(count) + " at once";
      }
    }
    return {};
  }

  std::string Floats() {
    const PreparedQuery query(tokens_.data(), case_.query_tokens, case_.dim, 8);
    const size_t row = PaddedDim(case_.dim);
    // Every product is at most 1, so query_tokens * dim bounds what the sums round.
    const float tolerance = 1e-5f * static_cast<float>(case_.query_tokens * case_.dim);
    const Store f32(case_, row * sizeof(float), [&](uint8_t* at, uint32_t count) {
      for (size_t i = 0; i < count * row; i++) {
        const float value = noise_.Unit();
        std::memcpy(at + i * sizeof(value), &value, sizeof(value));
      }
    });
    const auto halves = [&](uint16_t (*to)(float)) {
      return Store(case_, row * sizeof(uint16_t), [&](uint8_t* at, uint32_t count) {
        for (size_t i = 0; i < count * row; i++) {
          const uint16_t value = to(noise_.Unit());
          std::memcpy(at + i * sizeof(value), &value, sizeof(value));
        }
      });
    };
    std::string found = Compare("f32", f32, tolerance, &MaxsimKernels::score_f32, query.F32());
    if (found.empty()) {
      found = Compare("f16", halves(ToHalf), tolerance, &MaxsimKernels::score_f16, query.F32());
    }
    if (found.empty()) {
      found = Compare("bf16", halves(ToBfloat16), tolerance, &MaxsimKernels::score_bf16,
                      query.Bfloat16());
    }
    return found;
  }

  const MaxsimKernels& kernels_;
  const Case& case_;
  Noise& noise_;
  std::vector<float> tokens_;
};

}  // namespace

std::string SelfCheck(const MaxsimKernels& kernels) {
  Noise noise(20);
  for (const Case& c : kCases) {
    if (std::string found = Check(kernels, c, noise).Run(); !found.empty()) return found;
  }
  return {};
}

}  // namespace maxsim
