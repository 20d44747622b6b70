#include "index/codes_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numbers>

#include "index/codes_reader.h"
#include "maxsim/codec.h"
#include "platform/background.h"
#include "platform/crc32c.h"
#include "platform/durable_file.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

constexpr uint32_t kPiece = 256;  // documents that a thread takes at once

// Of a cosine near 1 a float tells angles apart no better than 0.00035, 0.03 of a step.
constexpr double kSlack = 0.05;

// The steps of a bound that an angle of this cosine needs.
uint8_t StepsOf(float cosine) {
  const double angle = std::acos(std::clamp(static_cast<double>(cosine), -1., 1.));
  return static_cast<uint8_t>(std::min(255., std::ceil(angle * 255 / std::numbers::pi + kSlack)));
}

// What one thread has found out about some documents.
struct Piece {
  std::vector<uint32_t> counts;  // codes per document
  std::vector<uint32_t> codes;
  uint64_t tokens = 0;
  double cosines = 0;
};

class Coding {
 public:
  Coding(const Snapshot::Segment& segment, const Codebook& codebook, uint32_t codebook_crc32c,
         const CodesSource& source)
      : segment_(segment), codebook_(codebook), codebook_crc32c_(codebook_crc32c) {
    const SegmentReader& reader = *segment.reader;
    pieces_.resize((reader.document_count() + kPiece - 1) / kPiece);
    // Small segments have no bounds: to score all of them costs less than to read a row of bytes.
    if (reader.token_count() >= codebook.contents().centroid_count) {
      bounds_.assign(codebook.contents().centroid_count, 0);
    }
    if (source.snapshot != nullptr) TakeOver(source);
  }

  Status Run(const CodesOptions& options) {
    const uint32_t documents = segment_.reader->document_count();
    if (!before_.empty() && before_.size() != documents) {
      return Status::Error("INVALID_ARGUMENT",
                           "%s has %u documents, but its sources have %zu live ones.",
                           segment_.reader->path().c_str(), documents, before_.size());
    }
    const auto work = [&](size_t number) {
      if (failed_.load(std::memory_order_relaxed)) return;
      if (options.cancelled != nullptr && options.cancelled->load(std::memory_order_relaxed)) {
        return Fail(Status::Error("ABORTED", "The caller aborted the operation."));
      }
      const Status status = Code(number);
      if (!status.ok()) Fail(status);
    };
    if (options.background) {
      const Status status = RunInBackground([&] {
        for (size_t i = 0; i < pieces_.size(); i++) work(i);
        return Status::Ok();
      });
      if (!status.ok()) return status;
    } else {
      ThreadPool::Shared().For(pieces_.size(), work);
    }
    return status_;
  }

  Status Write(const std::string& path, CodesOptions::Lists lists, CodesSummary* summary);

 private:
  // Of a document that a merge has moved.
  struct Before {
    const CodesReader* codes;
    uint32_t ordinal;
  };

