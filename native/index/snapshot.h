// One generation of an index, immutable: segments, newest last, and which of their documents are
// dead. A document is addressed by its ref: its segment's base plus its ordinal. Thread-safe;
// whoever holds a shared_ptr to it keeps all its data, whatever a writer does to the directory
// meanwhile.
#ifndef MAXSIM_INDEX_SNAPSHOT_H_
#define MAXSIM_INDEX_SNAPSHOT_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/codes_reader.h"
#include "index/filter.h"
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
  std::string codes_file;  // empty: none
  uint32_t codes_crc32c = 0;
};

// The codebook under which the documents of an index have codes; null where they have none.
struct SearchCodebook {
  std::shared_ptr<const Codebook> codebook;
  uint32_t crc32c = 0;
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

// What documents have in common, counted; of live documents alone.
struct Tally {
  uint64_t documents = 0, tokens = 0;
};

struct Ranking {
  std::vector<ScoredDocument> best;
  uint64_t skipped = 0;  // documents that were given up between two passes of the query
};

struct SearchOptions;
struct SearchReport;
enum class SearchMethod;

class Snapshot {
 public:
  static constexpr uint32_t kUnknown = SegmentReader::kUnknown;

  struct Segment {
    std::string file, dead_file, codes_file;
    std::shared_ptr<const SegmentReader> reader;
    std::shared_ptr<const Tombstones> tombstones;  // may be null
    std::shared_ptr<const CodesReader> codes;      // may be null
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
                     bool* missing, const SearchCodebook& search = {});

  const VectorFormat& format() const { return format_; }
  const SearchCodebook& search_codebook() const { return search_; }
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

  // CORRUPT_INDEX unless every segment has the columns of these fields. The functions on filters
  // are in matching.cpp; they fail with INVALID_ARGUMENT when a filter is for other fields.
  Status CheckFields(std::span<const Field> fields) const;
  // matches[i]: 1 if refs[i] matches, 0 if not or if it is kUnknown. No other document is looked
  // at.
  Status Match(const Filter& filter, std::span<const uint32_t> refs,
               std::vector<uint8_t>* matches) const;
  // The next `count` live refs from `from` on that match, ascending. Stops early after some tens of
  // thousands of documents: *next is where to go on, ref_count() at the end.
  Status Matching(const Filter& filter, uint32_t from, size_t count, std::vector<uint32_t>* refs,
                  uint32_t* next) const;
  // All of them; on several threads.
  Status AllMatching(const Filter& filter, const Limits& limits, std::vector<uint32_t>* refs) const;
  Status Count(const Filter& filter, const Limits& limits, uint64_t* documents) const;
  // By keyword of the column of that number, in the order of their bytes.
  Status TallyKeywords(size_t column, std::map<std::string, Tally>* tallies) const;

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
  // The best k of all live documents, or of those that match, best first, ties in ref order, which
  // is what `document` is. What is scored is what search.h says. CORRUPT_INDEX when codes are not
  // what was written. In search.cpp.
  Status Search(const PreparedQuery& query, const SearchOptions& options, const Limits& limits,
                Ranking* ranking, SearchReport* report, const Filter* filter = nullptr) const;
  // The first `depth` documents as a search would score them, best candidate first, with about the
  // score that they will have; documents without codes are not among them. INVALID_ARGUMENT where
  // there are no codes, or no lists.
  Status Candidates(const PreparedQuery& query, SearchMethod method, size_t depth,
                    const Limits& limits, std::vector<ScoredDocument>* candidates) const;

 private:
  friend class Searching;

  Snapshot() = default;
  Status CheckQuery(const PreparedQuery& query) const;
  // The segment that a manifest entry stands for, if this snapshot has it mapped and verified.
  const Segment* SameSegment(const SegmentSpec& spec, const VectorFormat& format) const;
  Status Compile(const Filter& filter, std::vector<CompiledFilter>* compiled) const;
  // work(piece, first, bitmap) for the matching refs of each piece of all documents, from `first`
  // on; on several threads, once prepare(pieces) has returned.
  using Work = std::function<void(size_t, uint32_t, const Bitmap&)>;
  Status ForMatching(const Filter& filter, const Limits& limits,
                     const std::function<void(size_t)>& prepare, const Work& work) const;
  // What Scanner::Rest takes, over all segments.
  EncodedTokens Bounds() const;

  VectorFormat format_;
  SearchCodebook search_;
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
  Status Fields(std::vector<uint8_t>* section) const override;
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
  Status Fields(std::vector<uint8_t>* section) const override { return documents_.Fields(section); }
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
