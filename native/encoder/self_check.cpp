#include "encoder/self_check.h"

#include <cstring>
#include <vector>

namespace maxsim {
namespace {

// One step of a 32-bit linear congruence: the cases must be the same on every machine.
class Noise {
 public:
  uint32_t Next() {
    state_ = state_ * 1664525u + 1013904223u;
    return state_ >> 8;  // the low bits of a congruence repeat too soon
  }
  float Unit() { return static_cast<float>(Next() % 2001) / 1000.f - 1.f; }
  std::vector<float> Floats(size_t count, float scale = 1) {
    std::vector<float> values(count);
    for (float& value : values) value = Unit() * scale;
    return values;
  }
  // Extremes in every third one: a saturating product must show.
  std::vector<uint8_t> Bytes(size_t count) {
    std::vector<uint8_t> values(count);
    for (uint8_t& value : values) {
      value = static_cast<uint8_t>(Next() % 3 == 0 ? 255 : Next());
    }
    return values;
  }

 private:
  uint32_t state_ = 30;
};

template <typename T>
bool Same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// What kernels want at a cache line.
template <typename T>
class Aligned {
 public:
  explicit Aligned(size_t count) : lines_(count * sizeof(T) / sizeof(Line) + 1) {}
  T* get() { return reinterpret_cast<T*>(lines_.data()); }

 private:
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  std::vector<Line> lines_;
};

class Check {
 public:
  explicit Check(const EncoderKernels& kernels) : kernels_(kernels) {}

  std::string Run() {
    for (const uint32_t rows : {1u, 13u, 23u}) {
      for (const uint32_t inputs : {32u, 100u}) {
        if (std::string found = Linears(rows, inputs); !found.empty()) return found;
      }
    }
    if (std::string found = Rows(); !found.empty()) return found;
    for (const uint32_t tokens : {1u, 33u, 65u}) {
      for (const uint32_t dim : {32u, 64u}) {
        if (!Attention(tokens, dim)) return "attention of " + std::to_string(tokens) + " tokens";
      }
    }
    return {};
  }

 private:
  std::string Linears(uint32_t count, uint32_t inputs) {
    constexpr uint32_t kPanels = 2, kOutputs = kPanels * kEncoderPanel;
    const std::vector<uint8_t> bytes = noise_.Bytes(size_t{count} * inputs);
    Aligned<int8_t> panels(size_t{kOutputs} * inputs);
    std::vector<int32_t> sums(kOutputs), zero(count);
    for (size_t i = 0; i < size_t{kOutputs} * inputs; i++) {
      const uint32_t draw = noise_.Next();
      const int value =
          draw % 3 == 0 ? (draw % 2 ? 127 : -127) : static_cast<int>(draw % 255) - 127;
      panels.get()[i] = static_cast<int8_t>(value);
      sums[i / (size_t{inputs} * kEncoderPanel) * kEncoderPanel + i / 4 % kEncoderPanel] += value;
    }
    for (int32_t& value : zero) value = static_cast<int32_t>(noise_.Next() % 256);
    const std::vector<float> row_scale = noise_.Floats(count, 0.01f);
    const std::vector<float> scale = noise_.Floats(kOutputs, 0.01f), bias = noise_.Floats(kOutputs);
    const std::vector<float> residual = noise_.Floats(size_t{count} * kOutputs);
    const EncoderLinear linear = {panels.get(), scale.data(), bias.data(), sums.data(), inputs};
    for (const int32_t* zeros :
         {static_cast<const int32_t*>(nullptr), static_cast<const int32_t*>(zero.data())}) {
      const EncoderRows rows = {bytes.data(), inputs, row_scale.data(), zeros, count};
      const auto with = [&](const EncoderKernels& kernels, int kind) {
        std::vector<float> values(size_t{count} * kOutputs), largest(count * kEncoderLanes);
        const EncoderOutput output = {values.data(), kOutputs, kEncoderPanel};
        if (kind == 0) {
          kernels.linear(&rows, &linear, 0, kPanels, &output);
        } else if (kind == 1) {
          kernels.linear_residual(&rows, &linear, 0, kPanels, residual.data(), &output);
        } else {
          const auto activation = static_cast<EncoderActivation>(kind - 2);
          kernels.linear_activate(&rows, &linear, 0, kPanels, activation, &output, largest.data());
          std::vector<uint8_t> activated(size_t{count} * kOutputs);
          std::vector<float> scales(count);
          std::vector<int32_t> zeros_of(count);
          kernels.quantise_activated(&output, count, kOutputs, activation, largest.data(),
                                     activated.data(), scales.data(), zeros_of.data());
          values.insert(values.end(), activated.begin(), activated.end());
          values.insert(values.end(), zeros_of.begin(), zeros_of.end());
          values.insert(values.end(), scales.begin(), scales.end());
        }
        return values;
      };
      for (int kind = 0; kind < 2 + kEncoderActivations; kind++) {
        if (!Same(with(kernels_, kind), with(kEncoderScalar, kind))) {
          return "linear layer " + std::to_string(kind) + ", " + std::to_string(count) +
                 " rows of " + std::to_string(inputs);
        }
      }
    }
    constexpr uint32_t kFloatOutputs = 64;
    const std::vector<float> values = noise_.Floats(size_t{count} * inputs);
    const std::vector<float> weights = noise_.Floats(size_t{inputs} * kFloatOutputs);
    const auto project = [&](const EncoderKernels& kernels) {
      std::vector<float> out(size_t{count} * kFloatOutputs);
      kernels.project(values.data(), inputs, count, weights.data(), bias.data(), inputs,
                      kFloatOutputs, out.data(), kFloatOutputs);
      return out;
    };
    return Same(project(kernels_), project(kEncoderScalar)) ? "" : "projection";
  }

