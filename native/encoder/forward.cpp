#include "encoder/forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "encoder/dispatch.h"
#include "encoder/head.h"
#include "encoder/phases.h"
#include "platform/thread_pool.h"

namespace maxsim {
namespace {

// The feed-forward part of so many rows (floats of the intermediate layer) stays in the second
// cache beside the layer's weights.
constexpr size_t kBlockRows = 48;
// So few rows are not worth another thread.
constexpr size_t kLeastRows = 8;
// Memory for so many rows (20 kB each with 384 channels) is kept for the next call.
constexpr size_t kKeptRows = 4096;

// Memory aligned to a cache line that grows and keeps nothing.
template <typename T>
class Buffer {
 public:
  T* Reserve(size_t count) {
    if (count > count_) {
      count_ = 0;
      memory_.reset();
      memory_.reset(static_cast<T*>(::operator new(count * sizeof(T), kAlignment)));
      count_ = count;
    }
    return memory_.get();
  }
  T* get() const { return memory_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(T* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<T, Free> memory_;
  size_t count_ = 0;
};

}  // namespace

struct Encoder::Workspace {
  Buffer<float> residual, normal, context, values;  // rows of all tokens
  Buffer<uint8_t> bytes, queries, keys;
  Buffer<float> scale, query_scale, key_scale;
  struct Worker {
    Buffer<float> wide, largest, scale, pooled, dense[2];
    Buffer<uint8_t> bytes, attention;
    Buffer<int32_t> zero;
    std::vector<float> seen;  // as ForwardOptions::largest
  };
  std::vector<Worker> workers;
  std::vector<size_t> starts;  // of each sequence; then the number of tokens
};

// One call of Forward.
class Encoder::Run {
 public:
  Run(const Encoder& encoder, const TokenBatch& batch, const ForwardOptions& options,
      std::span<float> output, Workspace& work)
      : model_(*encoder.model_),
        shape_(model_.shape()),
        kernels_(encoder.kernels_),
        batch_(batch),
        options_(options),
        output_(output),
        work_(work),
        rows_(batch.ids.size()),
        threads_(std::min({std::max<size_t>(options.threads, 1), ThreadPool::Shared().width(),
                           (rows_ + kLeastRows - 1) / kLeastRows})),
        first_only_(shape_.pooling == Pooling::kFirst) {
    const size_t hidden = shape_.hidden;
    work_.starts.clear();
    size_t start = 0, longest = 0;
    for (size_t i = 0; i < batch.lengths.size(); i++) {
      work_.starts.push_back(start);
      start += batch.lengths[i];
      longest = std::max<size_t>(longest, Attended(i));
    }
    work_.starts.push_back(start);
    residual_ = work_.residual.Reserve(rows_ * hidden);
    normal_ = work_.normal.Reserve(rows_ * hidden);
    context_ = work_.context.Reserve(rows_ * hidden);
    values_ = work_.values.Reserve(rows_ * hidden);
    bytes_ = work_.bytes.Reserve(rows_ * shape_.inputs());
    queries_ = work_.queries.Reserve(rows_ * hidden);
    keys_ = work_.keys.Reserve(rows_ * hidden);
    scale_ = work_.scale.Reserve(rows_);
    query_scale_ = work_.query_scale.Reserve(rows_ * shape_.heads);
    key_scale_ = work_.key_scale.Reserve(rows_ * shape_.heads);
    const size_t widest = std::max(shape_.intermediate, shape_.hidden);
    work_.workers.resize(std::max(work_.workers.size(), threads_));
    for (size_t i = 0; i < threads_; i++) {
      Workspace::Worker& worker = work_.workers[i];
      worker.wide.Reserve(kBlockRows * widest);
      worker.bytes.Reserve(kBlockRows * widest);
      worker.largest.Reserve(kBlockRows * kEncoderLanes);
      worker.scale.Reserve(kBlockRows);
      worker.zero.Reserve(kBlockRows);
      worker.attention.Reserve(EncoderScratchOf(longest, shape_.head_dim()).total);
      worker.pooled.Reserve(kBlockRows * hidden);
      for (int d = 0; d < 2; d++) {
        worker.dense[d].Reserve(kBlockRows * shape_.dense[d].PaddedOutputs());
      }
      worker.seen.assign(options.largest.size(), 0.f);
    }
  }

