// class SegmentWriter: documents on their way to disk, window by window, so that a commit needs a
// few buffers and not a copy of everything, and never holds the event loop.
#include "index/segment_writer.h"

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "addon/convert.h"
#include "addon/filter.h"
#include "addon/store_tasks.h"
#include "maxsim/query.h"

namespace maxsim::addon {
namespace {

// Documents of a window, their vectors back to back in a buffer of ours.
struct Window {
  size_t first;
  std::vector<FloatDocuments::Document> documents;
  std::vector<float> values;
};

// Windows are written in the order in which they were given, whichever thread takes which.
class Writing {
 public:
  Writing(std::string path, const VectorFormat& format, size_t document_count, GivenFields fields)
      : path_(std::move(path)),
        format_(format),
        document_count_(document_count),
        fields_(std::move(fields)) {}

  // On the event loop ----------------------------------------------------------------------------

  size_t document_count() const { return document_count_; }
  size_t given() const { return given_; }
  void Give(size_t documents) { given_ += documents; }
  uint64_t TakeTurn() { return turns_++; }

  // A buffer that was used before, if there is one: its pages are there already.
  std::vector<float> Buffer() {
    const std::lock_guard lock(mutex_);
    if (buffers_.empty()) return {};
    std::vector<float> buffer = std::move(buffers_.back());
    buffers_.pop_back();
    return buffer;
  }

  // On any thread --------------------------------------------------------------------------------

  Status Append(uint64_t turn, Window& window) {
    const Status status = InTurn(turn, [&] {
      const size_t first = window.first, count = window.documents.size();
      for (size_t i = 0; i < count; i++) source_->Give(first + i, std::move(window.documents[i]));
      // While these are encoded, the ones before are written.
      Status written = Status::Ok();
      source_->Prepare(first, count, [&] { written = stream_->AppendTokens(first); });
      return written.ok() ? source_->status() : written;
    });
    const std::lock_guard lock(mutex_);
    buffers_.push_back(std::move(window.values));
    return status;
  }

  Status Finish(uint64_t turn) {
    return InTurn(turn, [&] { return stream_->Finish(&summary_); });
  }

  void Abort(uint64_t turn) {
    (void)InTurn(turn, [&] {
      stream_.reset();
      return Status::Error("ABORTED", "The segment was given up.");
    });
  }

  const SegmentSummary& summary() const { return summary_; }
  const FloatDocuments& source() const { return *source_; }

 private:
  template <typename Step>
  Status InTurn(uint64_t turn, Step step) {
    std::unique_lock lock(mutex_);
    // Those before are running, or about to: nobody waits for the event loop here.
    turn_.wait(lock, [&] { return turn == done_; });
    lock.unlock();
    // Whatever happens, the turn has to end: those after it wait for that.
    try {
      if (status_.ok() && source_ == nullptr) {
        source_ = std::make_unique<FloatDocuments>(
            format_, std::vector<FloatDocuments::Document>(document_count_), fields_.Write());
        source_->ValidateLater();
        status_ = SegmentStream::Create(path_, format_, *source_, &stream_);
      }
      if (status_.ok()) status_ = step();
    } catch (const std::exception&) {
      status_ = Status::Error("IO_ERROR", "There is not enough memory to write the segment.");
    }
    if (!status_.ok()) stream_.reset();  // and its file with it
    const Status status = status_;
    lock.lock();
    done_++;
    turn_.notify_all();
    return status;
  }

  const std::string path_;
  const VectorFormat format_;
  const size_t document_count_;
  const GivenFields fields_;
  size_t given_ = 0;
  uint64_t turns_ = 0;

  std::mutex mutex_;
  std::condition_variable turn_;
  uint64_t done_ = 0;
  std::vector<std::vector<float>> buffers_;

