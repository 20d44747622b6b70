#include "index/bounds.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "maxsim/centroid_table.h"
#include "maxsim/dispatch.h"
#include "maxsim/rotation.h"

namespace maxsim {
namespace {

// More than what floats round in the formulas below, and in scores of 1024 query tokens.
constexpr double kSlack = 1e-4;

// How far the query's bytes are from the floats that a codec scores with, token by token.
std::vector<float> DistancesOf(const PreparedQuery& query, Codec codec) {
  const size_t dim = query.dim(), lanes = query.block_count() * kMaxsimLanes;
  std::vector<float> distances(lanes, 0.f);
  if (IsRotated(codec)) return distances;  // they score with the bytes
  const MaxsimQueryF32 floats = codec == Codec::kBf16 ? query.Bfloat16() : query.F32();
  const MaxsimQueryInt8 bytes = query.Int8(1.f);
  std::vector<float> token(dim);
  for (size_t t = 0; t < query.token_count(); t++) {
    const size_t block = t / kMaxsimLanes, lane = t % kMaxsimLanes;
    for (size_t d = 0; d < dim; d++) {
      token[d] = floats.tokens[(block * floats.padded_dim + d) * kMaxsimLanes + lane];
    }
    Rotate(token.data(), dim);
    double squares = 0;
    for (size_t d = 0; d < dim; d++) {
      const size_t at = ((block * bytes.padded_dim / 4 + d / 4) * kMaxsimLanes + lane) * 4 + d % 4;
      const double rest = token[d] - static_cast<double>(bytes.tokens[at]) * bytes.factor[t];
      squares += rest * rest;
    }
    distances[t] = static_cast<float>(std::sqrt(squares) * (1 + kSlack));
  }
  return distances;
}

}  // namespace

BoundTable::BoundTable(const PreparedQuery& query, const VectorFormat& format,
                       const Codebook& codebook, const EncodedTokens& tokens)
    : query_(query),
      codebook_(codebook),
      lengths_(query.block_count() * kMaxsimLanes, 0.f),
      errors_(DistancesOf(query, format.tokens.codec)),
      longest_(tokens.longest) {
  const MaxsimQueryInt8 bytes = query.Int8(1.f);
  // Residual codecs round a row of their table by at most half of its unit.
  const Codebook* own = format.tokens.codebook.get();
  const double rounding =
      own == nullptr ? 0 : std::ldexp(0.5, static_cast<int>(TableShift(query, *own)));
  double largest = 0;
  for (size_t t = 0; t < query.token_count(); t++) {
    lengths_[t] = query.int8_lengths()[t] * bytes.factor[t];
    const double error = static_cast<double>(errors_[t]) * longest_ +
                         rounding * bytes.factor[t] * tokens.largest_factor;
    errors_[t] = static_cast<float>(error * (1 + kSlack));
    largest = std::max(largest, static_cast<double>(lengths_[t]) * longest_ + errors_[t]);
  }
  unit_ = std::max(largest * (1 + kSlack) / 255, 1e-30);
}

void BoundTable::Fill(const CodesReader& codes, std::vector<uint8_t>* rows) const {
  const CodebookContents& contents = codebook_.contents();
  const size_t lanes = lengths_.size(), padded_dim = PaddedDim(contents.dim);
  const MaxsimQueryInt8 query = query_.Int8(1.f);
  const uint32_t shift = TableShift(query_, codebook_);
  const auto half = static_cast<int32_t>(1u << shift >> 1);
  std::vector<int16_t> products(lanes);
  // Half a step of a product is rounded away; here a whole one is given back.
  std::vector<float> zero(lanes), per_unit(lanes);
  for (size_t lane = 0; lane < lanes; lane++) {
    zero[lane] = static_cast<float>((query.bias[lane] + half) >> shift) - 1.f;
    per_unit[lane] = lengths_[lane] > 0
                         ? std::ldexp(query.factor[lane], static_cast<int>(shift)) / lengths_[lane]
                         : 0.f;
  }
  const float inverse_unit = static_cast<float>(1 / unit_);
  rows->resize(size_t{contents.centroid_count} * lanes);
  for (size_t c = 0; c < contents.centroid_count; c++) {
    const uint8_t* row = &contents.rows[c * padded_dim];
    const MaxsimCentroids centroid{row, contents.centroid_shift, shift, products.data()};
    Kernels().chosen->fill_table(&query, &centroid, nullptr, 1);
    double squares = 0;
    for (size_t d = 0; d < contents.dim; d++) squares += (row[d] - 128.) * (row[d] - 128.);
    const double length = std::ldexp(std::sqrt(squares), static_cast<int>(contents.centroid_shift));
    const float inverse = length > 0 ? static_cast<float>(1 / length) : 0.f;
    const double bound = codes.bounds()[c] * std::numbers::pi / 255;
    const auto cosine_b = static_cast<float>(std::cos(bound));
    const auto sine_b = static_cast<float>(std::sin(bound));
    uint8_t* out = rows->data() + c * lanes;
    for (size_t lane = 0; lane < lanes; lane++) {
      float cosine =
          (products[lane] - zero[lane]) * per_unit[lane] * inverse + static_cast<float>(kSlack);
      cosine = std::clamp(cosine, -1.f, 1.f);
      // Without a direction a centroid says nothing.
      float nearest = 1.f;
      if (length > 0 && cosine < cosine_b) {
        nearest = cosine * cosine_b + std::sqrt(1.f - cosine * cosine) * sine_b;
      }
      const float most =
          lengths_[lane] * std::max(0.f, nearest + static_cast<float>(kSlack)) * longest_ +
          errors_[lane];
      const float steps = std::ceil(most * inverse_unit);
      out[lane] = lengths_[lane] <= 0 && errors_[lane] <= 0
                      ? uint8_t{0}
                      : static_cast<uint8_t>(std::clamp(steps, 0.f, 255.f));
    }
  }
}

}  // namespace maxsim
