// In: a prepared query and documents of one format. Out: their MaxSim scores, or why one is what it
// is.
#include "maxsim/scan.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "maxsim/dispatch.h"

namespace maxsim {

Scanner::Scanner(const PreparedQuery& query, const TokenFormat& format)
    : query_(query), format_(format) {}

void Scanner::Prepare(std::span<const MaxsimDocument> documents) {
  if (format_.codebook != nullptr) table_.Fill(query_, *format_.codebook, documents);
}

void Scanner::Prepare() {
  if (format_.codebook != nullptr) table_.FillAll(query_, *format_.codebook);
}

void Scanner::Scan(const MaxsimDocument* documents, size_t document_count, MaxsimExit* exit,
                   float* scores) const {
  const MaxsimKernels& kernels = *Kernels().chosen;
  switch (format_.codec) {
    case Codec::kF32: {
      const MaxsimQueryF32 query = query_.F32();
      return kernels.score_f32(&query, documents, document_count, exit, scores);
    }
    case Codec::kF16: {
      const MaxsimQueryF32 query = query_.F32();
      return kernels.score_f16(&query, documents, document_count, exit, scores);
    }
    case Codec::kBf16: {
      const MaxsimQueryF32 query = query_.Bfloat16();
      return kernels.score_bf16(&query, documents, document_count, exit, scores);
    }
    case Codec::kInt8: {
      const MaxsimQueryInt8 query = query_.Int8(format_.scale);
      return kernels.score_int8(&query, documents, document_count, exit, scores);
    }
    case Codec::kInt8Token: {
      const MaxsimQueryInt8 query = query_.Int8(1.f);
      return kernels.score_int8_token(&query, documents, document_count, exit, scores);
    }
    default: {
      const MaxsimQueryInt8 query = query_.Int8(format_.codebook->contents().scale);
      MaxsimResidual residual = format_.codebook->ForKernels();
      residual.table = table_.rows();
      residual.table_shift = table_.shift();
      return kernels.score_residual(&query, &residual, documents, document_count, exit, scores);
    }
  }
}

std::vector<float> Scanner::Rest(float longest, float largest_factor) const {
  // More than the roundings of 1024 products and sums in any order.
  constexpr double kRoundUp = 1 + 1e-4;
  const bool integers = IsRotated(format_.codec);
  const std::span<const float> lengths = integers ? query_.int8_lengths() : query_.lengths();
  const MaxsimQueryInt8 int8 = integers ? query_.Int8(1.f) : MaxsimQueryInt8{};
  // A row of the table is rounded by at most half of its unit.
  const double rounding = format_.codebook == nullptr ? 0 : std::ldexp(0.5, table_.shift());
  double sum = 0;
  std::vector<float> rest(query_.block_count());
  for (size_t block = rest.size(); block-- > 0;) {
    const size_t first = block * kMaxsimLanes;
    for (size_t token = first; token < first + kMaxsimLanes && token < lengths.size(); token++) {
      const double unit = integers ? int8.factor[token] : 1;
      sum += unit * (static_cast<double>(lengths[token]) * longest + rounding * largest_factor);
    }
    rest[block] = static_cast<float>(sum * kRoundUp);
  }
  // A score and the part of it that is known when a document is given up are rounded apart: at
  // every block, at the four steps of the tree, and where products and factors are (fold.h), each
  // by 2^-24 of what all tokens together can add.
  const double roundings = static_cast<double>(rest.size()) + 10;
  for (float& bound : rest) bound += static_cast<float>(sum * roundings * 0x1p-23);
  return rest;
}

namespace {

// dots[lane] = the products of one block of query tokens with the values of one row, plus start.
template <typename Value>
void AddProducts(const MaxsimQueryInt8& query, size_t block, const Value* row, size_t dim,
                 int32_t (&dots)[kMaxsimLanes]) {
  const int8_t* lanes = query.tokens + block * kMaxsimLanes * query.padded_dim;
  for (size_t d = 0; d < dim; d++) {
    const int8_t* step = lanes + d / 4 * kMaxsimLanes * 4 + d % 4;
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) dots[lane] += step[lane * 4] * row[d];
  }
}

// The rows of a document of some codec, as products with one block of query tokens that Scan would
// take the maximum of.
class Rows {
 public:
  Rows(const PreparedQuery& query, const TokenFormat& format, MaxsimDocument document)
      : query_(query), format_(format), document_(document) {
    bytes_ = static_cast<const uint8_t*>(document.tokens);
    if (format.codebook != nullptr) {
      shift_ = TableShift(query, *format.codebook);
      offset_ = int32_t{1} << shift_ >> 1;
    }
  }