  // Phases: embeddings and the first products; then for each block attention by head, and the rest
  // up to the products that the next attention needs; then the head.
  Status All() {
    const size_t sequences = batch_.lengths.size(), layers = shape_.layers;
    const std::vector<size_t> blocks = SplitRows(rows_);
    const std::vector<size_t> last = first_only_ ? SplitRows(sequences) : blocks;
    const std::vector<size_t> head = shape_.pooling == Pooling::kMean ? SplitRows(sequences) : last;
    std::vector<size_t> items = {blocks.size() - 1};
    for (size_t layer = 0; layer < layers; layer++) {
      items.push_back(sequences * shape_.heads);
      items.push_back((layer + 1 < layers ? blocks : last).size() - 1);
    }
    items.push_back(head.size() - 1);
    const auto work = [&](size_t phase, size_t item, size_t worker_number) {
      Workspace::Worker& worker = work_.workers[worker_number];
      if (phase == 0) {
        Embed(blocks[item], blocks[item + 1], worker);
      } else if (phase > 2 * layers) {
        Head(head[item], head[item + 1], worker);
      } else if (phase % 2 == 1) {
        Attend(phase / 2, item / shape_.heads, item % shape_.heads, worker);
      } else if (const size_t layer = phase / 2 - 1; layer + 1 < layers) {
        Rest(layer, blocks[item], blocks[item + 1], worker);
      } else {
        Rest(layer, last[item], last[item + 1], worker);
      }
    };
    const auto check = [&] { return options_.check ? options_.check() : Status::Ok(); };
    const Status status = RunPhases(items, threads_, check, work);
    if (!status.ok()) return status;
    for (size_t i = 0; i < threads_; i++) {
      for (size_t c = 0; c < options_.largest.size(); c++) {
        options_.largest[c] = std::max(options_.largest[c], work_.workers[i].seen[c]);
      }
    }
    for (const float value : output_) {
      if (!std::isfinite(value)) {
        return Status::Error("INVALID_MODEL", "The encoder made a vector that is not finite.");
      }
    }
    return Status::Ok();
  }

 private:
  // Where blocks begin, then the number of rows: whole tiles, of nearly one size, at most
  // kBlockRows. With threads a multiple of them, of parts of tiles when there are few rows.
  std::vector<size_t> SplitRows(size_t rows) const {
    size_t count = (rows + kBlockRows - 1) / kBlockRows, unit = kEncoderTile;
    if (threads_ > 1) {
      count = (count + threads_ - 1) / threads_ * threads_;
      if (rows < 2 * kEncoderTile * count) unit = 1;
    }
    const size_t units = (rows + unit - 1) / unit;
    count = std::min(count, units);
    std::vector<size_t> starts;
    for (size_t b = 0; b <= count; b++) starts.push_back(std::min(rows, units * b / count * unit));
    return starts;
  }

  uint32_t Attended(size_t sequence) const {
    return batch_.attended.empty() ? batch_.lengths[sequence] : batch_.attended[sequence];
  }

  void Embed(size_t begin, size_t end, Workspace::Worker& worker) {
    const size_t hidden = shape_.hidden;
    const auto after = std::upper_bound(work_.starts.begin(), work_.starts.end(), begin);
    auto sequence = static_cast<size_t>(after - work_.starts.begin()) - 1;
    for (size_t row = begin; row < end; row++) {
      while (row >= work_.starts[sequence + 1]) sequence++;
      const auto id = static_cast<size_t>(batch_.ids[row]);
      const size_t type = batch_.types.empty() ? 0 : static_cast<size_t>(batch_.types[row]);
      const size_t position = row - work_.starts[sequence];
      AddEmbeddings(model_.words() + id * hidden, model_.word_scales() + 2 * id,
                    model_.positions() + position * hidden, model_.types() + type * hidden, hidden,
                    residual_ + row * hidden);
    }
    Normalise(model_.embedding_norm(), &model_.blocks()[0].splits[0], 0, begin, end, normal_,
              worker);
    Project(0, begin, end, worker);
  }

