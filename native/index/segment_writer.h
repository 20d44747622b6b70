// Documents in, one durable, immutable segment file out. Token bytes come from a source that either
// encodes floats or copies what other segments hold.
#ifndef MAXSIM_INDEX_SEGMENT_WRITER_H_
#define MAXSIM_INDEX_SEGMENT_WRITER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/fields.h"
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
  // Makes `count` documents from `first` on ready for Tokens, and calls `meanwhile` once, at the
  // same time where that helps: it may ask for the documents that were made ready before these.
  virtual void Prepare(size_t first, size_t count, const std::function<void()>& meanwhile) {
    (void)first, (void)count;
    meanwhile();
  }
  // TokenCount * TokenBytes bytes, or nothing when there are none to be had: see status().
  virtual std::span<const uint8_t> Tokens(size_t document) = 0;
  // Why documents, or one, could not be given as they are. Asked before a segment is finished.
  virtual Status status() const { return Status::Ok(); }
  // The fields section: what documents can be filtered by, in the order of the documents.
  virtual Status Fields(std::vector<uint8_t>* section) const = 0;
  // What was learned of all tokens, once Tokens has been called for every document.
  virtual EncodedTokens encoded() const = 0;
};

struct SegmentSummary {
  uint64_t documents = 0;
  uint64_t tokens = 0;
  uint64_t size_bytes = 0;
  uint32_t header_crc32c = 0;
};

// Fails with INVALID_ARGUMENT (an id twice, an id or a count out of bounds), IO_ERROR, DISK_FULL,
// or what the source says; then nothing is left behind. The file's name survives from the next
// FlushDirectory on.
Status WriteSegment(const std::string& path, const VectorFormat& format, DocumentSource& source,
                    SegmentSummary* summary);

// The same in steps, for a source whose documents come little by little: how many there will be is
// known from the start, and all of them but their tokens are there until it is finished. A stream
// that is not finished leaves nothing behind. Fails as WriteSegment does; then the stream is of no
// more use.
class SegmentStream {
 public:
  static Status Create(const std::string& path, const VectorFormat& format, DocumentSource& source,
                       std::unique_ptr<SegmentStream>* stream);
  ~SegmentStream();
  SegmentStream(const SegmentStream&) = delete;
  SegmentStream& operator=(const SegmentStream&) = delete;

  // Documents whose tokens are written.
  size_t written() const;
  // Writes the tokens of the next documents, up to `end`, which the source must be ready to give.
  Status AppendTokens(size_t end);
  // Writes what is left.
  Status Finish(SegmentSummary* summary);

 private:
  class Writing;
  explicit SegmentStream(std::unique_ptr<Writing> writing);
  std::unique_ptr<Writing> writing_;
};

// Token vectors as floats, encoded while they are written, or learned from.
class FloatDocuments : public DocumentSource, public TokenSource {
 public:
  struct Document {
    std::string id;
    std::span<const float> vectors;  // row-major [tokens][dim]
    std::span<const uint8_t> record;
  };

  // `fields` holds the values of as many documents.
  FloatDocuments(const VectorFormat& format, std::vector<Document> documents,
                 FieldsWriter fields = FieldsWriter({}))
      : format_(format),
        documents_(std::move(documents)),
        fields_(std::move(fields)),
        clamped_(documents_.size()) {}

  // Call once before WriteSegment. INVALID_VECTORS: a shape or a value that is not finite.
  // VECTOR_OUT_OF_RANGE: what the codec cannot hold: for int8, a component beyond its range in a
  // token that is not of unit length, so that clamping would change more than the codec promises;
  // for f16 and residual codecs, a token that is too long or too short.
  Status Validate() const;
  // In its place: every document is validated when it is prepared, and status() says so.
  void ValidateLater() { judged_ = true; }
  Status status() const override { return status_; }
  size_t document_count() const override { return documents_.size(); }
  std::string_view Id(size_t document) const override { return documents_[document].id; }
  std::span<const uint8_t> Record(size_t document) const override {
    return documents_[document].record;
  }
  uint32_t TokenCount(size_t document) const override {
    return static_cast<uint32_t>(documents_[document].vectors.size() / format_.dim);
  }
  // Replaces a document by what has come meanwhile. Its vectors are read until it is prepared, and
  // only counted from then on.
  void Give(size_t number, Document document) { documents_[number] = std::move(document); }
  void Prepare(size_t first, size_t count, const std::function<void()>& meanwhile) override;
  std::span<const uint8_t> Tokens(size_t document) override;
  Status Fields(std::vector<uint8_t>* section) const override { return fields_.Finish(section); }
  EncodedTokens encoded() const override { return encoded_; }
  // Components that were clamped, of each document whose Tokens were asked for.
  std::span<const uint32_t> clamped() const { return clamped_; }
  void Vectors(size_t document, float* vectors) const override;

 private:
  Status ValidateShape(const Document& document) const;
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
  FieldsWriter fields_;
  std::vector<uint32_t> clamped_;
  // The one in use, and the one that is made ready meanwhile.
  Window windows_[2];
  int newer_ = 0;
  EncodedTokens encoded_;
  bool judged_ = false;
  Status status_ = Status::Ok();
};

// The seed of the id tables this process writes, from the system's entropy: one seed for all, so
// that a lookup across segments hashes its id once.
uint64_t IdHashSeed();

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SEGMENT_WRITER_H_
