// Any query and any documents, of any shape: every kernel set that this CPU can run against the
// scalar one. Integer codecs must agree bit for bit, and no kernel may read what it must not
// (AddressSanitizer). In: bytes that choose a shape, then fill query and documents.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "maxsim/centroid_table.h"
#include "maxsim/codec.h"
#include "maxsim/dispatch.h"
#include "maxsim/half.h"
#include "maxsim/query.h"

using namespace maxsim;

namespace {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  // The bytes again and again, changed a little each time, once they are used up.
  uint8_t Byte() {
    const uint8_t byte = size_ == 0 ? 0 : data_[at_ % size_];
    const auto round = size_ == 0 ? 0 : at_ / size_;
    at_++;
    return static_cast<uint8_t>(byte + 37 * round);
  }
  size_t Below(size_t bound) { return (Byte() * 256u + Byte()) % bound; }
  float Value() { return static_cast<float>(static_cast<int8_t>(Byte())) / 64.f; }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

[[noreturn]] void Differ(const char* what, const char* kernels) {
  std::fprintf(stderr, "%s of the %s kernels differs from the scalar ones'\n", what, kernels);
  std::abort();
}

void Compare(const char* what, const char* kernels, const std::vector<float>& expected,
             const std::vector<float>& got, bool exact, float bound) {
  for (size_t i = 0; i < expected.size(); i++) {
    const bool same = exact ? std::memcmp(&expected[i], &got[i], sizeof(float)) == 0
                            : std::fabs(expected[i] - got[i]) <= bound;
    if (!same || std::isnan(got[i])) Differ(what, kernels);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const size_t dim = 8 + input.Below(128), query_tokens = 1 + input.Below(40);
  const unsigned bits = 7 + static_cast<unsigned>(input.Below(2));
  std::vector<float> tokens(query_tokens * dim);
  for (float& value : tokens) value = input.Value();
  const PreparedQuery query(tokens.data(), query_tokens, dim, bits);
  const size_t row = PaddedDim(dim);
  std::vector<uint32_t> lengths(1 + input.Below(2));
  for (uint32_t& length : lengths) length = 1 + static_cast<uint32_t>(input.Below(30));

  const uint32_t residual_bits = 1u << input.Below(3),
                 id_bytes = 2 + static_cast<uint32_t>(input.Below(3));
  const uint32_t centroid_count = 1 + static_cast<uint32_t>(input.Below(60));
  const size_t code_bytes = (dim + 7) / 8 * residual_bits;
  std::vector<uint8_t> centroid_rows(centroid_count * row, 128);
  for (uint8_t& byte : centroid_rows) byte = static_cast<uint8_t>(128 + input.Byte() % 32 - 16);

  // Each document in memory of its own, so that a byte too many is seen.
  enum { kInt8, kInt8Token, kResidual, kF32, kF16, kBf16, kKinds };
  std::vector<std::unique_ptr<uint8_t[]>> memory;
  std::vector<MaxsimDocument> documents[kKinds];
  for (const uint32_t length : lengths) {
    const size_t token_bytes[kKinds] = {row,     row + 4, code_bytes + 2 + id_bytes,
                                        row * 4, row * 2, row * 2};
    for (int kind = 0; kind < kKinds; kind++) {
      const size_t bytes = length * token_bytes[kind];
      auto block =
          std::make_unique<uint8_t[]>(bytes + (kind == kResidual ? kMaxsimResidualSlack : 0));
      uint8_t* at = block.get();
      const auto put = [&at](auto value) {
        std::memcpy(at, &value, sizeof(value));
        at += sizeof(value);
      };
      if (kind == kInt8 || kind == kInt8Token) {
        for (size_t i = 0; i < length * row; i++) put(input.Byte());
        for (uint32_t i = 0; kind == kInt8Token && i < length; i++)
          put(0.001f + std::fabs(input.Value()));
      } else if (kind == kResidual) {
        for (size_t i = 0; i < length * code_bytes; i++) put(input.Byte());
        for (uint32_t i = 0; i < length; i++) put(ToHalf(std::fabs(input.Value())));
        for (uint32_t i = 0; i < length; i++) {
          const auto id = static_cast<uint32_t>(input.Below(centroid_count));
          std::memcpy(at, &id, id_bytes);
          at += id_bytes;
        }
      } else {
        for (size_t i = 0; i < length * row; i++) {
          const float value = input.Value();
          if (kind == kF32) put(value);
          if (kind == kF16) put(ToHalf(value));
          if (kind == kBf16) put(ToBfloat16(value));
        }
      }
      documents[kind].push_back({block.get(), length});
      memory.push_back(std::move(block));
    }
  }

  const MaxsimQueryInt8 int8 = query.Int8(0.01f);
  const MaxsimQueryF32 f32 = query.F32(), bf16 = query.Bfloat16();
  constexpr uint32_t kTableShift = 8;
  std::vector<int16_t> table(size_t{centroid_count} * int8.block_count * kMaxsimLanes),
      own(table.size());
  const MaxsimCentroids centroids{centroid_rows.data(), 2, kTableShift, table.data()};
  kMaxsimScalar.fill_table(&int8, &centroids, nullptr, centroid_count);
  MaxsimResidual residual{};
  residual.table = table.data();
  residual.table_shift = kTableShift;
  residual.bits = residual_bits;
  residual.code_bytes = static_cast<uint32_t>(code_bytes);
  residual.id_bytes = id_bytes;
  for (uint32_t i = 0; i < 16; i++) {
    residual.weights[i] = static_cast<uint8_t>(1 + i % (1u << residual_bits) * 16);
  }
  const size_t count = lengths.size();
  const float bound = 1e-4f * static_cast<float>(query_tokens * dim);
  std::vector<float> expected(count), got(count);
  for (const KernelCandidate& candidate : Kernels().candidates) {
    if (!candidate.supported || candidate.kernels == &kMaxsimScalar) continue;
    const MaxsimKernels& kernels = *candidate.kernels;
    kMaxsimScalar.score_int8(&int8, documents[kInt8].data(), count, nullptr, expected.data());
    kernels.score_int8(&int8, documents[kInt8].data(), count, nullptr, got.data());
    Compare("int8", kernels.name, expected, got, true, 0);
    kMaxsimScalar.score_int8_token(&int8, documents[kInt8Token].data(), count, nullptr,
                                   expected.data());
    kernels.score_int8_token(&int8, documents[kInt8Token].data(), count, nullptr, got.data());
    Compare("int8-token", kernels.name, expected, got, true, 0);
    const MaxsimCentroids own_rows{centroid_rows.data(), 2, kTableShift, own.data()};
    kernels.fill_table(&int8, &own_rows, nullptr, centroid_count);
    if (own != table) Differ("the centroid table", kernels.name);
    kMaxsimScalar.score_residual(&int8, &residual, documents[kResidual].data(), count, nullptr,
                                 expected.data());
    kernels.score_residual(&int8, &residual, documents[kResidual].data(), count, nullptr,
                           got.data());
    Compare("the residual codec", kernels.name, expected, got, true, 0);
    kMaxsimScalar.score_f32(&f32, documents[kF32].data(), count, nullptr, expected.data());
    kernels.score_f32(&f32, documents[kF32].data(), count, nullptr, got.data());
    Compare("f32", kernels.name, expected, got, false, bound);
    kMaxsimScalar.score_f16(&f32, documents[kF16].data(), count, nullptr, expected.data());
    kernels.score_f16(&f32, documents[kF16].data(), count, nullptr, got.data());
    Compare("f16", kernels.name, expected, got, false, bound);
    kMaxsimScalar.score_bf16(&bf16, documents[kBf16].data(), count, nullptr, expected.data());
    kernels.score_bf16(&bf16, documents[kBf16].data(), count, nullptr, got.data());
    Compare("bf16", kernels.name, expected, got, false, bound);
  }
  return 0;
}
