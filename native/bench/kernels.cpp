// warm: the same documents every time, with one untimed pass before each timed one.
// cold: documents drawn anew each time from a store several times larger than the last-level cache;
// the untimed pass goes over other documents, so code, query and clock are warm and they are not.
#include "kernels.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>

#include "coding.h"
#include "maxsim/dispatch.h"
#include "platform/thread_pool.h"

namespace maxsim::bench {
namespace {

struct Case {
  size_t documents;
  bool warm;
  unsigned threads;
  size_t dim, query_tokens;
  bool table;  // with the query's products with the centroids, which residual codecs need first
};

// The base is 32 query tokens of 128 dims; then one thing at a time differs from it.
std::vector<Case> Cases(const Coding& coding, bool vector_kernels) {
  if (!vector_kernels) return {{10, true, 1, 128, 32, false}};
  std::vector<Case> cases;
  const unsigned width = static_cast<unsigned>(std::min<size_t>(ThreadPool::Shared().width(), 2));
  for (unsigned threads = 1; threads <= width; threads++) {
    for (const size_t documents : {100, 1000}) {
      for (const bool warm : {true, false}) {
        cases.push_back({documents, warm, threads, 128, 32, false});
      }
    }
  }
  for (const size_t query_tokens : {8, 16, 24, 48, 64}) {
    cases.push_back({100, true, 1, 128, query_tokens, false});
  }
  for (const size_t dim : {48, 64, 96}) cases.push_back({100, true, 1, dim, 32, false});
  if (ResidualBits(coding.codec) != 0) {
    for (const size_t documents : {100, 1000}) {
      cases.push_back({documents, true, 1, 128, 32, true});
    }
  }
  return cases;
}

// Stores are made when they are first needed, and shared by all kernel sets.
class Stores {
 public:
  Stores(const Data& data, size_t bytes) : data_(data), bytes_(bytes) {}

  const Data& data() const { return data_; }
  const Store& Get(Codec codec, size_t dim) {
    auto& store = stores_[{codec, dim}];
    if (store == nullptr) {
      // Other dims are only measured warm.
      store = std::make_unique<Store>(data_, LearnFormat(data_, codec, dim), dim,
                                      dim == data_.dim ? bytes_ : 0);
    }
    return *store;
  }

 private:
  const Data& data_;
  const size_t bytes_;
  std::map<std::pair<Codec, size_t>, std::unique_ptr<Store>> stores_;
};

class KernelMeasurement : public Measurement {
 public:
  KernelMeasurement(const MaxsimKernels& kernels, const Coding& coding, const Case& one,
                    std::shared_ptr<Stores> stores)
      : kernels_(kernels), coding_(coding), case_(one), stores_(std::move(stores)) {}

  void Prepare() override {
    Allocate();
    if (!case_.warm) {
      Draw(std::min<size_t>(case_.documents, 100));
      Score(1);
      Draw(case_.documents);
    } else {
      Run();
    }
  }

  uint64_t Run() override {
    if (case_.table) {
      CentroidTable table;
      table.Fill(*query_, *store_->format().codebook, documents_);
      ScoreWith(kernels_, *query_, store_->format(), table, documents_.data(), documents_.size(),
                scores_.data());
    } else {
      Score(case_.threads);
    }
    return documents_.size() * stores_->data().document_tokens * case_.query_tokens *
           PaddedDim(case_.dim);
  }

  std::vector<float> Scores() override {
    Allocate();
    documents_.clear();
    scores_.resize(stores_->data().documents);
    for (size_t i = 0; i < scores_.size(); i++) documents_.push_back(store_->Document(i));
    Score(1);
    const std::vector<float> scores = scores_;
    documents_.resize(case_.documents);
    return scores;
  }

 private:
  void Allocate() {
    if (query_ != nullptr) return;
    store_ = &stores_->Get(coding_.codec, case_.dim);
    const std::vector<float> tokens = stores_->data().Query(case_.query_tokens, case_.dim);
    query_ = std::make_unique<PreparedQuery>(tokens.data(), case_.query_tokens, case_.dim,
                                             coding_.query_bits);
    if (store_->format().codebook != nullptr) table_.FillAll(*query_, *store_->format().codebook);
    for (size_t i = 0; i < case_.documents; i++) documents_.push_back(store_->Document(i));
    scores_.resize(case_.documents);
  }

  void Draw(size_t count) {
    documents_.clear();
    for (size_t i = 0; i < count; i++) {
      documents_.push_back(store_->Document(random_.Below(store_->document_count())));
    }
  }