  std::string Rows() {
    constexpr uint32_t kCount = 5, kHidden = 96, kSlots = 8;
    std::vector<float> values = noise_.Floats(kCount * kHidden);
    for (uint32_t r = 0; r < kCount; r++) values[r * kHidden + 40] = 30.f + static_cast<float>(r);
    const std::vector<float> gamma = noise_.Floats(kHidden), beta = noise_.Floats(kHidden);
    std::vector<float> share(kHidden, 1.f);
    EncoderSplit split{};
    split.slots = kSlots;
    split.share = share.data();
    for (uint32_t i = 0; i < kEncoderSlots; i++) {
      split.channel[i] = i < 6 ? 40 + static_cast<int32_t>(i % 2) : 0;
      split.below[i] = i < 6 ? 127.f * static_cast<float>(i / 2 + 1) : 1e30f;
    }
    share[40] = share[41] = 0.25f;
    const EncoderNorm norm = {gamma.data(), beta.data(), 1e-12f, kHidden};
    const auto with = [&](const EncoderKernels& kernels) {
      std::vector<float> result(kCount * kHidden), scale(kCount);
      std::vector<uint8_t> bytes(kCount * (kHidden + kSlots));
      kernels.normalise(values.data(), kCount, &norm, &split, result.data(), bytes.data(),
                        scale.data());
      result.insert(result.end(), bytes.begin(), bytes.end());
      result.insert(result.end(), scale.begin(), scale.end());
      kernels.quantise(values.data(), kHidden, kCount, kHidden, 0.3f, bytes.data(), scale.data());
      result.insert(result.end(), bytes.begin(), bytes.end());
      result.insert(result.end(), scale.begin(), scale.end());
      return result;
    };
    return Same(with(kernels_), with(kEncoderScalar)) ? "" : "LayerNorm or bytes of rows";
  }

  bool Attention(uint32_t tokens, uint32_t dim) {
    const std::vector<uint8_t> queries = noise_.Bytes(size_t{tokens} * dim);
    const std::vector<uint8_t> keys = noise_.Bytes(size_t{tokens} * dim);
    const std::vector<float> values = noise_.Floats(size_t{tokens} * dim);
    const std::vector<float> scale(tokens, 0.004f);
    const auto with = [&](const EncoderKernels& kernels) {
      std::vector<float> context(size_t{tokens} * dim);
      Aligned<uint8_t> scratch(EncoderScratchOf(tokens, dim).total);
      EncoderHead head{};
      head.queries = queries.data();
      head.query_scale = scale.data();
      head.keys = keys.data();
      head.key_scale = scale.data();
      head.values = values.data();
      head.tokens = tokens;
      head.dim = dim;
      head.query_count = tokens;
      head.context = context.data();
      head.context_stride = dim;
      head.scratch = scratch.get();
      kernels.attend(&head);
      return context;
    };
    return Same(with(kernels_), with(kEncoderScalar));
  }

  const EncoderKernels& kernels_;
  Noise noise_;
};

}  // namespace

std::string EncoderSelfCheck(const EncoderKernels& kernels) { return Check(kernels).Run(); }

}  // namespace maxsim
