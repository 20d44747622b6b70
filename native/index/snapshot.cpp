#include "index/snapshot.h"

#include <algorithm>
#include <mutex>

#include "maxsim/codec.h"
#include "maxsim/scan.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

// Between two looks at the clock: 256 documents of 180 tokens take about a millisecond.
constexpr size_t kChunk = 256;

// Below this a scan takes less than 0.3 ms on one core, and waking a helper 0.05 ms.
constexpr uint64_t kParallelBytes = uint64_t{2} << 20;
constexpr uint64_t kSmallestRange = 32;  // documents

// What several threads that share a scan report: the first failure of any of them.
class FirstFailure {
 public:
  // True while nothing has failed.
  bool Note(const Status& status) {
    if (!status.ok()) {
      const std::lock_guard lock(mutex_);
      if (status_.ok()) status_ = status;
      failed_ = true;
    }
    return !failed_;
  }
  // Once all threads have ended.
  const Status& status() const { return status_; }

 private:
  std::mutex mutex_;
  Status status_ = Status::Ok();
  std::atomic<bool> failed_{false};
};

}  // namespace

Status Limits::Check() const {
  if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) {
    return Status::Error("ABORTED", "The caller aborted the operation.");
  }
  if (deadline && std::chrono::steady_clock::now() >= *deadline) {
    return Status::Error("ABORTED", "The deadline passed before every document was scored.");
  }
  return Status::Ok();
}

Status Snapshot::Open(const std::string& directory, const VectorFormat& format,
                      std::span<const SegmentSpec> specs, const Snapshot* previous,
                      std::shared_ptr<const Snapshot>* out, bool* missing) {
  *missing = false;
  std::shared_ptr<Snapshot> snapshot(new Snapshot());
  snapshot->format_ = format;
  // First every file is mapped, which takes microseconds, and only then verified, which may take
  // seconds: a busy writer may remove files meanwhile, but what is mapped stays.
  std::vector<std::unique_ptr<MappedFile>> files(specs.size());
  uint64_t base = 0;
  for (size_t i = 0; i < specs.size(); i++) {
    const SegmentSpec& spec = specs[i];
    Segment segment{spec.file, spec.dead_file, nullptr, nullptr, static_cast<uint32_t>(base)};
    const Segment* known = previous == nullptr ? nullptr : previous->SameSegment(spec, format);
    if (known != nullptr) {
      segment.reader = known->reader;
    } else {
      Status status = MappedFile::Open(directory + "/" + spec.file, &files[i], missing);
      if (!status.ok()) return status;
    }
    if (known != nullptr && !spec.dead_file.empty() && known->dead_file == spec.dead_file &&
        known->dead_count() == spec.dead_count) {
      segment.tombstones = known->tombstones;
    } else if (!spec.dead_file.empty()) {
      Status status = Tombstones::Open(directory + "/" + spec.dead_file, spec.documents,
                                       spec.dead_count, &segment.tombstones, missing);
      if (!status.ok()) return status;
    }
    base += spec.documents;
    if (base > kMaxSegmentDocuments) {
      return Status::Error("CORRUPT_INDEX", "%s: the segments hold more than %llu documents.",
                           directory.c_str(),
                           static_cast<unsigned long long>(kMaxSegmentDocuments));
    }
    snapshot->segments_.push_back(std::move(segment));
  }
  for (size_t i = 0; i < specs.size(); i++) {
    const SegmentSpec& spec = specs[i];
    Segment& segment = snapshot->segments_[i];
    if (files[i] != nullptr) {
      const SegmentExpectation expected{format, spec.documents, spec.tokens, spec.header_crc32c};
      Status status = SegmentReader::Open(std::move(files[i]), expected, &segment.reader);
      if (!status.ok()) return status;
    }
    snapshot->live_count_ += spec.documents - segment.dead_count();
    snapshot->live_tokens_ += spec.tokens;
    for (const uint32_t ordinal : segment.DeadOrdinals()) {
      snapshot->live_tokens_ -= segment.reader->Document(ordinal).token_count;
    }
  }
  snapshot->ref_count_ = static_cast<uint32_t>(base);
  *out = std::move(snapshot);
  return Status::Ok();
}

