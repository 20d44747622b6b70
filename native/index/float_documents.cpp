#include <algorithm>
#include <cmath>

#include "index/segment_writer.h"
#include "maxsim/codec.h"
#include "maxsim/half.h"
#include "maxsim/query.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

constexpr double kMaxLength = kMaxMagnitude;

// Shorter ones would have components that half precision stores with few bits, or as zeros.
constexpr double kShortestHalfToken = 1e-3;

double Squares(std::span<const float> values) {
  double squares = 0;
  for (const float x : values) squares += static_cast<double>(x) * x;
  return squares;
}

}  // namespace

Status FloatDocuments::Validate() const {
  Status status = ValidateShapes();
  for (size_t i = 0; i < documents_.size() && status.ok(); i++) status = Validate(documents_[i]);
  return status;
}

Status FloatDocuments::ValidateShapes() const {
  const size_t dim = format_.dim;
  for (const Document& document : documents_) {
    const size_t values = document.vectors.size(), tokens = values / dim;
    if (tokens != 0 && tokens <= kMaxDocumentTokens && tokens * dim == values) continue;
    return Status::Error("INVALID_VECTORS",
                         "document \"%s\" has %zu vector values, expected 1 to %zu rows of %zu.",
                         document.id.c_str(), values, kMaxDocumentTokens, dim);
  }
  return Status::Ok();
}

Status FloatDocuments::Validate(const Document& document) const {
  const size_t dim = format_.dim, tokens = document.vectors.size() / dim;
  double longest = 0;  // squared
  for (size_t token = 0; token < tokens; token++) {
    const std::span<const float> row = document.vectors.subspan(token * dim, dim);
    const double squares = Squares(row);
    if (!(squares <= kMaxLength * kMaxLength)) {  // NaN and infinity too
      size_t at = 0;
      for (size_t i = 0; i < dim && std::isfinite(row[at]); i++) {
        if (!(std::fabs(row[i]) <= std::fabs(row[at]))) at = i;
      }
      return Status::Error("INVALID_VECTORS",
                           "document \"%s\": value %zu of token %zu is %g, expected finite values "
                           "and a length of at most %g.",
                           document.id.c_str(), at, token, static_cast<double>(row[at]),
                           kMaxLength);
    }
    longest = std::max(longest, squares);
  }
  if (format_.tokens.codec == Codec::kInt8) return ValidateInt8(document, longest);
  if (format_.tokens.codec == Codec::kF16) {
    return ValidateRange(document, kShortestHalfToken, kLargestHalf);
  }
  if (ResidualBits(format_.tokens.codec) != 0) {
    return ValidateRange(document, kShortestResidualToken, kLongestResidualToken);
  }
  return Status::Ok();
}

Status FloatDocuments::ValidateFirst() {
  // One walk over the floats instead of two: what int8 encodes it can also judge.
  judged_ = format_.tokens.codec == Codec::kInt8;
  return judged_ ? ValidateShapes() : Validate();
}

Status FloatDocuments::ValidateRange(const Document& document, double shortest,
                                     double longest) const {
  for (size_t token = 0; token * format_.dim < document.vectors.size(); token++) {
    const double length =
        std::sqrt(Squares(document.vectors.subspan(token * format_.dim, format_.dim)));
    if (length == 0 || (length >= shortest && length <= longest)) continue;
    return Status::Error("VECTOR_OUT_OF_RANGE",
                         "document \"%s\": token %zu has length %g, but the index's %s codec "
                         "holds lengths of %g to %g, and 0.",
                         document.id.c_str(), token, length, CodecName(format_.tokens.codec),
                         shortest, longest);
  }
  return Status::Ok();
}

// `longest`: the square of the longest token's length.
Status FloatDocuments::ValidateInt8(const Document& document, double longest) const {
  const size_t dim = format_.dim, tokens = document.vectors.size() / dim;
  const std::span<const float> vectors = document.vectors;
  // A component is clamped when it rounds beyond 127 steps.
  const float limit = 127.5f * format_.tokens.scale;
  // No component is larger than its token is long, and all tokens together are rotated faster than
  // one by one, so most documents end here.
  if (longest < static_cast<double>(limit) * limit) return Status::Ok();
  if (LargestStoredMagnitude(vectors.data(), tokens, dim) < limit) return Status::Ok();
  for (size_t token = 0; token < tokens; token++) {
    const std::span<const float> row = vectors.subspan(token * dim, dim);
    const double squares = Squares(row);
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
  return Status::Ok();
}

std::span<const uint8_t> FloatDocuments::Tokens(size_t document) {
  constexpr size_t kWindow = 64;  // documents encoded together
  if (document < window_.first || document >= window_.first + window_.count) {
    window_.first = document;
    window_.count = std::min(kWindow, documents_.size() - document);
    window_.blocks.resize(window_.count);
    std::vector<EncodedTokens> encoded(window_.count);
    ThreadPool::Shared().For(window_.count, [&](size_t i) {
      const size_t number = window_.first + i;
      const size_t tokens = TokenCount(number);
      window_.blocks[i].resize(tokens * format_.TokenBytes());
      EncodeTokens(format_.tokens, documents_[number].vectors.data(), tokens, format_.dim,
                   window_.blocks[i].data(), &encoded[i]);
    });
    for (size_t i = 0; i < window_.count; i++) {
      if (judged_ && encoded[i].doubtful > 0 && status_.ok()) {
        status_ = Validate(documents_[window_.first + i]);
      }
      encoded_.Add(encoded[i]);
    }
  }
  if (!status_.ok()) return {};
  return window_.blocks[document - window_.first];
}

void FloatDocuments::Vectors(size_t document, float* vectors) const {
  const std::span<const float> values = documents_[document].vectors;
  std::copy(values.begin(), values.end(), vectors);
}

}  // namespace maxsim
