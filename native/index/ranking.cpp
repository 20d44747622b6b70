// Scoring and ranking of a snapshot's documents: which thread takes what, and what is kept.
#include "index/ranking.h"

#include <algorithm>

namespace maxsim {
namespace {

// A request with its documents found.
struct Prepared {
  std::vector<MaxsimDocument> documents;
  std::unique_ptr<Scanner> scanner;
};

// Pieces of all requests' documents: whole requests, unless threads would be idle.
struct Piece {
  size_t request, begin, end;
};

std::vector<Piece> Pieces(std::span<const Prepared> prepared, size_t dim, Threads threads,
                          size_t chunk) {
  uint64_t tokens = 0;
  for (const Prepared& one : prepared) {
    for (const MaxsimDocument& document : one.documents) tokens += document.token_count;
  }
  const size_t width = ThreadPool::Shared().width();
  const bool split = threads == Threads::kShared && prepared.size() < width &&
                     tokens * PaddedDim(dim) >= kParallelBytes;
  std::vector<Piece> pieces;
  for (size_t i = 0; i < prepared.size(); i++) {
    const size_t count = prepared[i].documents.size();
    // A few pieces per thread: the last one to end should not end late.
    const size_t size =
        split ? std::max(chunk, count / (4 * width) + 1) : std::max<size_t>(count, 1);
    for (size_t begin = 0; begin < count; begin += size) {
      pieces.push_back({i, begin, std::min(begin + size, count)});
    }
  }
  return pieces;
}

}  // namespace

Status Snapshot::CheckQuery(const PreparedQuery& query) const {
  if (query.dim() == format_.dim) return Status::Ok();
  return Status::Error("MODEL_MISMATCH", "The query has dim %zu, but the index has dim %u.",
                       query.dim(), format_.dim);
}

namespace {

// Finds the documents of all requests, and what their queries need of them.
template <typename Check, typename Resolve>
Status PrepareAll(std::span<const Request> requests, const VectorFormat& format, Threads threads,
                  const Limits& limits, Check check, Resolve resolve,
                  std::vector<Prepared>* prepared) {
  prepared->resize(requests.size());
  for (size_t i = 0; i < requests.size(); i++) {
    Status status = check(*requests[i].query);
    if (status.ok()) status = resolve(requests[i].refs, &(*prepared)[i].documents);
    if (!status.ok()) return status;
  }
  FirstFailure failure;
  ForEach(threads, requests.size(), [&](size_t i) {
    if (!failure.Note(limits.Check())) return;
    Prepared& one = (*prepared)[i];
    one.scanner = std::make_unique<Scanner>(*requests[i].query, format.tokens);
    one.scanner->Prepare(one.documents);
  });
  return failure.status();
}

}  // namespace

Status Snapshot::Score(std::span<const Request> requests, const Limits& limits, Threads threads,
                       std::vector<std::vector<float>>* scores) const {
  std::vector<Prepared> prepared;
  const Status status = PrepareAll(
      requests, format_, threads, limits, [this](const auto& query) { return CheckQuery(query); },
      [this](auto refs, auto* documents) { return Resolve(refs, documents); }, &prepared);
  if (!status.ok()) return status;
  scores->resize(requests.size());
  for (size_t i = 0; i < requests.size(); i++) (*scores)[i].resize(prepared[i].documents.size());
  FirstFailure failure;
  const std::vector<Piece> pieces = Pieces(prepared, format_.dim, threads, kChunk);
  ForEach(threads, pieces.size(), [&](size_t p) {
    const Piece& piece = pieces[p];
    const Prepared& one = prepared[piece.request];
    for (size_t begin = piece.begin; begin < piece.end; begin += kChunk) {
      if (!failure.Note(limits.Check())) return;
      one.scanner->Scan(&one.documents[begin], std::min(kChunk, piece.end - begin),
                        &(*scores)[piece.request][begin]);
    }
  });
  return failure.status();
}

Status Snapshot::Rank(std::span<const Request> requests, const RankOptions& options,
                      const Limits& limits, Threads threads, std::vector<Ranking>* rankings) const {
  std::vector<Prepared> prepared;
  const Status status = PrepareAll(
      requests, format_, threads, limits, [this](const auto& query) { return CheckQuery(query); },
      [this](auto refs, auto* documents) { return Resolve(refs, documents); }, &prepared);
  if (!status.ok()) return status;
  const EncodedTokens bounds = Bounds();
  std::vector<std::unique_ptr<SharedSlice>> slices;
  for (const Prepared& one : prepared) {
    slices.push_back(std::make_unique<SharedSlice>(
        *one.scanner, options, std::min(options.k, one.documents.size()), bounds));
  }
  FirstFailure failure;
  const std::vector<Piece> pieces = Pieces(prepared, format_.dim, threads, kRankChunk);
  ForEach(threads, pieces.size(), [&](size_t p) {
    const Piece& piece = pieces[p];
    const Prepared& one = prepared[piece.request];
    uint32_t numbers[kRankChunk];
    for (size_t begin = piece.begin; begin < piece.end; begin += kRankChunk) {
      if (!failure.Note(limits.Check())) return;
      const size_t count = std::min(kRankChunk, piece.end - begin);
      for (size_t i = 0; i < count; i++) numbers[i] = static_cast<uint32_t>(begin + i);
      slices[piece.request]->Rank(&one.documents[begin], numbers, count);
    }
  });
  if (!failure.status().ok()) return failure.status();
  for (const auto& slice : slices) rankings->push_back(slice->Take());
  return Status::Ok();
}

}  // namespace maxsim
