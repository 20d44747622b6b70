#include "index/snapshot.h"

#include <algorithm>

#include "maxsim/codec.h"
#include "platform/thread_pool.h"

namespace maxsim {

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
                      std::span<const SegmentSpec> specs, const ReadOptions& options,
                      const Snapshot* previous, std::shared_ptr<const Snapshot>* out, bool* missing,
                      const SearchCodebook& search) {
  *missing = false;
  std::shared_ptr<Snapshot> snapshot(new Snapshot());
  snapshot->format_ = format;
  snapshot->search_ = search;
  // First every file is mapped, which takes microseconds, and only then verified, which may take
  // seconds: a busy writer may remove files meanwhile, but what is mapped stays.
  std::vector<std::unique_ptr<MappedFile>> files(specs.size()), codes(specs.size());
  uint64_t base = 0;
  for (size_t i = 0; i < specs.size(); i++) {
    const SegmentSpec& spec = specs[i];
    Segment segment{spec.file,
                    spec.dead_file,
                    spec.codes_file,
                    nullptr,
                    nullptr,
                    nullptr,
                    static_cast<uint32_t>(base)};
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
    if (known != nullptr && known->codes != nullptr && known->codes_file == spec.codes_file &&
        known->codes->header().crc32c == spec.codes_crc32c &&
        known->codes->header().codebook_crc32c == search.crc32c) {
      segment.codes = known->codes;
    } else if (!spec.codes_file.empty()) {
      Status status = MappedFile::Open(directory + "/" + spec.codes_file, &codes[i], missing);
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
      Status status = SegmentReader::Open(std::move(files[i]), expected, options, &segment.reader);
      if (!status.ok()) return status;
    }
    if (codes[i] != nullptr) {
      if (search.codebook == nullptr) {
        return Status::Error("CORRUPT_INDEX", "%s has codes, but the index no centroids.",
                             spec.file.c_str());
      }
      Status status = CodesReader::Open(std::move(codes[i]),
                                        {spec.documents, spec.codes_crc32c, spec.header_crc32c,
                                         search.crc32c, search.codebook->contents().centroid_count},
                                        &segment.codes);
      const bool at_open = options.verify == ReadOptions::Verify::kAtOpen;
      if (status.ok() && (at_open || segment.codes->header().file_size <= options.verify_up_to)) {
        status = segment.codes->Verify();
      }
      if (!status.ok()) return status;
    }
    snapshot->live_count_ += spec.documents - segment.dead_count();
    snapshot->live_tokens_ += spec.tokens;
    for (const uint32_t ordinal : segment.DeadOrdinals()) {
      snapshot->live_tokens_ -= segment.reader->TokenCount(ordinal);
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
    const bool same = reader.header().crc32c == spec.header_crc32c &&
                      reader.document_count() == spec.documents &&
                      reader.token_count() == spec.tokens && reader.format() == format;
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
    const Status status = segment->reader->Tokens(ordinal, &(*documents)[i]);
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

EncodedTokens Snapshot::Bounds() const {
  EncodedTokens bounds;
  for (const Segment& segment : segments_) {
    const SegmentHeader& header = segment.reader->header();
    bounds.longest = std::max(bounds.longest, header.longest);
    bounds.largest_factor = std::max(bounds.largest_factor, header.largest_factor);
  }
  return bounds;
}

LiveDocuments::LiveDocuments(std::shared_ptr<const Snapshot> snapshot,
                             std::span<const uint32_t> segments)
    : snapshot_(std::move(snapshot)), token_bytes_(snapshot_->format().TokenBytes()) {
  for (const uint32_t number : segments) {
    const Snapshot::Segment& segment = snapshot_->segments()[number];
    const SegmentHeader& header = segment.reader->header();
    encoded_.longest = std::max(encoded_.longest, header.longest);
    encoded_.largest_factor = std::max(encoded_.largest_factor, header.largest_factor);
    for (uint32_t ordinal = 0; ordinal < segment.reader->document_count(); ordinal++) {
      if (!segment.IsDead(ordinal)) places_.push_back({number, ordinal});
    }
  }
}

bool LiveDocuments::Note(const Status& status) const {
  if (status.ok()) return true;
  const std::lock_guard lock(mutex_);
  if (status_.ok()) status_ = status;
  return false;
}

Status LiveDocuments::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

std::span<const uint8_t> LiveDocuments::Record(size_t i) const {
  std::span<const uint8_t> record;
  Note(reader(i).Record(places_[i].ordinal, &record));
  return record;
}

std::span<const uint8_t> LiveDocuments::Tokens(size_t i) {
  MaxsimDocument document;
  if (!Note(reader(i).Tokens(places_[i].ordinal, &document))) return {};
  return {static_cast<const uint8_t*>(document.tokens), document.token_count * token_bytes_};
}

Status LiveDocuments::Fields(std::vector<uint8_t>* section) const {
  std::vector<Field> fields;
  if (!places_.empty()) {
    for (const Column& column : reader(0).fields().columns()) fields.push_back(column.field);
  }
  FieldsWriter writer(fields);
  FieldsWriter::TermMap codes;
  uint32_t segment = SegmentReader::kUnknown;
  for (size_t i = 0; i < places_.size(); i++) {
    if (places_[i].segment != segment) codes.clear();
    segment = places_[i].segment;
    const std::vector<Column>& columns = reader(i).fields().columns();
    const auto same = [](const Column& column, const Field& field) {
      return column.field == field;
    };
    if (codes.empty() &&
        !std::equal(columns.begin(), columns.end(), fields.begin(), fields.end(), same)) {
      return Status::Error("CORRUPT_INDEX", "%s: the segments have different fields.",
                           reader(i).path().c_str());
    }
    writer.Copy(reader(i).fields(), places_[i].ordinal, &codes);
  }
  return writer.Finish(section);
}

void LiveDocuments::Vectors(size_t i, float* vectors) const {
  MaxsimDocument document;
  const VectorFormat& format = snapshot_->format();
  if (!Note(reader(i).Tokens(places_[i].ordinal, &document))) {
    std::fill_n(vectors, size_t{document.token_count} * format.dim, 0.f);
    return;
  }
  DecodeTokens(format.tokens, static_cast<const uint8_t*>(document.tokens), document.token_count,
               format.dim, vectors);
}

Status RecodedDocuments::Validate() const {
  for (size_t i = 0; i < document_count(); i++) {
    std::vector<float> vectors(size_t{TokenCount(i)} * format_.dim);
    documents_.Vectors(i, vectors.data());
    Status status = documents_.status();
    if (!status.ok()) return status;
    status = FloatDocuments(format_, {{std::string(Id(i)), vectors, {}}}).Validate();
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

std::span<const uint8_t> RecodedDocuments::Tokens(size_t i) {
  constexpr size_t kWindow = 64;  // documents encoded together, by several threads
  if (i < first_ || i >= first_ + window_.size()) {
    first_ = i;
    window_.assign(std::min(kWindow, document_count() - i), {});
    std::vector<EncodedTokens> encoded(window_.size());
    ThreadPool::Shared().For(window_.size(), [&](size_t w) {
      const uint32_t count = TokenCount(first_ + w);
      std::vector<float> vectors(size_t{count} * format_.dim);
      documents_.Vectors(first_ + w, vectors.data());
      window_[w].resize(count * format_.TokenBytes());
      EncodeTokens(format_.tokens, vectors.data(), count, format_.dim, window_[w].data(),
                   &encoded[w]);
    });
    for (const EncodedTokens& one : encoded) encoded_.Add(one);
  }
  return window_[i - first_];
}

}  // namespace maxsim
