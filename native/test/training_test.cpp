#include "maxsim/training.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "fixtures.h"
#include "formats.h"
#include "platform/crc32c.h"
#include "platform/thread_pool.h"

using namespace maxsim;

namespace {

class Tokens : public TokenSource {
 public:
  Tokens(std::vector<float> tokens, size_t dim, uint32_t per_document = 50)
      : tokens_(std::move(tokens)), dim_(dim), per_document_(per_document) {}
  size_t document_count() const override {
    return (tokens_.size() / dim_ + per_document_ - 1) / per_document_;
  }
  uint32_t TokenCount(size_t document) const override {
    const size_t left = tokens_.size() / dim_ - document * per_document_;
    return static_cast<uint32_t>(std::min<size_t>(per_document_, left));
  }
  void Vectors(size_t document, float* vectors) const override {
    const float* first = &tokens_[document * per_document_ * dim_];
    std::copy(first, first + TokenCount(document) * dim_, vectors);
  }
  const std::vector<float>& values() const { return tokens_; }

 private:
  std::vector<float> tokens_;
  size_t dim_;
  uint32_t per_document_;
};

// Around 40 directions, of lengths of 0.5 to 1.5.
Tokens Clusters(size_t count, size_t dim, uint64_t seed = 1) {
  Noise noise(seed);
  const std::vector<float> centers = UnitTokens(40, dim, noise);
  std::vector<float> tokens;
  for (size_t t = 0; t < count; t++) {
    const size_t center = (noise.Next() >> 40) % 40;
    const float length = 1.f + 0.5f * noise.Unit();
    for (size_t d = 0; d < dim; d++) {
      const float value = centers[center * dim + d] + 0.1f * noise.Unit();
      tokens.push_back(value * length);
    }
  }
  return Tokens(std::move(tokens), dim);
}

TrainingOptions Options(uint32_t bits, size_t dim, uint32_t centroids = 0, uint64_t seed = 0) {
  TrainingOptions options;
  options.bits = bits;
  options.dim = static_cast<uint32_t>(dim);
  options.centroid_count = centroids;
  options.seed = seed;
  return options;
}

std::shared_ptr<const Codebook> Train(const TokenSource& source, const TrainingOptions& options) {
  std::shared_ptr<const Codebook> codebook;
  const Status status = TrainCodebook(source, options, &codebook);
  REQUIRE_MESSAGE(status.ok(), status.message());
  return codebook;
}

// Of all that a codebook is made of.
uint32_t Fingerprint(const Codebook& codebook) {
  const CodebookContents& contents = codebook.contents();
  uint32_t crc = Crc32c(contents.rows.data(), contents.rows.size());
  crc = Crc32c(contents.weights, sizeof(contents.weights), crc);
  crc = Crc32c(&contents.scale, sizeof(contents.scale), crc);
  const uint32_t numbers[] = {contents.bits, contents.dim, contents.centroid_count,
                              contents.centroid_shift,
                              static_cast<uint32_t>(contents.trained_tokens)};
  return Crc32c(numbers, sizeof(numbers), crc);
}

double MeanError(const Codebook& codebook, const std::vector<float>& tokens) {
  const size_t dim = codebook.contents().dim, count = tokens.size() / dim;
  std::vector<uint8_t> block(count * codebook.TokenBytes());
  std::vector<float> decoded(tokens.size());
  codebook.Encode(tokens.data(), count, block.data());
  codebook.Decode(block.data(), count, decoded.data());
  double error = 0, length = 0;
  for (size_t i = 0; i < tokens.size(); i++) {
    error += std::pow(static_cast<double>(tokens[i]) - decoded[i], 2.);
    length += std::pow(static_cast<double>(tokens[i]), 2.);
  }
  return std::sqrt(error / length);
}

std::string CodeOf(const Status& status) { return status.ok() ? "" : status.code(); }

constexpr size_t kDim = 20;

}  // namespace

TEST_CASE("training gives these very bytes, with every kernel set and on every machine") {
  const Tokens tokens = Clusters(5000, kDim);
  CHECK(Fingerprint(*Train(tokens, Options(4, kDim, 64))) == 485758742u);
  CHECK(Fingerprint(*Train(tokens, Options(2, kDim, 64))) == 1268363676u);
  CHECK(Fingerprint(*Train(tokens, Options(1, kDim, 100, 7))) == 3410273754u);
}

