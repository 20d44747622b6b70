// One generation of an index, immutable: segments, newest last, and which of their documents are
// dead. A document is addressed by its ref: its segment's base plus its ordinal. Thread-safe;
// whoever holds a shared_ptr to it keeps all its data, whatever a writer does to the directory
// meanwhile.
#ifndef MAXSIM_INDEX_SNAPSHOT_H_
#define MAXSIM_INDEX_SNAPSHOT_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/segment_reader.h"
#include "index/segment_writer.h"
#include "index/tombstones.h"
#include "maxsim/scan.h"
#include "maxsim/top_slice.h"
#include "platform/status.h"

namespace maxsim {

// What the manifest lists, in its order.
struct SegmentSpec {
  std::string file;
  uint64_t documents;
  uint64_t tokens;
  uint32_t header_crc32c;
  std::string dead_file;  // empty: none is dead
  uint64_t dead_count = 0;
};

// Ends a long scan early: raised from any thread, or by the clock.
struct Limits {
  const std::atomic<bool>* cancelled = nullptr;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  // Ok, or ABORTED with the reason.
  Status Check() const;
};

// kCaller: never leaves the calling thread, as the event loop wants it, which must not wait for a
// helper that others keep from running.
enum class Threads { kCaller, kShared };

// One query and the documents it is asked about.
struct Request {
  const PreparedQuery* query;
  std::span<const uint32_t> refs;
};

struct RankOptions {
  size_t k;
  // Give up documents that cannot reach the k-th best any more. The ranking is the same.
  bool early_exit = true;
};

struct Ranking {
  std::vector<ScoredDocument> best;
  uint64_t skipped = 0;  // documents that were given up between two passes of the query
};

class Snapshot {
 public:
  static constexpr uint32_t kUnknown = SegmentReader::kUnknown;

  struct Segment {
    std::string file, dead_file;
    std::shared_ptr<const SegmentReader> reader;
    std::shared_ptr<const Tombstones> tombstones;  // may be null
    uint32_t base;                                 // ref of ordinal 0

    bool IsDead(uint32_t ordinal) const { return tombstones && tombstones->IsDead(ordinal); }
    uint64_t dead_count() const { return tombstones ? tombstones->dead_count() : 0; }
    std::vector<uint32_t> DeadOrdinals() const {
      return tombstones ? tombstones->Ordinals() : std::vector<uint32_t>();
    }
  };

  // Segments and tombstones that `previous` has mapped already are taken over, not read again.
  // `*missing` is set when a listed file is not there (a concurrent commit may have removed it).
  static Status Open(const std::string& directory, const VectorFormat& format,
                     std::span<const SegmentSpec> specs, const ReadOptions& options,
                     const Snapshot* previous, std::shared_ptr<const Snapshot>* snapshot,
                     bool* missing);

  const VectorFormat& format() const { return format_; }
  const std::vector<Segment>& segments() const { return segments_; }
  uint64_t live_count() const { return live_count_; }
  uint64_t live_tokens() const { return live_tokens_; }
  // Refs are below this, dead ones included.
  uint32_t ref_count() const { return ref_count_; }

  // The live document's ref, or kUnknown.
  uint32_t Find(std::string_view id) const;
  // The segment that holds `ref`, and the ordinal there; false unless `ref` is that of a live
  // document.
  bool Locate(uint32_t ref, const Segment** segment, uint32_t* ordinal) const;
  // INVALID_ARGUMENT naming the first ref that is out of range or dead; CORRUPT_INDEX.
  Status Resolve(std::span<const uint32_t> refs, std::vector<MaxsimDocument>* documents) const;

