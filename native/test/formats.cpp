#include "formats.h"

#include <algorithm>
#include <cmath>

#include "maxsim/centroid_table.h"

namespace maxsim {

std::shared_ptr<const Codebook> RandomCodebook(uint32_t bits, size_t dim, uint32_t centroids,
                                               uint64_t seed) {
  Noise noise(seed);
  CodebookContents contents;
  contents.bits = bits;
  contents.dim = static_cast<uint32_t>(dim);
  contents.centroid_count = centroids;
  contents.centroid_shift = 1;
  const double deviation = 1 / std::sqrt(static_cast<double>(dim));
  contents.scale = static_cast<float>(deviation / 64);  // a deviation is 32 in a centroid
  const int codes = 1 << bits;
  for (int code = 0; code < codes; code++) {
    contents.weights[code] = static_cast<int8_t>(((2 * code + 1) * 127 + codes) / codes - 127);
  }
  contents.rows.assign(centroids * PaddedDim(dim), 128);
  const std::vector<float> tokens = UnitTokens(centroids, dim, noise);
  for (size_t c = 0; c < centroids; c++) {
    for (size_t d = 0; d < dim; d++) {
      const double value = tokens[c * dim + d] / deviation * 32;
      contents.rows[c * PaddedDim(dim) + d] =
          static_cast<uint8_t>(std::clamp(static_cast<int>(value), -127, 127) + 128);
    }
  }
  return std::make_shared<const Codebook>(std::move(contents));
}

TokenFormat FormatOf(Codec codec, size_t dim, uint32_t centroids, uint64_t seed) {
  TokenFormat format{codec, codec == Codec::kInt8 ? 3.f / 127 : 1.f};
  if (ResidualBits(codec) != 0) {
    format.codebook = RandomCodebook(ResidualBits(codec), dim, centroids, seed);
  }
  return format;
}

std::vector<float> UnitTokens(size_t count, size_t dim, Noise& noise) {
  std::vector<float> tokens = noise.Floats(count * dim);
  for (size_t t = 0; t < count; t++) {
    double squares = 0;
    for (size_t d = 0; d < dim; d++) {
      const double value = tokens[t * dim + d];
      squares += value * value;
    }
    const float inverse = static_cast<float>(1 / std::sqrt(squares));
    for (size_t d = 0; d < dim; d++) tokens[t * dim + d] *= inverse;
  }
  return tokens;
}

EncodedStore::EncodedStore(const TokenFormat& token_format, size_t dims,
                           const std::vector<float>& tokens, const std::vector<uint32_t>& lengths)
    : format(token_format), dim(dims) {
  size_t first = 0;
  for (const uint32_t length : lengths) {
    const size_t size = length * TokenBytes(format, dim);
    blocks_.emplace_back(size + kMaxsimResidualSlack);
    EncodeTokens(format, &tokens[first * dim], length, dim, blocks_.back().data(), &encoded);
    decoded.emplace_back(length * dim);
    DecodeTokens(format, blocks_.back().data(), length, dim, decoded.back().data());
    documents.push_back({blocks_.back().data(), length});
    first += length;
  }
}

void ScoreWith(const MaxsimKernels& kernels, const PreparedQuery& query, const TokenFormat& format,
               std::span<const MaxsimDocument> documents, MaxsimExit* exit, float* scores) {
  const MaxsimDocument* first = documents.data();
  const size_t count = documents.size();
  const MaxsimQueryF32 floats = format.codec == Codec::kBf16 ? query.Bfloat16() : query.F32();
  const MaxsimQueryInt8 bytes =
      query.Int8(format.codec == Codec::kInt8 ? format.scale
                 : format.codebook != nullptr ? format.codebook->contents().scale
                                              : 1.f);
  switch (format.codec) {
    case Codec::kF32:
      return kernels.score_f32(&floats, first, count, exit, scores);
    case Codec::kF16:
      return kernels.score_f16(&floats, first, count, exit, scores);
    case Codec::kBf16:
      return kernels.score_bf16(&floats, first, count, exit, scores);
    case Codec::kInt8:
      return kernels.score_int8(&bytes, first, count, exit, scores);
    case Codec::kInt8Token:
      return kernels.score_int8_token(&bytes, first, count, exit, scores);
    default: {
      // Filled by the chosen kernels: centroids_test.cpp proves that all fill it alike.
      CentroidTable table;
      table.FillAll(query, *format.codebook);
      MaxsimResidual residual = format.codebook->ForKernels();
      residual.table = table.rows();
      residual.table_shift = table.shift();
      return kernels.score_residual(&bytes, &residual, first, count, exit, scores);
    }
  }
}

}  // namespace maxsim