  // Two threads take the next few documents in turn until none is left, handed over as an index's
  // scan hands them over.
  void Score(unsigned threads) {
    if (threads == 1) return ScoreRange(0, documents_.size());
    const size_t chunk = std::max<size_t>(documents_.size() / (8 * threads), 1);
    std::atomic<size_t> next{0};
    ThreadPool::Shared().For(threads, [&](size_t) {
      for (size_t begin; (begin = next.fetch_add(chunk)) < documents_.size();) {
        ScoreRange(begin, std::min(chunk, documents_.size() - begin));
      }
    });
  }

  void ScoreRange(size_t begin, size_t count) {
    ScoreWith(kernels_, *query_, store_->format(), table_, &documents_[begin], count,
              &scores_[begin]);
  }

  const MaxsimKernels& kernels_;
  const Coding coding_;
  const Case case_;
  const std::shared_ptr<Stores> stores_;
  const Store* store_ = nullptr;
  std::unique_ptr<PreparedQuery> query_;
  CentroidTable table_;
  std::vector<MaxsimDocument> documents_;
  std::vector<float> scores_;
  Random random_;
};

// The name of the measurement that bounds this one, or "".
std::string PeakOf(const std::string& isa, Codec codec) {
  if (codec == Codec::kBf16 && isa == "avx512bf16") return "peak vdpbf16ps zmm";
  const bool wide = isa == "avx512" || isa == "avx512bf16";
  if (!IsRotated(codec)) {
    if (wide) return "peak vfmadd zmm";
    return isa == "avx2" || isa == "avxvnni" ? "peak vfmadd ymm" : "";
  }
  if (wide) return "peak vpdpbusd zmm";
  if (isa == "avxvnni") return "peak vpdpbusd ymm";
  return isa == "avx2" ? "peak vpmaddubsw ymm" : "";
}

class Preparation : public Measurement {
 public:
  explicit Preparation(const Data& data) : tokens_(data.Query(32, data.dim)), dim_(data.dim) {
    name = "prepare query";
    description = ",\"kind\":\"preparation\",\"dim\":" + std::to_string(dim_) +
                  ",\"queryTokens\":32,\"codec\":\"int8\"";
  }
  void Prepare() override { Run(); }
  uint64_t Run() override {
    const PreparedQuery query(tokens_.data(), 32, dim_, 8);
    query.Int8(1.f);  // makes the integer face
    return 0;
  }

 private:
  const std::vector<float> tokens_;
  const size_t dim_;
};

}  // namespace

void AddKernels(const Data& data, size_t store_bytes, Measurements* measurements) {
  const auto stores = std::make_shared<Stores>(data, store_bytes);
  for (const Coding& coding : Codings()) {
    // From the plainest set on, so that a kernel that sets share carries the first one's name.
    std::vector<const MaxsimKernels*> seen;
    const auto& candidates = Kernels().candidates;
    for (auto c = candidates.rbegin(); c != candidates.rend(); ++c) {
      const MaxsimKernels& kernels = *c->kernels;
      if (!c->supported || !CanScore(kernels, coding.codec)) continue;
      // 7 bits are for instructions that saturate.
      if (coding.query_bits == 7 && std::strcmp(kernels.name, "avx2") != 0) continue;
      if (std::any_of(seen.begin(), seen.end(), [&](const MaxsimKernels* other) {
            return SameKernel(*other, kernels, coding.codec);
          })) {
        continue;
      }
      seen.push_back(&kernels);
      const std::string isa = kernels.name, codec = CodecName(coding.codec);
      for (const Case& one : Cases(coding, isa != "scalar")) {
        auto m = std::make_unique<KernelMeasurement>(kernels, coding, one, stores);
        const std::string bits = std::to_string(coding.query_bits);
        m->name = codec + (coding.query_bits == 7 ? " 7-bit " : " ") + isa + " " +
                  std::to_string(one.documents) + (one.warm ? " warm " : " cold ") +
                  std::to_string(one.query_tokens) + "x" + std::to_string(one.dim) + " threads " +
                  std::to_string(one.threads) + (one.table ? " with table" : "");
        m->description = ",\"kind\":\"kernel\",\"codec\":\"" + codec + "\",\"queryBits\":" + bits +
                         ",\"isa\":\"" + isa + "\",\"docs\":" + std::to_string(one.documents) +
                         ",\"tokens\":" + std::to_string(data.document_tokens) +
                         ",\"dim\":" + std::to_string(one.dim) +
                         ",\"queryTokens\":" + std::to_string(one.query_tokens) +
                         ",\"warm\":" + (one.warm ? "true" : "false") +
                         ",\"threads\":" + std::to_string(one.threads) +
                         ",\"table\":" + (one.table ? "true" : "false") + ",\"peak\":\"" +
                         PeakOf(isa, coding.codec) + "\"";
        measurements->push_back(std::move(m));
      }
    }
  }
}

void AddPreparation(const Data& data, Measurements* measurements) {
  measurements->push_back(std::make_unique<Preparation>(data));
}

}  // namespace maxsim::bench