  // Rows of residual_ to `normal`, and to bytes_ and scale_ where there is a split. `place`: of the
  // split, within ForwardOptions::largest.
  void Normalise(const EncoderNorm& norm, const EncoderSplit* split, size_t place, size_t begin,
                 size_t end, float* normal, Workspace::Worker& worker) {
    const size_t hidden = shape_.hidden;
    kernels_.normalise(residual_ + begin * hidden, static_cast<uint32_t>(end - begin), &norm, split,
                       normal + begin * hidden, bytes_ + begin * shape_.inputs(), scale_ + begin);
    if (split == nullptr || worker.seen.empty()) return;
    float* seen = worker.seen.data() + place * hidden;
    for (size_t row = begin; row < end; row++) {
      for (size_t i = 0; i < hidden; i++) {
        seen[i] = std::max(seen[i], std::fabs(normal[row * hidden + i]));
      }
    }
  }

  EncoderRows Rows(size_t begin, size_t end) const {
    return {bytes_ + begin * shape_.inputs(), shape_.inputs(), scale_ + begin, nullptr,
            static_cast<uint32_t>(end - begin)};
  }

  // Queries and keys as bytes, values as floats; each [head][row][dim].
  void Project(size_t layer, size_t begin, size_t end, Workspace::Worker& worker) {
    const EncoderLinear& linear = model_.blocks()[layer].linears[kQkv];
    const EncoderRows rows = Rows(begin, end);
    const size_t dim = shape_.head_dim();
    const auto columns = static_cast<uint32_t>(dim), panels = columns / kEncoderPanel;
    const float factor = 1.44269504f / std::sqrt(static_cast<float>(dim));  // softmax of base 2
    uint32_t panel = 0;
    for (size_t part = 0; part < 3; part++) {
      for (size_t head = 0; head < shape_.heads; head++, panel += panels) {
        const size_t at = head * rows_ + begin;
        float* floats = part == 2 ? values_ + at * dim : worker.wide.get();
        const EncoderOutput output = {floats, dim, kEncoderPanel};
        kernels_.linear(&rows, &linear, panel, panel + panels, &output);
        if (part == 0) {
          kernels_.quantise(floats, dim, rows.count, columns, factor, queries_ + at * dim,
                            query_scale_ + at);
        } else if (part == 1) {
          kernels_.quantise(floats, dim, rows.count, columns, 1.f, keys_ + at * dim,
                            key_scale_ + at);
        }
      }
    }
  }

  // Whether block `layer` goes on with the first token of each sequence alone: nothing of the
  // others is asked for after it.
  bool FirstOnly(size_t layer) const { return first_only_ && layer + 1 == shape_.layers; }

  void Attend(size_t layer, size_t sequence, size_t of_head, Workspace::Worker& worker) {
    const size_t start = work_.starts[sequence], dim = shape_.head_dim();
    const size_t at = of_head * rows_ + start;
    EncoderHead head{};
    head.queries = queries_ + at * dim;
    head.query_scale = query_scale_ + at;
    head.keys = keys_ + at * dim;
    head.key_scale = key_scale_ + at;
    head.values = values_ + at * dim;
    head.tokens = Attended(sequence);
    head.dim = static_cast<uint32_t>(dim);
    head.query_count = FirstOnly(layer) ? 1 : batch_.lengths[sequence];
    head.context = context_ + (FirstOnly(layer) ? sequence : start) * shape_.hidden + of_head * dim;
    head.context_stride = shape_.hidden;
    head.scratch = worker.attention.get();
    kernels_.attend(&head);
  }

