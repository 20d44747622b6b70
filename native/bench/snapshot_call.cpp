#include "snapshot_call.h"

#include <cstdio>
#include <numeric>

#include "index/snapshot.h"

namespace maxsim::bench {
namespace {

class SnapshotCall : public Measurement {
 public:
  // With `ids`, what index.score does: documents are found by id first.
  SnapshotCall(std::shared_ptr<const Snapshot> snapshot, const Data& data, uint32_t documents,
               bool ids)
      : snapshot_(std::move(snapshot)),
        query_(data.Query(32, data.dim).data(), 32, data.dim, 8),
        refs_(documents) {
    std::iota(refs_.begin(), refs_.end(), 0u);
    for (uint32_t i = 0; ids && i < documents; i++) {
      ids_.push_back("document-" + std::to_string(i));
    }
    work_ = documents * data.document_tokens * 32 * data.dim;
    name = std::string(ids ? "find and score" : "snapshot.score") + " in C++ int8 " +
           std::to_string(documents);
    description = ",\"kind\":\"call\",\"codec\":\"int8\",\"docs\":" + std::to_string(documents);
  }

  void Prepare() override { Run(); }
  uint64_t Run() override {
    for (size_t i = 0; i < ids_.size(); i++) refs_[i] = snapshot_->Find(ids_[i]);
    const Request request{&query_, refs_};
    const Status status = snapshot_->Score({&request, 1}, {}, Threads::kCaller, &scores_);
    return status.ok() ? work_ : 0;
  }
  std::vector<float> Scores() override {
    Run();
    return scores_[0];
  }

 private:
  const std::shared_ptr<const Snapshot> snapshot_;
  const PreparedQuery query_;
  std::vector<uint32_t> refs_;
  std::vector<std::string> ids_;
  std::vector<std::vector<float>> scores_;
  uint64_t work_;
};

}  // namespace

bool AddSnapshotCalls(const Data& data, const IndexSpec& spec, Measurements* measurements) {
  const VectorFormat format{{Codec::kInt8, spec.scale}, static_cast<uint32_t>(data.dim)};
  const SegmentSpec segment{spec.file, spec.documents, spec.tokens, spec.header_crc, "", 0, "", 0};
  std::shared_ptr<const Snapshot> snapshot;
  bool missing = false;
  const Status status =
      Snapshot::Open(spec.directory, format, {&segment, 1}, {}, nullptr, &snapshot, &missing);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return false;
  }
  for (const uint32_t documents : {10u, 100u}) {
    for (const bool ids : {false, true}) {
      measurements->push_back(std::make_unique<SnapshotCall>(snapshot, data, documents, ids));
    }
  }
  return true;
}

}  // namespace maxsim::bench
