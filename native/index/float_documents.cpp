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
  Status status = Status::Ok();
  for (size_t i = 0; i < documents_.size() && status.ok(); i++) status = Validate(documents_[i]);
  return status;
}

Status FloatDocuments::ValidateShape(const Document& document) const {
  const size_t dim = format_.dim, values = document.vectors.size(), tokens = values / dim;
  if (tokens != 0 && tokens <= kMaxDocumentTokens && tokens * dim == values) return Status::Ok();
  return Status::Error("INVALID_VECTORS",
                       "document \"%s\" has %zu vector values, expected 1 to %zu rows of %zu.",
                       PrintableId(document.id).c_str(), values, kMaxDocumentTokens, dim);
}

Status FloatDocuments::Validate(const Document& document) const {
  const Status shape = ValidateShape(document);
  if (!shape.ok()) return shape;
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
                           PrintableId(document.id).c_str(), at, token,
                           static_cast<double>(row[at]), kMaxLength);
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

Status FloatDocuments::ValidateRange(const Document& document, double shortest,
                                     double longest) const {
  for (size_t token = 0; token * format_.dim < document.vectors.size(); token++) {
    const double length =
        std::sqrt(Squares(document.vectors.subspan(token * format_.dim, format_.dim)));
    if (length == 0 || (length >= shortest && length <= longest)) continue;
    return Status::Error("VECTOR_OUT_OF_RANGE",
                         "document \"%s\": token %zu has length %g, but the index's %s codec "
                         "holds lengths of %g to %g, and 0.",
                         PrintableId(document.id).c_str(), token, length,
                         CodecName(format_.tokens.codec), shortest, longest);
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
        PrintableId(document.id).c_str(), token, std::sqrt(squares), static_cast<double>(largest),
        127.0 * static_cast<double>(format_.tokens.scale),
        127.0 * static_cast<double>(format_.tokens.scale));
  }
  return Status::Ok();
}

void FloatDocuments::Prepare(size_t first, size_t count, const std::function<void()>& meanwhile) {
  Window& window = windows_[newer_ = 1 - newer_];
  window.first = first;
  window.count = count;
  window.blocks.resize(std::max(window.blocks.size(), count));
  std::vector<EncodedTokens> encoded(count);
  // One walk over the floats instead of two where it will do: what int8 encodes it also judges.
  const bool only_shapes = format_.tokens.codec == Codec::kInt8;
  std::vector<Status> judgements(judged_ ? count : 0, Status::Ok());
  ThreadPool::Shared().For(count + 1, [&](size_t i) {
    if (i == 0) return meanwhile();
    const size_t number = first + i - 1, tokens = TokenCount(number);
    if (judged_) {
      Status& judgement = judgements[i - 1];
      judgement = only_shapes ? ValidateShape(documents_[number]) : Validate(documents_[number]);
      if (!judgement.ok()) return;
    }
    window.blocks[i - 1].resize(tokens * format_.TokenBytes());
    EncodeTokens(format_.tokens, documents_[number].vectors.data(), tokens, format_.dim,
                 window.blocks[i - 1].data(), &encoded[i - 1]);
  });
  for (size_t i = 0; i < count; i++) {
    if (status_.ok() && judged_) status_ = judgements[i];
    if (status_.ok() && judged_ && encoded[i].doubtful > 0) {
      status_ = Validate(documents_[first + i]);
    }
    encoded_.Add(encoded[i]);
    clamped_[first + i] = static_cast<uint32_t>(encoded[i].clamped);
  }
}

std::span<const uint8_t> FloatDocuments::Tokens(size_t document) {
  constexpr size_t kWindow = 64;  // documents encoded together when nobody has asked for more
  const auto holds = [document](const Window& window) {
    return document >= window.first && document < window.first + window.count;
  };
  if (!holds(windows_[0]) && !holds(windows_[1])) {
    Prepare(document, std::min(kWindow, documents_.size() - document), [] {});
  }
  if (!status_.ok()) return {};
  const Window& window = windows_[holds(windows_[0]) ? 0 : 1];
  return window.blocks[document - window.first];
}

void FloatDocuments::Vectors(size_t document, float* vectors) const {
  const std::span<const float> values = documents_[document].vectors;
  std::copy(values.begin(), values.end(), vectors);
}

}  // namespace maxsim