TEST_CASE("training gives the same bytes again, on however many threads") {
  const Tokens tokens = Clusters(20000, kDim);
  const TrainingOptions options = Options(4, kDim, 256);
  const uint32_t expected = Fingerprint(*Train(tokens, options));
  CHECK(Fingerprint(*Train(tokens, options)) == expected);
  // Every helper of the pool is inside one of these, so each trains on its own thread alone.
  const size_t width = ThreadPool::Shared().width();
  std::vector<uint32_t> found(width + 1);
  ThreadPool::Shared().For(found.size(), [&](size_t i) {
    std::shared_ptr<const Codebook> codebook;
    if (TrainCodebook(tokens, options, &codebook).ok()) found[i] = Fingerprint(*codebook);
  });
  for (const uint32_t one : found) CHECK(one == expected);
  // And threads that are not the pool's, which share its helpers.
  std::vector<std::thread> threads;
  std::vector<uint32_t> theirs(3);
  for (uint32_t& one : theirs) {
    threads.emplace_back([&] {
      std::shared_ptr<const Codebook> codebook;
      if (TrainCodebook(tokens, options, &codebook).ok()) one = Fingerprint(*codebook);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const uint32_t one : theirs) CHECK(one == expected);
}

TEST_CASE("another seed, other tokens and other options make another codebook") {
  const Tokens tokens = Clusters(5000, kDim);
  const auto codebook = Train(tokens, Options(4, kDim, 64));
  CHECK(codebook->contents().seed == 0);
  const auto seeded = Train(tokens, Options(4, kDim, 64, 1));
  CHECK(seeded->contents().seed == 1);
  CHECK(Fingerprint(*seeded) != Fingerprint(*codebook));
  CHECK(Fingerprint(*Train(Clusters(5000, kDim, 2), Options(4, kDim, 64))) !=
        Fingerprint(*codebook));
  CHECK(Fingerprint(*Train(tokens, Options(4, kDim, 65))) != Fingerprint(*codebook));
}

TEST_CASE("a codebook is what was asked for, its weights ascend and its bytes are in range") {
  for (const size_t dim : {8, 9, 64}) {
    for (const uint32_t bits : {4u, 2u, 1u}) {
      CAPTURE(dim);
      CAPTURE(bits);
      const Tokens tokens = Clusters(4096, dim);
      const auto codebook = Train(tokens, Options(bits, dim));
      const CodebookContents& contents = codebook->contents();
      CHECK(contents.bits == bits);
      CHECK(contents.dim == dim);
      CHECK(contents.centroid_count == 512);  // an eighth of the tokens
      CHECK(contents.centroid_shift <= kMaxCentroidShift);
      CHECK(contents.scale > 0);
      CHECK(contents.trained_tokens == 4096 - 512);
      REQUIRE(contents.rows.size() == 512 * PaddedDim(dim));
      for (int code = 1; code < 1 << bits; code++) {
        CHECK(contents.weights[code - 1] < contents.weights[code]);
      }
      for (const int8_t weight : contents.weights) CHECK(weight != -128);
      for (size_t i = 0; i < contents.rows.size(); i++) {
        CHECK(contents.rows[i] != 0);
        if (i % PaddedDim(dim) >= dim) CHECK(contents.rows[i] == 128);
      }
    }
  }
}

TEST_CASE("what is learned fits the tokens: more bits and more centroids leave a smaller error") {
  const Tokens tokens = Clusters(8000, 64), others = Clusters(500, 64, 1);
  double previous = 0;
  for (const uint32_t bits : {4u, 2u, 1u}) {
    const double error = MeanError(*Train(tokens, Options(bits, 64, 64)), others.values());
    CAPTURE(bits);
    CHECK(error > 1.5 * previous);
    CHECK(error < (bits == 4 ? 0.08 : bits == 2 ? 0.2 : 0.35));
    previous = error;
  }
  CHECK(MeanError(*Train(tokens, Options(1, 64, 64)), others.values()) <
        MeanError(*Train(tokens, Options(1, 64, 2)), others.values()));
}

TEST_CASE("too few tokens, and too few that are not zero, are refused") {
  std::shared_ptr<const Codebook> codebook;
  const Status few = TrainCodebook(Clusters(4095, kDim), Options(4, kDim), &codebook);
  CHECK(CodeOf(few) == "INVALID_ARGUMENT");
  CHECK(few.message().find("at least 4096 tokens, but there are only 4095") != std::string::npos);
  CHECK(CodeOf(TrainCodebook(Tokens({}, kDim), Options(4, kDim), &codebook)) == "INVALID_ARGUMENT");
  CHECK(CodeOf(TrainCodebook(Clusters(5000, kDim), Options(4, kDim, 2501), &codebook)) ==
        "INVALID_ARGUMENT");
  const Tokens zeros(std::vector<float>(5000 * kDim), kDim);
  CHECK(CodeOf(TrainCodebook(zeros, Options(4, kDim), &codebook)) == "INVALID_ARGUMENT");
  CHECK(codebook == nullptr);
}

TEST_CASE("tokens of zeros among others are passed over") {
  std::vector<float> tokens = Clusters(6000, kDim).values();
  for (size_t t = 0; t < 6000; t += 3) std::fill_n(&tokens[t * kDim], kDim, 0.f);
  const auto codebook = Train(Tokens(tokens, kDim), Options(4, kDim, 64));
  CHECK(MeanError(*codebook, tokens) < 0.1);
}

TEST_CASE("tokens of any finite length can be learned from, the shortest and the longest") {
  for (const float length : {1e-45f, 1e-42f, 1e-38f, 1e-30f, 1e-20f, 1e15f}) {
    CAPTURE(length);
    std::vector<float> tokens = Clusters(6000, kDim).values();
    for (size_t i = 0; i < tokens.size(); i++) {
      if (i / kDim % 2 == 0) tokens[i] *= length;
    }
    const auto codebook = Train(Tokens(tokens, kDim), Options(4, kDim, 64));
    CHECK(std::isnormal(codebook->contents().scale));
    for (const int8_t weight : codebook->contents().weights) {
      CHECK(std::fabs(weight * codebook->contents().scale) < 0.5f);
    }
    std::vector<float> usual;
    for (size_t t = 1; t < 6000; t += 2) {
      usual.insert(usual.end(), &tokens[t * kDim], &tokens[t * kDim] + kDim);
    }
    CHECK(MeanError(*codebook, usual) < 0.1);
  }
}

TEST_CASE("one token over and over, or two, make a codebook that stores them well") {
  Noise noise(3);
  const std::vector<float> two = UnitTokens(2, kDim, noise);
  for (const size_t different : {1, 2}) {
    for (const uint32_t bits : {4u, 2u, 1u}) {
      std::vector<float> tokens;
      for (size_t t = 0; t < 5000; t++) {
        const float* token = &two[t % different * kDim];
        tokens.insert(tokens.end(), token, token + kDim);
      }
      const auto codebook = Train(Tokens(tokens, kDim), Options(bits, kDim, 64));
      CAPTURE(different);
      CAPTURE(bits);
      CHECK(std::isnormal(codebook->contents().scale));
      const auto used = two.begin() + static_cast<ptrdiff_t>(different * kDim);
      CHECK(MeanError(*codebook, {two.begin(), used}) < 0.05);
    }
  }
}

// The same tokens; the flag is raised when a document is read.
class CancelledAt : public TokenSource {
 public:
  CancelledAt(const TokenSource& source, size_t document, std::atomic<bool>* cancelled)
      : source_(source), document_(document), cancelled_(cancelled) {}
  size_t document_count() const override { return source_.document_count(); }
  uint32_t TokenCount(size_t i) const override { return source_.TokenCount(i); }
  void Vectors(size_t i, float* vectors) const override {
    if (i == document_) *cancelled_ = true;
    source_.Vectors(i, vectors);
  }

 private:
  const TokenSource& source_;
  size_t document_;
  std::atomic<bool>* cancelled_;
};

TEST_CASE("training that is cancelled ends as ABORTED, before it starts or in its midst") {
  const Tokens tokens = Clusters(20000, kDim);
  std::atomic<bool> cancelled{true};
  std::atomic<float> progress{0};
  TrainingOptions options = Options(4, kDim, 512);
  options.cancelled = &cancelled;
  options.progress = &progress;
  std::shared_ptr<const Codebook> codebook;
  CHECK(CodeOf(TrainCodebook(tokens, options, &codebook)) == "ABORTED");
  CHECK(progress == 0.f);
  // Cancelled while tokens are taken; and by the last document, so that only k-means can notice.
  for (const size_t document : {size_t{1}, tokens.document_count() - 1}) {
    CAPTURE(document);
    cancelled = false;
    const CancelledAt source(tokens, document, &cancelled);
    CHECK(CodeOf(TrainCodebook(source, options, &codebook)) == "ABORTED");
    CHECK(progress < 1.f);
    CHECK(codebook == nullptr);
  }
}

TEST_CASE("progress grows from 0 to 1") {
  const Tokens tokens = Clusters(20000, kDim);
  std::atomic<float> progress{0};
  TrainingOptions options = Options(4, kDim, 512);
  options.progress = &progress;
  std::atomic<bool> done{false};
  bool grew = true;
  std::thread watcher([&] {
    for (float last = 0; !done;) {
      const float now = progress;
      grew = grew && now >= last && now <= 1;
      last = now;
      std::this_thread::yield();
    }
  });
  Train(tokens, options);
  done = true;
  watcher.join();
  CHECK(grew);
  CHECK(progress == 1.f);
}

TEST_CASE("the default number of centroids is a power of two that grows with the root of tokens") {
  CHECK(DefaultCentroidCount(4096) == 512);
  CHECK(DefaultCentroidCount(100000) == 4096);
  CHECK(DefaultCentroidCount(1000000) == 8192);
  CHECK(DefaultCentroidCount(100000000) == 131072);
  CHECK(DefaultCentroidCount(uint64_t{1} << 60) == kMaxCentroids);
  CHECK(DefaultCentroidCount(1) == 1);
}
