#include <algorithm>
#include <cmath>

#include "index/segment_writer.h"
#include "maxsim/codec.h"
#include "maxsim/query.h"

namespace maxsim {
namespace {

// Unit-length vectors may lose the tip of a rare large component; anything else is no embedding
// that the scale was chosen for. 0.001 leaves room for norms computed in f16.
constexpr double kUnitNorm = 1.001;
// Up to this many times the range a tip is clamped; more would be another vector.
constexpr float kTip = 2.f;

constexpr double kMaxLength = kMaxMagnitude;

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
    double longest = 0;  // squared
    for (size_t token = 0; token < tokens; token++) {
      const std::span<const float> row = vectors.subspan(token * dim, dim);
      double squares = 0;
      for (const float x : row) squares += static_cast<double>(x) * x;
      if (!(squares <= kMaxLength * kMaxLength)) {  // NaN and infinity too
        size_t at = 0;
        for (size_t i = 0; i < dim && std::isfinite(row[at]); i++) {
          if (!(std::fabs(row[i]) <= std::fabs(row[at]))) at = i;
        }
        return Status::Error(
            "INVALID_VECTORS",
            "document \"%s\": value %zu of token %zu is %g, expected finite values "
            "and a length of at most %g.",
            document.id.c_str(), at, token, static_cast<double>(row[at]), kMaxLength);
      }
      longest = std::max(longest, squares);
    }
    // No component is larger than its token is long, and all tokens together are rotated faster
    // than one by one, so most documents end here.
    if (!int8 || longest < static_cast<double>(limit) * limit) continue;
    if (LargestStoredMagnitude(vectors.data(), tokens, dim) < limit) continue;
    for (size_t token = 0; token < tokens; token++) {
      const std::span<const float> row = vectors.subspan(token * dim, dim);
      double squares = 0;
      for (const float x : row) squares += static_cast<double>(x) * x;
      const float largest = LargestStoredMagnitude(row.data(), 1, dim);
      if (largest < (squares <= kUnitNorm * kUnitNorm ? kTip * limit : limit)) continue;
      return Status::Error(
          "VECTOR_OUT_OF_RANGE",
          "document \"%s\": token %zu has length %g and a component of %g after the codec's "
          "rotation, but the index's int8 codec holds -%g to %g and clamps only the tips of "
          "unit-length tokens.",
          document.id.c_str(), token, std::sqrt(squares), static_cast<double>(largest),
          127.0 * static_cast<double>(format_.tokens.scale),
          127.0 * static_cast<double>(format_.tokens.scale));
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