  void Fail(const Status& status) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
    failed_ = true;
  }

  // The i-th document of a merge is the i-th live one of its sources.
  void TakeOver(const CodesSource& source) {
    std::vector<const CodesReader*> used;
    for (const uint32_t number : source.segments) {
      const Snapshot::Segment& from = source.snapshot->segments()[number];
      const CodesReader* codes = from.codes.get();
      // Without bounds it has few tokens, which are measured now.
      const bool usable = codes != nullptr && codes->Verify().ok() &&
                          codes->header().codebook_crc32c == codebook_crc32c_ &&
                          (bounds_.empty() || !codes->bounds().empty());
      if (usable) {
        used.push_back(codes);
        cosines_ += codes->header().cosine_sum;
        tokens_ += codes->header().token_count;
      }
      for (uint32_t ordinal = 0; ordinal < from.reader->document_count(); ordinal++) {
        if (!from.IsDead(ordinal)) before_.push_back({usable ? codes : nullptr, ordinal});
      }
    }
    for (const CodesReader* codes : used) {
      for (size_t c = 0; c < bounds_.size(); c++) {
        bounds_[c] = std::max(bounds_[c], codes->bounds()[c]);
      }
    }
  }

  Status Code(size_t number) {
    const SegmentReader& reader = *segment_.reader;
    const uint32_t first = static_cast<uint32_t>(number * kPiece);
    const uint32_t end = std::min(first + kPiece, reader.document_count());
    Piece& piece = pieces_[number];
    std::vector<uint8_t> bounds(bounds_.size(), 0);
    for (uint32_t ordinal = first; ordinal < end; ordinal++) {
      const size_t begin = piece.codes.size();
      if (!segment_.IsDead(ordinal)) {
        const Status status = CodesOf(ordinal, &piece, &bounds);
        if (!status.ok()) return status;
      }
      piece.counts.push_back(static_cast<uint32_t>(piece.codes.size() - begin));
    }
    const std::lock_guard lock(mutex_);
    for (size_t c = 0; c < bounds.size(); c++) bounds_[c] = std::max(bounds_[c], bounds[c]);
    return Status::Ok();
  }

  Status CodesOf(uint32_t ordinal, Piece* piece, std::vector<uint8_t>* bounds) {
    if (ordinal < before_.size() && before_[ordinal].codes != nullptr) {
      const auto [codes, was] = before_[ordinal];
      const MaxsimCodes from = codes->codes();
      for (uint32_t i = from.starts[was]; i < from.starts[was + 1]; i++) {
        piece->codes.push_back(from.code_bytes == 2 ? static_cast<const uint16_t*>(from.codes)[i]
                                                    : static_cast<const uint32_t*>(from.codes)[i]);
      }
      return Status::Ok();
    }
    const SegmentReader& reader = *segment_.reader;
    const VectorFormat& format = reader.format();
    MaxsimDocument document;
    const Status status = reader.Tokens(ordinal, &document);
    if (!status.ok()) return status;
    const uint32_t count = document.token_count;
    std::vector<float> vectors(size_t{count} * format.dim), cosines(count);
    std::vector<uint32_t> ids(count);
    const auto* block = static_cast<const uint8_t*>(document.tokens);
    DecodeTokens(format.tokens, block, count, format.dim, vectors.data());
    if (format.codebook_crc32c == codebook_crc32c_) {
      const size_t id_bytes = codebook_.id_bytes();
      const uint8_t* stored = block + count * (codebook_.TokenBytes() - id_bytes);
      for (uint32_t t = 0; t < count; t++) std::memcpy(&ids[t], stored + t * id_bytes, id_bytes);
      codebook_.Cosines(vectors.data(), count, ids.data(), cosines.data());
    } else {
      codebook_.Assign(vectors.data(), count, ids.data(), cosines.data());
    }
    for (uint32_t t = 0; t < count; t++) {
      piece->cosines += cosines[t];
      if (!bounds->empty()) {
        uint8_t& bound = (*bounds)[ids[t]];
        bound = std::max(bound, StepsOf(cosines[t]));
      }
    }
    piece->tokens += count;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    piece->codes.insert(piece->codes.end(), ids.begin(), ids.end());
    return Status::Ok();
  }

  const Snapshot::Segment& segment_;
  const Codebook& codebook_;
  const uint32_t codebook_crc32c_;
  std::vector<Before> before_;
  std::vector<Piece> pieces_;
  std::vector<uint8_t> bounds_;
  double cosines_ = 0;
  uint64_t tokens_ = 0;
  std::mutex mutex_;
  Status status_ = Status::Ok();
  std::atomic<bool> failed_{false};
};

// Appends sections and notes where they are.
class Sections {
 public:
  Sections(CodesHeader& header, DurableFile& file) : header_(header), file_(file) {}

  Status Append(CodesSection section, const void* data, uint64_t size) {
    static constexpr uint8_t kZeros[kAlignment] = {};
    header_.sections[section] = {file_.size(), size, Crc32c(data, size), 0};
    const Status status = file_.Append(data, size);
    return status.ok() ? file_.Append(kZeros, AlignUp(size) - size) : status;
  }

 private:
  CodesHeader& header_;
  DurableFile& file_;
};