  void Dots(size_t block, size_t token, double (&dots)[kMaxsimLanes]) const {
    const size_t dim = query_.dim();
    if (IsRotated(format_.codec)) return IntegerDots(block, token, dots);
    std::vector<float> values(dim);
    const size_t row_bytes = TokenBytes(format_, dim);
    DecodeTokens(format_, bytes_ + token * row_bytes, 1, dim, values.data());
    const MaxsimQueryF32 query = format_.codec == Codec::kBf16 ? query_.Bfloat16() : query_.F32();
    const float* lanes = query.tokens + block * kMaxsimLanes * query.padded_dim;
    float sums[kMaxsimLanes] = {};
    for (size_t d = 0; d < dim; d++) {
      for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
        sums[lane] = sums[lane] + lanes[d * kMaxsimLanes + lane] * values[d];
      }
    }
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) dots[lane] = sums[lane];
  }

 private:
  void IntegerDots(size_t block, size_t token, double (&dots)[kMaxsimLanes]) const {
    const MaxsimQueryInt8 query = query_.Int8(1.f);
    const int32_t* bias = query.bias + block * kMaxsimLanes;
    const size_t padded_dim = query.padded_dim;
    int32_t sums[kMaxsimLanes] = {};
    float factor = 1.f;
    if (format_.codebook == nullptr) {
      std::memcpy(sums, bias, sizeof(sums));
      AddProducts(query, block, bytes_ + token * padded_dim, padded_dim, sums);
      if (format_.codec == Codec::kInt8Token) {
        std::memcpy(&factor, bytes_ + document_.token_count * padded_dim + token * sizeof(float),
                    sizeof(factor));
      }
    } else {
      // As the table rounds: the centroid's share and the offset of the weights to its unit.
      const Codebook& codebook = *format_.codebook;
      const CodebookContents& contents = codebook.contents();
      Codebook::Token stored;
      codebook.Read(bytes_, document_.token_count, token, &stored);
      int16_t centroid[kMaxDim], weights[kMaxDim];
      const uint8_t* row = &contents.rows[size_t{stored.centroid} * padded_dim];
      for (size_t d = 0; d < contents.dim; d++) {
        centroid[d] = static_cast<int16_t>((row[d] - 128) * (1 << contents.centroid_shift));
        weights[d] = static_cast<int16_t>(stored.values[d] - centroid[d] + 128);
      }
      AddProducts(query, block, centroid, contents.dim, sums);
      for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
        sums[lane] = (sums[lane] + bias[lane] + offset_) >> shift_;
        sums[lane] = static_cast<int32_t>(static_cast<uint32_t>(sums[lane]) << shift_);
      }
      // Dims that only pad have no weight in the query.
      AddProducts(query, block, weights, contents.dim, sums);
      factor = stored.factor;
    }
    for (size_t lane = 0; lane < kMaxsimLanes; lane++) {
      dots[lane] =
          format_.codec == Codec::kInt8 ? sums[lane] : static_cast<float>(sums[lane]) * factor;
    }
  }

  const PreparedQuery& query_;
  const TokenFormat& format_;
  MaxsimDocument document_;
  const uint8_t* bytes_;
  uint32_t shift_ = 0;
  int32_t offset_ = 0;
};

}  // namespace

void Explain(const PreparedQuery& query, const TokenFormat& format, MaxsimDocument document,
             TokenMatch* matches) {
  const Rows rows(query, format, document);
  const size_t query_tokens = query.token_count();
  std::vector<double> best(query_tokens, -std::numeric_limits<double>::infinity());
  for (size_t token = 0; token < query_tokens; token++) matches[token].document_token = 0;
  for (uint32_t document_token = 0; document_token < document.token_count; document_token++) {
    for (size_t block = 0; block < query.block_count(); block++) {
      double dots[kMaxsimLanes];
      rows.Dots(block, document_token, dots);
      const size_t first = block * kMaxsimLanes;
      for (size_t lane = 0; lane < kMaxsimLanes && first + lane < query_tokens; lane++) {
        if (dots[lane] <= best[first + lane]) continue;
        best[first + lane] = dots[lane];
        matches[first + lane].document_token = document_token;
      }
    }
  }
  const MaxsimQueryInt8 int8 = query.Int8(1.f);
  const float document_scale = format.codec == Codec::kInt8 ? format.scale
                               : format.codebook != nullptr ? format.codebook->contents().scale
                                                            : 1.f;
  for (size_t token = 0; token < query_tokens; token++) {
    const float factor = IsRotated(format.codec) ? int8.factor[token] : 1.f;
    matches[token].contribution = static_cast<float>(best[token]) * factor * document_scale;
  }
}

}  // namespace maxsim