const Snapshot::Segment* Snapshot::SameSegment(const SegmentSpec& spec,
                                               const VectorFormat& format) const {
  for (const Segment& segment : segments_) {
    if (segment.file != spec.file) continue;
    // The name alone is not proof: the header's checksum covers those of all sections.
    const SegmentReader& reader = *segment.reader;
    const VectorFormat stored = reader.format();
    const bool same =
        reader.header().crc32c == spec.header_crc32c && reader.document_count() == spec.documents &&
        reader.token_count() == spec.tokens && stored.dim == format.dim &&
        stored.tokens.codec == format.tokens.codec && stored.tokens.scale == format.tokens.scale;
    return same ? &segment : nullptr;
  }
  return nullptr;
}

uint32_t Snapshot::Find(std::string_view id) const {
  uint64_t seed = 0, hash = 0;
  bool hashed = false;
  for (size_t i = segments_.size(); i-- > 0;) {
    const Segment& segment = segments_[i];
    // Segments written by one process share their seed.
    if (!hashed || segment.reader->header().id_hash_seed != seed) {
      seed = segment.reader->header().id_hash_seed;
      hash = HashId(id, seed);
      hashed = true;
    }
    const uint32_t ordinal = segment.reader->Find(id, hash);
    if (ordinal != kUnknown && !segment.IsDead(ordinal)) return segment.base + ordinal;
  }
  return kUnknown;
}

bool Snapshot::Locate(uint32_t ref, const Segment** segment, uint32_t* ordinal) const {
  if (ref >= ref_count_) return false;
  // The last segment whose base is not beyond ref.
  const auto after =
      std::upper_bound(segments_.begin(), segments_.end(), ref,
                       [](uint32_t value, const Segment& s) { return value < s.base; });
  *segment = &*(after - 1);
  *ordinal = ref - (*segment)->base;
  return !(*segment)->IsDead(*ordinal);
}

Status Snapshot::Resolve(std::span<const uint32_t> refs,
                         std::vector<MaxsimDocument>* documents) const {
  documents->resize(refs.size());
  for (size_t i = 0; i < refs.size(); i++) {
    const Segment* segment;
    uint32_t ordinal;
    const uint32_t ref = refs[i];
    if (!Locate(ref, &segment, &ordinal)) {
      return Status::Error("INVALID_ARGUMENT", "refs[%zu] is %u, which is no live document.", i,
                           ref);
    }
    (*documents)[i] = segment->reader->Document(ordinal);
  }
  return Status::Ok();
}

Status Snapshot::CheckQuery(const PreparedQuery& query) const {
  if (query.dim() == format_.dim) return Status::Ok();
  return Status::Error("MODEL_MISMATCH", "The query has dim %zu, but the index has dim %u.",
                       query.dim(), format_.dim);
}

Status Snapshot::Score(const PreparedQuery& query, std::span<const uint32_t> refs,
                       const Limits& limits, Threads threads, float* scores) const {
  Status status = CheckQuery(query);
  if (!status.ok()) return status;
  std::vector<MaxsimDocument> documents;
  status = Resolve(refs, &documents);
  if (!status.ok()) return status;
  const auto score_chunk = [&](size_t chunk) {
    const size_t first = chunk * kChunk;
    const size_t count = std::min(kChunk, documents.size() - first);
    Scan(query, format_.tokens, &documents[first], count, scores + first);
  };
  const size_t chunks = (documents.size() + kChunk - 1) / kChunk;
  if (threads == Threads::kCaller) {
    for (size_t chunk = 0; chunk < chunks; chunk++) {
      status = limits.Check();
      if (!status.ok()) return status;
      score_chunk(chunk);
    }
    return Status::Ok();
  }
  FirstFailure failure;
  ThreadPool::Shared().For(chunks, [&](size_t chunk) {
    if (failure.Note(limits.Check())) score_chunk(chunk);
  });
  return failure.status();
}