  // What follows attention; rows are tokens, or sequences where FirstOnly.
  void Rest(size_t layer, size_t begin, size_t end, Workspace::Worker& worker) {
    const EncoderModel::Block& block = model_.blocks()[layer];
    const size_t hidden = shape_.hidden;
    const auto count = static_cast<uint32_t>(end - begin);
    const auto panels = static_cast<uint32_t>(hidden / kEncoderPanel);
    const float* before = normal_ + begin * hidden;
    float* normal = Final(layer);
    if (FirstOnly(layer)) {
      for (size_t i = 0; i < count; i++) {
        std::memcpy(worker.pooled.get() + i * hidden, normal_ + work_.starts[begin + i] * hidden,
                    hidden * sizeof(float));
      }
      before = worker.pooled.get();
    }
    const EncoderOutput after = {residual_ + begin * hidden, hidden, kEncoderPanel};
    uint8_t* bytes = worker.bytes.get();
    float* scale = worker.scale.get();
    kernels_.quantise(context_ + begin * hidden, hidden, count, shape_.hidden, 1.f, bytes, scale);
    const EncoderRows attended = {bytes, hidden, scale, nullptr, count};
    kernels_.linear_residual(&attended, &block.linears[kAttentionOutput], 0, panels, before,
                             &after);
    Normalise(block.norms[0], &block.splits[1], 2 * layer + 1, begin, end, normal, worker);

    // Panel by panel: rows a power of two apart would share few lines of the cache.
    const EncoderOutput wide = {worker.wide.get(), kEncoderPanel, size_t{count} * kEncoderPanel};
    float* largest = worker.largest.get();
    std::fill_n(largest, size_t{count} * kEncoderLanes, 0.f);
    const EncoderRows rows = Rows(begin, end);
    kernels_.linear_activate(&rows, &block.linears[kUp], 0, shape_.intermediate / kEncoderPanel,
                             shape_.activation, &wide, largest);
    kernels_.quantise_activated(&wide, count, shape_.intermediate, shape_.activation, largest,
                                bytes, scale, worker.zero.get());
    const EncoderRows activated = {bytes, shape_.intermediate, scale, worker.zero.get(), count};
    kernels_.linear_residual(&activated, &block.linears[kDown], 0, panels, normal + begin * hidden,
                             &after);

    const bool last = layer + 1 == shape_.layers;
    const EncoderSplit* next = last ? nullptr : &model_.blocks()[layer + 1].splits[0];
    Normalise(block.norms[1], next, 2 * layer + 2, begin, end, normal, worker);
    if (!last) Project(layer + 1, begin, end, worker);
  }

  // Where a block's rows go. Those of first tokens do not go to normal_, from which other threads
  // have still to take theirs; values_ is free once attention has ended.
  float* Final(size_t layer) const { return FirstOnly(layer) ? values_ : normal_; }

  void Head(size_t begin, size_t end, Workspace::Worker& worker) {
    const size_t hidden = shape_.hidden, count = end - begin, outputs = shape_.outputs();
    const float* from = Final(shape_.layers - 1) + begin * hidden;
    if (shape_.pooling == Pooling::kMean) {
      for (size_t i = 0; i < count; i++) {
        MeanOf(normal_ + work_.starts[begin + i] * hidden, Attended(begin + i), hidden,
               worker.pooled.get() + i * hidden);
      }
      from = worker.pooled.get();
    }
    size_t stride = hidden;
    for (int d = 0; d < 2; d++) {
      const size_t padded = shape_.dense[d].PaddedOutputs();
      if (padded == 0) break;
      float* to = worker.dense[d].get();
      kernels_.project(from, stride, static_cast<uint32_t>(count), model_.dense(d).weights,
                       model_.dense(d).bias, static_cast<uint32_t>(shape_.DenseInputs(d)),
                       static_cast<uint32_t>(padded), to, padded);
      if (shape_.dense[d].activation == DenseActivation::kTanh) ApplyTanh(to, count * padded);
      from = to;
      stride = padded;
    }
    for (size_t i = 0; i < count; i++) {
      float* to = output_.data() + (begin + i) * outputs;
      std::memcpy(to, from + i * stride, outputs * sizeof(float));
      if (shape_.normalise) ToLengthOne(to, outputs);
    }
  }

