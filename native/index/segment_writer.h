// Documents in, one durable, immutable segment file out. Token bytes come from a source that either
// encodes floats or copies what other segments hold.
#ifndef MAXSIM_INDEX_SEGMENT_WRITER_H_
#define MAXSIM_INDEX_SEGMENT_WRITER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/segment_format.h"
#include "maxsim/training.h"
#include "platform/status.h"

namespace maxsim {

// Documents in the order they will have. Read several times over, so everything it returns must
// stay the same until the segment is written; views need to live until the next call only.
class DocumentSource {
 public:
  virtual ~DocumentSource() = default;
  virtual size_t document_count() const = 0;
  virtual std::string_view Id(size_t document) const = 0;
  virtual std::span<const uint8_t> Record(size_t document) const = 0;
  virtual uint32_t TokenCount(size_t document) const = 0;
  // TokenCount * TokenBytes bytes, or nothing when there are none to be had: see status().
  virtual std::span<const uint8_t> Tokens(size_t document) = 0;
  // Why documents, or one, could not be given as they are. Asked before a segment is finished.
  virtual Status status() const { return Status::Ok(); }
  // What was learned of all tokens, once Tokens has been called for every document.
  virtual EncodedTokens encoded() const = 0;
};

struct SegmentSummary {
  uint64_t documents = 0;
  uint64_t tokens = 0;
  uint64_t size_bytes = 0;
  uint32_t header_crc32c = 0;
};

// Fails with INVALID_ARGUMENT (an id twice, an id or a count out of bounds), IO_ERROR, or what the
// source says; then nothing is left behind.
Status WriteSegment(const std::string& path, const VectorFormat& format, DocumentSource& source,
                    SegmentSummary* summary);

// Token vectors as floats, encoded while they are written, or learned from.
class FloatDocuments : public DocumentSource, public TokenSource {
 public:
  struct Document {
    std::string id;
    std::span<const float> vectors;  // row-major [tokens][dim]
    std::span<const uint8_t> record;
  };

  FloatDocuments(const VectorFormat& format, std::vector<Document> documents)
      : format_(format), documents_(std::move(documents)) {}

  // Call once before WriteSegment. INVALID_VECTORS: a shape or a value that is not finite.
  // VECTOR_OUT_OF_RANGE: what the codec cannot hold: for int8, a component beyond its range in a
  // token that is not of unit length, so that clamping would change more than the codec promises;
  // for f16 and residual codecs, a token that is too long or too short.
  Status Validate() const;
  // In its place: as much of it as has to be known before anything is written. The rest comes with
  // Tokens, and as status().
  Status ValidateFirst();
  Status status() const override { return status_; }
  size_t document_count() const override { return documents_.size(); }
  std::string_view Id(size_t document) const override { return documents_[document].id; }
  std::span<const uint8_t> Record(size_t document) const override {
    return documents_[document].record;
  }
  uint32_t TokenCount(size_t document) const override {
    return static_cast<uint32_t>(documents_[document].vectors.size() / format_.dim);
  }
  std::span<const uint8_t> Tokens(size_t document) override;
  EncodedTokens encoded() const override { return encoded_; }
  void Vectors(size_t document, float* vectors) const override;

 private:
  Status ValidateShapes() const;
  Status Validate(const Document& document) const;
  Status ValidateRange(const Document& document, double shortest, double longest) const;
  Status ValidateInt8(const Document& document, double longest) const;

  // Documents encoded together, by several threads.
  struct Window {
    size_t first = 0, count = 0;
    std::vector<std::vector<uint8_t>> blocks;
  };

  VectorFormat format_;
  std::vector<Document> documents_;
  Window window_;
  EncodedTokens encoded_;
  bool judged_ = false;
  Status status_ = Status::Ok();
};

// The seed of the id tables this process writes, from the system's entropy: one seed for all, so
// that a lookup across segments hashes its id once.
uint64_t IdHashSeed();

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SEGMENT_WRITER_H_
