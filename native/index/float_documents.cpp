#include <cmath>

#include "index/segment_writer.h"
#include "maxsim/codec.h"
#include "maxsim/query.h"

namespace maxsim {
namespace {

// Unit-length vectors may lose the tip of a rare large component; anything else is no embedding that
// the scale was chosen for. 0.001 leaves room for norms computed in f16.
constexpr double kUnitNorm = 1.001;

double Norm(std::span<const float> token) {
  double sum = 0;
  for (const float x : token) sum += static_cast<double>(x) * x;
  return std::sqrt(sum);
}

}  // namespace

Status FloatDocuments::Validate() const {
  const size_t dim = format_.dim;
  const bool int8 = format_.tokens.codec == Codec::kInt8;
  // A component is clamped when it rounds beyond 127 steps.
  const float limit = 127.5f * format_.tokens.scale;
  for (const Document& document : documents_) {
    const std::span<const float> vectors = document.vectors;
    const size_t tokens = vectors.size() / dim;
    if (tokens == 0 || tokens > kMaxDocumentTokens || tokens * dim != vectors.size()) {
      return Status::Error("INVALID_VECTORS",
                           "document \"%s\" has %zu vector values, expected 1 to %zu rows of %zu.",
                           document.id.c_str(), vectors.size(), kMaxDocumentTokens, dim);
    }
    for (size_t token = 0; token < tokens; token++) {
      const std::span<const float> row = vectors.subspan(token * dim, dim);
      // One pass without branches: x - x is 0 only for finite x.
      float largest = 0, not_finite = 0;
      for (const float x : row) {
        const float size = std::fabs(x);
        largest = size > largest ? size : largest;
        not_finite += x - x;
      }
      const bool finite = not_finite == 0;
      if (finite && (!int8 || largest < limit)) continue;
      for (size_t i = 0; i < dim; i++) {
        const bool bad = finite ? std::fabs(row[i]) >= limit : !std::isfinite(row[i]);
        if (!bad) continue;
        if (!finite) {
          return Status::Error("INVALID_VECTORS",
                               "document \"%s\": value %zu of token %zu is %g, expected a finite one.",
                               document.id.c_str(), i, token, static_cast<double>(row[i]));
        }
        if (Norm(row) <= kUnitNorm) break;
        return Status::Error("VECTOR_OUT_OF_RANGE",
                             "document \"%s\": value %zu of token %zu is %g, but the index's int8 codec "
                             "holds -%g to %g and the token is not of unit length.",
                             document.id.c_str(), i, token, static_cast<double>(row[i]),
                             127.0 * static_cast<double>(format_.tokens.scale),
                             127.0 * static_cast<double>(format_.tokens.scale));
      }
    }
  }
  return Status::Ok();
}

std::span<const uint8_t> FloatDocuments::Tokens(size_t document) {
  const size_t tokens = TokenCount(document);
  encoded_.resize(tokens * TokenBytes(format_.tokens.codec, format_.dim));
  clipped_ += EncodeTokens(format_.tokens, documents_[document].vectors.data(), tokens, format_.dim,
                           encoded_.data());
  return encoded_;
}

}  // namespace maxsim