  // Queries and their candidates, in one call: spread over the threads by query, and within a query
  // when there are fewer queries than threads and the work is worth the hand-off. MODEL_MISMATCH
  // when a query has another dim. Implemented in ranking.cpp, as Search.
  // scores[q][i] for requests[q].refs[i].
  Status Score(std::span<const Request> requests, const Limits& limits, Threads threads,
               std::vector<std::vector<float>>* scores) const;
  // The best k of each request's candidates, best first, ties in their order; `document` is the
  // place among the candidates.
  Status Rank(std::span<const Request> requests, const RankOptions& options, const Limits& limits,
              Threads threads, std::vector<Ranking>* rankings) const;
  // The best k of all live documents, best first, ties in ref order, which is what `document` is;
  // on several threads when there is enough to scan and cores are idle.
  Status Search(const PreparedQuery& query, const RankOptions& options, const Limits& limits,
                Ranking* ranking) const;

 private:
  struct Range {
    uint32_t segment, begin, end;  // ordinals
  };

  Snapshot() = default;
  Status CheckQuery(const PreparedQuery& query) const;
  // The segment that a manifest entry stands for, if this snapshot has it mapped and verified.
  const Segment* SameSegment(const SegmentSpec& spec, const VectorFormat& format) const;
  // All documents in pieces: a few for each of `width` threads, or one where threads do not pay.
  std::vector<Range> Ranges(size_t width) const;
  // What Scanner::Rest takes, over all segments.
  EncodedTokens Bounds() const;

  VectorFormat format_;
  std::vector<Segment> segments_;
  uint64_t live_count_ = 0, live_tokens_ = 0;
  uint32_t ref_count_ = 0;
};

// The live documents of some segments of a snapshot: what a merge writes, bytes as they are, or
// what is learned from, decoded.
class LiveDocuments : public DocumentSource, public TokenSource {
 public:
  LiveDocuments(std::shared_ptr<const Snapshot> snapshot, std::span<const uint32_t> segments);

  size_t document_count() const override { return places_.size(); }
  std::string_view Id(size_t i) const override { return reader(i).Id(places_[i].ordinal); }
  std::span<const uint8_t> Record(size_t i) const override;
  uint32_t TokenCount(size_t i) const override { return reader(i).TokenCount(places_[i].ordinal); }
  std::span<const uint8_t> Tokens(size_t i) override;
  // CORRUPT_INDEX when one of the documents was not what its segment promised.
  Status status() const override;
  EncodedTokens encoded() const override { return encoded_; }
  // Zeros where status() says so afterwards.
  void Vectors(size_t i, float* vectors) const override;

 private:
  struct Place {
    uint32_t segment, ordinal;
  };
  const SegmentReader& reader(size_t i) const {
    return *snapshot_->segments()[places_[i].segment].reader;
  }
  bool Note(const Status& status) const;

  std::shared_ptr<const Snapshot> snapshot_;
  size_t token_bytes_;
  EncodedTokens encoded_;  // of the segments
  std::vector<Place> places_;
  mutable std::mutex mutex_;
  mutable Status status_ = Status::Ok();  // the first failure
};

// The same documents in another codec. Reads and encodes a document at a time.
class RecodedDocuments : public DocumentSource {
 public:
  // Both must outlive it. The format's codec can hold what the documents' codec holds, or Validate
  // says which document it cannot.
  RecodedDocuments(const VectorFormat& format, LiveDocuments& documents)
      : format_(format), documents_(documents) {}

  Status Validate() const;
  size_t document_count() const override { return documents_.document_count(); }
  std::string_view Id(size_t i) const override { return documents_.Id(i); }
  std::span<const uint8_t> Record(size_t i) const override { return documents_.Record(i); }
  uint32_t TokenCount(size_t i) const override { return documents_.TokenCount(i); }
  std::span<const uint8_t> Tokens(size_t i) override;
  Status status() const override { return documents_.status(); }
  EncodedTokens encoded() const override { return encoded_; }

 private:
  const VectorFormat& format_;
  LiveDocuments& documents_;
  size_t first_ = 0;
  std::vector<std::vector<uint8_t>> window_;
  EncodedTokens encoded_;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SNAPSHOT_H_