// By centroid what codes are by document.
void Transpose(const std::vector<uint32_t>& starts, const std::vector<uint32_t>& codes,
               uint32_t centroid_count, std::vector<uint32_t>* list_starts,
               std::vector<uint16_t>* lists) {
  lists->resize(codes.size());
  const size_t documents = starts.size() - 1, row = size_t{centroid_count} + 1;
  for (size_t first = 0; first < documents; first += kListBlock) {
    const size_t end = std::min(documents, first + kListBlock);
    std::vector<uint32_t> at(row, 0);
    for (uint32_t i = starts[first]; i < starts[end]; i++) at[codes[i] + 1]++;
    at[0] = starts[first];
    for (size_t c = 1; c < row; c++) at[c] += at[c - 1];
    list_starts->insert(list_starts->end(), at.begin(), at.end());
    for (size_t document = first; document < end; document++) {
      for (uint32_t i = starts[document]; i < starts[document + 1]; i++) {
        (*lists)[at[codes[i]]++] = static_cast<uint16_t>(document - first);
      }
    }
  }
}

Status Coding::Write(const std::string& path, CodesOptions::Lists lists, CodesSummary* summary) {
  const uint32_t centroid_count = codebook_.contents().centroid_count;
  std::vector<uint32_t> starts{0}, codes;
  for (Piece& piece : pieces_) {
    if (codes.size() + piece.codes.size() > UINT32_MAX) {
      return Status::Error("INVALID_ARGUMENT",
                           "%s: a segment has 2^32 or more codes; it is searched without.",
                           segment_.reader->path().c_str());
    }
    codes.insert(codes.end(), piece.codes.begin(), piece.codes.end());
    for (const uint32_t count : piece.counts) starts.push_back(starts.back() + count);
    tokens_ += piece.tokens;
    cosines_ += piece.cosines;
    piece = Piece();
  }
  CodesHeader header{};
  std::memcpy(header.magic, kCodesMagic, sizeof(kCodesMagic));
  header.version = kCodesVersion;
  header.header_size = sizeof(header);
  header.document_count = segment_.reader->document_count();
  header.token_count = tokens_;
  header.code_count = codes.size();
  header.cosine_sum = cosines_;
  header.centroid_count = centroid_count;
  header.code_bytes = CodeBytes(centroid_count);
  header.codebook_crc32c = codebook_crc32c_;
  header.segment_crc32c = segment_.reader->header().crc32c;
  std::vector<uint32_t> list_starts;
  std::vector<uint16_t> list;
  if (lists == CodesOptions::Lists::kAlways ||
      (lists == CodesOptions::Lists::kAuto && codes.size() >= kCodesWithLists)) {
    Transpose(starts, codes, centroid_count, &list_starts, &list);
    header.list_blocks =
        static_cast<uint32_t>((header.document_count + kListBlock - 1) / kListBlock);
  }
  std::unique_ptr<DurableFile> file;
  Status status = DurableFile::Create(path, &file);
  if (status.ok()) status = file->Append(&header, sizeof(header));
  if (!status.ok()) return status;
  Sections sections(header, *file);
  status = sections.Append(kStarts, starts.data(), starts.size() * sizeof(uint32_t));
  if (status.ok() && header.code_bytes == 2) {
    const std::vector<uint16_t> short_codes(codes.begin(), codes.end());
    status = sections.Append(kCodes, short_codes.data(), short_codes.size() * sizeof(uint16_t));
  } else if (status.ok()) {
    status = sections.Append(kCodes, codes.data(), codes.size() * sizeof(uint32_t));
  }
  if (status.ok()) {
    status =
        sections.Append(kListStarts, list_starts.data(), list_starts.size() * sizeof(uint32_t));
  }
  if (status.ok()) status = sections.Append(kLists, list.data(), list.size() * sizeof(uint16_t));
  if (status.ok()) status = sections.Append(kBounds, bounds_.data(), bounds_.size());
  if (!status.ok()) return status;
  header.file_size = file->size();
  header.crc32c = Crc32c(&header, offsetof(CodesHeader, crc32c));
  status = file->Overwrite(0, &header, sizeof(header));
  if (status.ok()) status = file->Commit();
  *summary = {header.crc32c, header.file_size};
  return status;
}

}  // namespace

Status WriteCodes(const std::string& path, const Snapshot::Segment& segment,
                  const Codebook& codebook, uint32_t codebook_crc32c, const CodesSource& source,
                  const CodesOptions& options, CodesSummary* summary) {
  Coding coding(segment, codebook, codebook_crc32c, source);
  const Status status = coding.Run(options);
  return status.ok() ? coding.Write(path, options.lists, summary) : status;
}

}  // namespace maxsim
