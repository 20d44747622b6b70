// Which documents of a snapshot match a filter: found before anything of their tokens is read.
#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>

#include "index/snapshot.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

// Documents evaluated together: their bitmaps stay in the first cache.
constexpr uint32_t kPiece = 1 << 15;

// Clears the dead of documents first .. first + count - 1; `first` is a multiple of 64.
void ClearDead(const Snapshot::Segment& segment, uint32_t first, Bitmap* bitmap) {
  if (segment.tombstones == nullptr) return;
  const std::span<const uint8_t> dead = segment.tombstones->bitmap();
  for (size_t word = 0; word < bitmap->size(); word++) {
    const size_t at = first / 8 + word * sizeof(uint64_t);
    uint64_t bits = 0;
    std::memcpy(&bits, &dead[at], std::min(sizeof(bits), dead.size() - at));
    (*bitmap)[word] &= ~bits;
  }
}

void AppendSet(const Bitmap& bitmap, uint32_t first, std::vector<uint32_t>* refs) {
  for (size_t word = 0; word < bitmap.size(); word++) {
    for (uint64_t bits = bitmap[word]; bits != 0; bits &= bits - 1) {
      refs->push_back(first + static_cast<uint32_t>(word * 64) +
                      static_cast<uint32_t>(std::countr_zero(bits)));
    }
  }
}

struct Piece {
  uint32_t segment, first, count;
};

}  // namespace

Status Snapshot::CheckFields(std::span<const Field> fields) const {
  for (const Segment& segment : segments_) {
    const std::vector<Column>& columns = segment.reader->fields().columns();
    const auto same = [](const Column& column, const Field& field) {
      return column.field == field;
    };
    if (std::equal(columns.begin(), columns.end(), fields.begin(), fields.end(), same)) continue;
    return Status::Error("CORRUPT_INDEX", "%s: it has other fields than the manifest lists.",
                         segment.reader->path().c_str());
  }
  return Status::Ok();
}