Status Snapshot::SearchRange(const PreparedQuery& query, Range range, const Limits& limits,
                             TopSlice* slice) const {
  const Segment& segment = segments_[range.segment];
  MaxsimDocument documents[kChunk];
  uint32_t refs[kChunk];
  float scores[kChunk];
  for (uint32_t ordinal = range.begin; ordinal < range.end;) {
    const Status status = limits.Check();
    if (!status.ok()) return status;
    size_t filled = 0;
    for (; ordinal < range.end && filled < kChunk; ordinal++) {
      if (segment.IsDead(ordinal)) continue;
      documents[filled] = segment.reader->Document(ordinal);
      refs[filled++] = segment.base + ordinal;
    }
    Scan(query, format_.tokens, documents, filled, scores);
    for (size_t i = 0; i < filled; i++) slice->Offer(refs[i], scores[i]);
  }
  return Status::Ok();
}

std::vector<Snapshot::Range> Snapshot::Ranges(size_t width) const {
  std::vector<Range> ranges;
  const uint64_t wanted = live_tokens_ * PaddedDim(format_.dim) < kParallelBytes ? 1 : width * 4;
  const auto size = static_cast<uint32_t>(std::max(kSmallestRange, ref_count_ / wanted + 1));
  for (uint32_t number = 0; number < segments_.size(); number++) {
    const uint32_t count = segments_[number].reader->document_count();
    for (uint32_t begin = 0; begin < count; begin += std::min(size, count - begin)) {
      ranges.push_back({number, begin, begin + std::min(size, count - begin)});
    }
  }
  return ranges;
}

Status Snapshot::Search(const PreparedQuery& query, size_t k, const Limits& limits,
                        std::vector<ScoredDocument>* best) const {
  const Status status = CheckQuery(query);
  if (!status.ok()) return status;
  ThreadPool& pool = ThreadPool::Shared();
  const std::vector<Range> ranges = Ranges(pool.width());
  const auto depth = static_cast<size_t>(std::min<uint64_t>(k, live_count_));
  TopSlice slice(depth);
  FirstFailure failure;
  std::mutex mutex;
  // Which thread takes which range is chance; the order of a slice is not: score, then ref.
  pool.For(ranges.size(), [&](size_t i) {
    TopSlice part(depth);
    if (!failure.Note(SearchRange(query, ranges[i], limits, &part))) return;
    const std::vector<ScoredDocument> found = part.Take();
    const std::lock_guard lock(mutex);
    for (const ScoredDocument& document : found) slice.Offer(document.document, document.score);
  });
  if (!failure.status().ok()) return failure.status();
  *best = slice.Take();
  return Status::Ok();
}

LiveDocuments::LiveDocuments(std::shared_ptr<const Snapshot> snapshot,
                             std::span<const uint32_t> segments)
    : snapshot_(std::move(snapshot)),
      row_bytes_(TokenBytes(snapshot_->format().tokens.codec, snapshot_->format().dim)) {
  for (const uint32_t number : segments) {
    const Snapshot::Segment& segment = snapshot_->segments()[number];
    for (uint32_t ordinal = 0; ordinal < segment.reader->document_count(); ordinal++) {
      if (!segment.IsDead(ordinal)) places_.push_back({number, ordinal});
    }
  }
}

std::span<const uint8_t> LiveDocuments::Tokens(size_t i) {
  const MaxsimDocument document = reader(i).Document(places_[i].ordinal);
  return {static_cast<const uint8_t*>(document.tokens), document.token_count * row_bytes_};
}

}  // namespace maxsim