  // Of the one whose turn it is.
  Status status_ = Status::Ok();
  std::unique_ptr<FloatDocuments> source_;
  std::unique_ptr<SegmentStream> stream_;
  SegmentSummary summary_;
};

class SegmentWriterObject : public Napi::ObjectWrap<SegmentWriterObject> {
 public:
  // (path, format, documentCount, fields?). Writes nothing yet.
  explicit SegmentWriterObject(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<SegmentWriterObject>(info) {
    std::string path;
    VectorFormat format;
    uint64_t count;
    GivenFields fields;
    if (!ToText(info[0], "path", &path) || !ToFormat(info[1], &format) ||
        !ToInteger(info[2], "documentCount", 1, static_cast<double>(kMaxSegmentDocuments),
                   &count) ||
        !fields.Read(info[3], static_cast<uint32_t>(count))) {
      return;
    }
    records_ = Napi::Persistent(Napi::Array::New(info.Env()).As<Napi::Object>());
    writing_ = std::make_shared<Writing>(std::move(path), format, count, std::move(fields));
  }

  // (ids, vectors: Float32Array[], records) -> Promise<void>: of the next documents. Ids and
  // vectors are copied before this returns; records must stay as they are until all is done.
  Napi::Value Append(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Napi::Array ids, vectors, records;
    if (!IsOpen(env) || !ToArray(info[0], "ids", &ids) || !ToArray(info[1], "vectors", &vectors) ||
        !ToArray(info[2], "records", &records)) {
      return env.Undefined();
    }
    const uint32_t count = ids.Length();
    auto window = std::make_shared<Window>();
    window->first = writing_->given();
    const size_t left = writing_->document_count() - window->first;
    if (count == 0 || count > left || vectors.Length() != count || records.Length() != count) {
      return Throw(env, Status::Error("INVALID_ARGUMENT",
                                      "ids, vectors and records must have one length of 1 to %zu, "
                                      "but have %u, %u and %u.",
                                      left, count, vectors.Length(), records.Length()));
    }
    window->documents.resize(count);
    window->values = writing_->Buffer();
    window->values.clear();
    std::vector<size_t> ends;
    const Napi::Array anchor = records_.Value().As<Napi::Array>();
    const auto anchored = static_cast<uint32_t>(window->first);
    for (uint32_t i = 0; i < count; i++) {
      const Napi::HandleScope scope(env);
      if (!ToId(PropertyOf(ids, i), &window->documents[i].id)) {
        return Throw(env, Status::Error("INVALID_ARGUMENT",
                                        "ids[%u] must be 1 to %zu bytes of well-formed text.", i,
                                        kMaxIdBytes));
      }
      std::span<const float> values;
      if (!ToFloats(PropertyOf(vectors, i), "vectors", &values)) return env.Undefined();
      window->values.insert(window->values.end(), values.begin(), values.end());
      ends.push_back(window->values.size());
    }
    // Spans are taken when nothing of the caller's can run any more.
    if (!Gather(records, count, anchor, anchored)) return env.Undefined();
    for (uint32_t i = 0; i < count; i++) {
      const Napi::HandleScope scope(env);
      FloatDocuments::Document& document = window->documents[i];
      if (!ToBytes(PropertyOf(anchor, anchored + i), "records", &document.record)) {
        return env.Undefined();
      }
      const size_t begin = i == 0 ? 0 : ends[i - 1];
      document.vectors = {window->values.data() + begin, ends[i] - begin};
    }
    if (writing_->given() != window->first) {
      return Throw(env, Status::Error("INVALID_ARGUMENT",
                                      "other documents were given while these were looked at."));
    }
    writing_->Give(count);
    return StartTask(
        env,
        [writing = writing_, turn = writing_->TakeTurn(), window] {
          return writing->Append(turn, *window);
        },
        [](Napi::Env e) { return e.Undefined(); }, info.This().As<Napi::Object>());
  }

  // () -> Promise<{ documents, tokens, sizeBytes, headerCrc, clipped, clippedByDocument }>: the
  // file is durable, but for its name.
  Napi::Value Finish(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!IsOpen(env)) return env.Undefined();
    if (writing_->given() < writing_->document_count()) {
      return Throw(env, Status::Error("INVALID_ARGUMENT", "%zu documents were given, of %zu.",
                                      writing_->given(), writing_->document_count()));
    }
    return StartTask(
        env, [writing = writing_, turn = writing_->TakeTurn()] { return writing->Finish(turn); },
        [writing = writing_](Napi::Env e) {
          const Napi::Value result =
              FromSummary(e, writing->summary(), writing->source().encoded().clamped);
          result.As<Napi::Object>().Set("clippedByDocument",
                                        FromUint32s(e, writing->source().clamped()));
          return result;
        },
        info.This().As<Napi::Object>());
  }

  // () -> Promise<void>: what was written is removed, once what was begun has ended.
  Napi::Value Abort(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!IsOpen(env)) return env.Undefined();
    return StartTask(
        env,
        [writing = writing_, turn = writing_->TakeTurn()] {
          writing->Abort(turn);
          return Status::Ok();
        },
        [](Napi::Env e) { return e.Undefined(); }, info.This().As<Napi::Object>());
  }

 private:
  bool IsOpen(Napi::Env env) const {
    if (writing_ != nullptr) return true;
    Throw(env, Status::Error("INVALID_ARGUMENT", "The segment writer was not made."));
    return false;
  }

  std::shared_ptr<Writing> writing_;
  Napi::ObjectReference records_;
};

}  // namespace

void ExportSegmentWriter(Napi::Env env, Napi::Object exports) {
  using W = SegmentWriterObject;
  exports.Set("SegmentWriter", W::DefineClass(env, "SegmentWriter",
                                              {W::InstanceMethod<&W::Append>("append"),
                                               W::InstanceMethod<&W::Finish>("finish"),
                                               W::InstanceMethod<&W::Abort>("abort")}));
}

}  // namespace maxsim::addon