Status Snapshot::Compile(const Filter& filter, std::vector<CompiledFilter>* compiled) const {
  compiled->resize(segments_.size());
  for (size_t i = 0; i < segments_.size(); i++) {
    const Status status = filter.Compile(segments_[i].reader->fields(), &(*compiled)[i]);
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

Status Snapshot::Match(const Filter& filter, std::span<const uint32_t> refs,
                       std::vector<uint8_t>* matches) const {
  struct Candidates {
    std::vector<uint32_t> ordinals;
    std::vector<size_t> places;
  };
  std::vector<Candidates> candidates(segments_.size());
  matches->assign(refs.size(), 0);
  for (size_t i = 0; i < refs.size(); i++) {
    if (refs[i] == kUnknown) continue;
    const Segment* segment;
    uint32_t ordinal;
    if (!Locate(refs[i], &segment, &ordinal)) {
      return Status::Error("INVALID_ARGUMENT", "refs[%zu] is %u, which is no live document.", i,
                           refs[i]);
    }
    Candidates& own = candidates[static_cast<size_t>(segment - segments_.data())];
    own.ordinals.push_back(ordinal);
    own.places.push_back(i);
  }
  Bitmap bitmap;
  for (size_t s = 0; s < segments_.size(); s++) {
    const Candidates& own = candidates[s];
    if (own.ordinals.empty()) continue;
    CompiledFilter compiled;
    const Status status = filter.Compile(segments_[s].reader->fields(), &compiled);
    if (!status.ok()) return status;
    compiled.Evaluate(own.ordinals, &bitmap);
    for (size_t i = 0; i < own.places.size(); i++) {
      (*matches)[own.places[i]] = IsSet(bitmap, i) ? 1 : 0;
    }
  }
  return Status::Ok();
}

Status Snapshot::Matching(const Filter& filter, uint32_t from, size_t count,
                          std::vector<uint32_t>* refs, uint32_t* next) const {
  constexpr uint32_t kStep = 4096;        // few are wasted when all of them match
  constexpr uint32_t kMost = kPiece * 2;  // about 0.1 ms
  uint32_t seen = 0;
  refs->clear();
  *next = ref_count_;
  Bitmap bitmap;
  for (const Segment& segment : segments_) {
    const uint32_t documents = segment.reader->document_count();
    if (from >= segment.base + uint64_t{documents}) continue;
    CompiledFilter compiled;
    const Status status = filter.Compile(segment.reader->fields(), &compiled);
    if (!status.ok()) return status;
    const uint32_t begin = from > segment.base ? from - segment.base : 0;
    for (uint32_t first = begin / 64 * 64; first < documents;
         first += std::min(kStep, documents - first)) {
      if (seen >= kMost) {
        *next = segment.base + first;
        return Status::Ok();
      }
      const uint32_t size = std::min(kStep, documents - first);
      compiled.Evaluate(first, size, &bitmap);
      ClearDead(segment, first, &bitmap);
      if (first < begin) bitmap[0] &= ~uint64_t{0} << (begin - first);
      AppendSet(bitmap, segment.base + first, refs);
      seen += size;
      if (refs->size() < count) continue;
      if (refs->size() > count) {
        *next = (*refs)[count];
        refs->resize(count);
      } else {
        *next = segment.base + first + size;
      }
      return Status::Ok();
    }
  }
  return Status::Ok();
}

Status Snapshot::ForMatching(const Filter& filter, const Limits& limits,
                             const std::function<void(size_t)>& prepare, const Work& work) const {
  std::vector<CompiledFilter> compiled;
  const Status status = Compile(filter, &compiled);
  if (!status.ok()) return status;
  std::vector<Piece> pieces;
  for (uint32_t s = 0; s < segments_.size(); s++) {
    const uint32_t documents = segments_[s].reader->document_count();
    for (uint32_t first = 0; first < documents; first += std::min(kPiece, documents - first)) {
      pieces.push_back({s, first, std::min(kPiece, documents - first)});
    }
  }
  prepare(pieces.size());
  std::mutex mutex;
  Status failure = Status::Ok();
  ThreadPool::Shared().For(pieces.size(), [&](size_t p) {
    const Status limit = limits.Check();
    if (!limit.ok()) {
      const std::lock_guard lock(mutex);
      failure = limit;
      return;
    }
    const Piece& piece = pieces[p];
    const Segment& segment = segments_[piece.segment];
    Bitmap bitmap;
    compiled[piece.segment].Evaluate(piece.first, piece.count, &bitmap);
    ClearDead(segment, piece.first, &bitmap);
    work(p, segment.base + piece.first, bitmap);
  });
  return failure;
}

Status Snapshot::AllMatching(const Filter& filter, const Limits& limits,
                             std::vector<uint32_t>* refs) const {
  std::vector<std::vector<uint32_t>> found;
  const Status status = ForMatching(
      filter, limits, [&](size_t pieces) { found.resize(pieces); },
      [&](size_t piece, uint32_t first, const Bitmap& bitmap) {
        found[piece].reserve(CountBits(bitmap));
        AppendSet(bitmap, first, &found[piece]);
      });
  refs->clear();
  for (const std::vector<uint32_t>& own : found) refs->insert(refs->end(), own.begin(), own.end());
  return status;
}

Status Snapshot::Count(const Filter& filter, const Limits& limits, uint64_t* documents) const {
  std::atomic<uint64_t> count{0};
  const Status status = ForMatching(
      filter, limits, [](size_t) {},
      [&](size_t, uint32_t, const Bitmap& bitmap) { count += CountBits(bitmap); });
  *documents = count;
  return status;
}

Status Snapshot::TallyKeywords(size_t column, std::map<std::string, Tally>* tallies) const {
  for (const Segment& segment : segments_) {
    const std::vector<Column>& columns = segment.reader->fields().columns();
    if (column >= columns.size() || columns[column].field.type != FieldType::kKeyword) {
      return Status::Error("INVALID_ARGUMENT", "The index has no keyword field %zu.", column);
    }
    const Column& values = columns[column];
    std::vector<Tally> by_code(values.terms + size_t{1});
    for (uint32_t ordinal = 0; ordinal < segment.reader->document_count(); ordinal++) {
      if (segment.IsDead(ordinal)) continue;
      const uint64_t begin = values.multiple ? values.starts[ordinal] : ordinal;
      const uint64_t end = values.multiple ? values.starts[ordinal + 1] : ordinal + uint64_t{1};
      for (uint64_t place = begin; place < end; place++) {
        Tally& tally = by_code[values.Code(place)];
        tally.documents++;
        tally.tokens += segment.reader->TokenCount(ordinal);
      }
    }
    for (uint32_t code = 1; code <= values.terms; code++) {
      if (by_code[code].documents == 0) continue;
      Tally& tally = (*tallies)[std::string(values.Term(code))];
      tally.documents += by_code[code].documents;
      tally.tokens += by_code[code].tokens;
    }
  }
  return Status::Ok();
}

}  // namespace maxsim