  const EncoderModel& model_;
  const ModelShape& shape_;
  const EncoderKernels& kernels_;
  const TokenBatch& batch_;
  const ForwardOptions& options_;
  const std::span<float> output_;
  Workspace& work_;
  const size_t rows_, threads_;
  const bool first_only_;
  float *residual_, *normal_, *context_, *values_, *scale_, *query_scale_, *key_scale_;
  uint8_t *bytes_, *queries_, *keys_;
};

Encoder::Encoder(std::shared_ptr<const EncoderModel> model, const EncoderKernels* kernels)
    : model_(std::move(model)), kernels_(kernels != nullptr ? *kernels : *ChosenEncoderKernels()) {}

Encoder::~Encoder() = default;

size_t Encoder::OutputSize(const TokenBatch& batch) const {
  const bool tokens = model_->shape().pooling == Pooling::kTokens;
  return (tokens ? batch.ids.size() : batch.lengths.size()) * model_->shape().outputs();
}

Status Encoder::Validate(const TokenBatch& batch, std::span<float> output) const {
  const ModelShape& shape = model_->shape();
  size_t tokens = 0;
  for (size_t i = 0; i < batch.lengths.size(); i++) {
    const uint32_t length = batch.lengths[i];
    if (length == 0 || length > shape.positions) {
      return Status::Error("INVALID_ARGUMENT",
                           "Sequence %zu has %u tokens, but this encoder takes 1 to %u.", i, length,
                           shape.positions);
    }
    if (!batch.attended.empty() && (batch.attended.size() != batch.lengths.size() ||
                                    batch.attended[i] == 0 || batch.attended[i] > length)) {
      return Status::Error("INVALID_ARGUMENT",
                           "attended must give of each sequence 1 token or more, at most all, but "
                           "does not of sequence %zu.",
                           i);
    }
    tokens += length;
  }
  if (tokens != batch.ids.size() || (!batch.types.empty() && batch.types.size() != tokens)) {
    return Status::Error("INVALID_ARGUMENT",
                         "The lengths make %zu tokens, but there are %zu ids and %zu types.",
                         tokens, batch.ids.size(), batch.types.size());
  }
  for (size_t i = 0; i < tokens; i++) {
    const int32_t id = batch.ids[i], type = batch.types.empty() ? 0 : batch.types[i];
    if (id < 0 || static_cast<uint32_t>(id) >= shape.vocabulary || type < 0 ||
        static_cast<uint32_t>(type) >= shape.types) {
      return Status::Error("INVALID_ARGUMENT",
                           "Token %zu has id %d and type %d, but this encoder has %u ids and %u "
                           "types.",
                           i, id, type, shape.vocabulary, shape.types);
    }
  }
  if (output.size() != OutputSize(batch)) {
    return Status::Error("INVALID_ARGUMENT", "There is room for %zu values, but %zu come out.",
                         output.size(), OutputSize(batch));
  }
  return Status::Ok();
}

Status Encoder::Forward(const TokenBatch& batch, const ForwardOptions& options,
                        std::span<float> output) const {
  Status status = Validate(batch, output);
  if (!status.ok() || batch.ids.empty()) return status;
  std::unique_ptr<Workspace> work;
  {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      work = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  if (work == nullptr) work = std::make_unique<Workspace>();
  status = Run(*this, batch, options, output, *work).All();
  // What a very long batch needed is given back to the system.
  if (batch.ids.size() <= kKeptRows) {
    const std::lock_guard lock(mutex_);
    spare_.push_back(std::move(work));
  }
  return status;
}

}  // namespace maxsim
