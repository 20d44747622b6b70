#include "coding.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "maxsim/training.h"

namespace maxsim::bench {
namespace {

constexpr std::align_val_t kAlignment{64};  // of a document in a segment

constexpr Coding kCodings[] = {
    {Codec::kF32, 8},  {Codec::kF16, 8},       {Codec::kBf16, 8}, {Codec::kInt8, 8},
    {Codec::kInt8, 7}, {Codec::kInt8Token, 8}, {Codec::kR4, 8},   {Codec::kR4, 7},
    {Codec::kR2, 8},   {Codec::kR1, 8},
};

class Documents : public TokenSource {
 public:
  Documents(const Data& data, size_t dim) : data_(data), dim_(dim) {}
  size_t document_count() const override { return data_.documents; }
  uint32_t TokenCount(size_t) const override {
    return static_cast<uint32_t>(data_.document_tokens);
  }
  void Vectors(size_t document, float* vectors) const override {
    const std::vector<float> values = data_.Document(document, dim_);
    std::copy(values.begin(), values.end(), vectors);
  }

 private:
  const Data& data_;
  size_t dim_;
};

}  // namespace

std::span<const Coding> Codings() { return kCodings; }

bool CanScore(const MaxsimKernels& kernels, Codec codec) {
  return !SameKernel(kernels, MaxsimKernels{}, codec);
}

bool SameKernel(const MaxsimKernels& a, const MaxsimKernels& b, Codec codec) {
  switch (codec) {
    case Codec::kF32:
      return a.score_f32 == b.score_f32;
    case Codec::kF16:
      return a.score_f16 == b.score_f16;
    case Codec::kBf16:
      return a.score_bf16 == b.score_bf16;
    case Codec::kInt8:
      return a.score_int8 == b.score_int8;
    case Codec::kInt8Token:
      return a.score_int8_token == b.score_int8_token;
    default:
      return a.score_residual == b.score_residual;
  }
}

void ScoreWith(const MaxsimKernels& kernels, const PreparedQuery& query, const TokenFormat& format,
               const CentroidTable& table, const MaxsimDocument* documents, size_t count,
               float* scores) {
  const auto floats = [&](MaxsimScoreF32 score, const MaxsimQueryF32& face) {
    score(&face, documents, count, nullptr, scores);
  };
  switch (format.codec) {
    case Codec::kF32:
      return floats(kernels.score_f32, query.F32());
    case Codec::kF16:
      return floats(kernels.score_f16, query.F32());
    case Codec::kBf16:
      return floats(kernels.score_bf16, query.Bfloat16());
    case Codec::kInt8: {
      const MaxsimQueryInt8 face = query.Int8(format.scale);
      return kernels.score_int8(&face, documents, count, nullptr, scores);
    }
    case Codec::kInt8Token: {
      const MaxsimQueryInt8 face = query.Int8(1.f);
      return kernels.score_int8_token(&face, documents, count, nullptr, scores);
    }
    default: {
      const MaxsimQueryInt8 face = query.Int8(format.codebook->contents().scale);
      MaxsimResidual residual = format.codebook->ForKernels();
      residual.table = table.rows();
      residual.table_shift = table.shift();
      return kernels.score_residual(&face, &residual, documents, count, nullptr, scores);
    }
  }
}

void Store::Free::operator()(uint8_t* bytes) const { ::operator delete(bytes, kAlignment); }

Store::Store(const Data& data, const TokenFormat& format, size_t dim, size_t bytes)
    : format_(format), document_tokens_(data.document_tokens) {
  stride_ = (document_tokens_ * TokenBytes(format, dim) + 63) / 64 * 64;
  document_count_ = std::max(data.documents, (bytes + stride_ - 1) / stride_);
  const size_t size = document_count_ * stride_ + kMaxsimResidualSlack;
  bytes_.reset(static_cast<uint8_t*>(::operator new(size, kAlignment)));
  std::memset(bytes_.get() + size - kMaxsimResidualSlack, 0, kMaxsimResidualSlack);
  for (size_t i = 0; i < document_count_; i++) {
    uint8_t* block = bytes_.get() + i * stride_;
    if (i >= data.documents) {
      std::memcpy(block, block - data.documents * stride_, stride_);
      continue;
    }
    EncodedTokens encoded;
    std::memset(block, 0, stride_);
    EncodeTokens(format, data.Document(i, dim).data(), document_tokens_, dim, block, &encoded);
  }
}

TokenFormat LearnFormat(const Data& data, Codec codec, size_t dim) {
  TokenFormat format{codec, 1.f};
  if (codec == Codec::kInt8) {
    float largest = 0;
    for (size_t i = 0; i < data.documents; i++) {
      const std::vector<float> tokens = data.Document(i, dim);
      largest = std::max(largest, LargestStoredMagnitude(tokens.data(), data.document_tokens, dim));
    }
    format.scale = largest / 127.f;
  }
  if (ResidualBits(codec) == 0) return format;
  TrainingOptions options;
  options.bits = ResidualBits(codec);
  options.dim = static_cast<uint32_t>(dim);
  const Status status = TrainCodebook(Documents(data, dim), options, &format.codebook);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    std::exit(1);
  }
  return format;
}

}  // namespace maxsim::bench
