// The scalar kernels: lane by lane, compiled without vectorisation. The oracle of all others.
#include "encoder/kernels/table.h"

namespace {

struct Scalar {
  struct Float {
    float lane[kEncoderLanes];
  };
  struct Int {
    int32_t lane[kEncoderLanes];
  };

  template <typename To, typename Make>
  static ENCODER_INLINE To Each(Make make) {
    To result;
    for (int l = 0; l < kEncoderLanes; l++) result.lane[l] = make(l);
    return result;
  }

  static Float Load(const float* from) {
    return Each<Float>([&](int l) { return from[l]; });
  }
  static void Store(float* to, Float a) { memcpy(to, a.lane, sizeof(a.lane)); }
  static Float Set(float value) {
    return Each<Float>([&](int) { return value; });
  }
  static Float Zero() { return Set(0.f); }
  static Float Add(Float a, Float b) {
    return Each<Float>([&](int l) { return a.lane[l] + b.lane[l]; });
  }
  static Float Sub(Float a, Float b) {
    return Each<Float>([&](int l) { return a.lane[l] - b.lane[l]; });
  }
  static Float Mul(Float a, Float b) {
    return Each<Float>([&](int l) { return a.lane[l] * b.lane[l]; });
  }
  static Float Div(Float a, Float b) {
    return Each<Float>([&](int l) { return a.lane[l] / b.lane[l]; });
  }
  static Float Fma(Float a, Float b, Float c) {
    return Each<Float>([&](int l) { return fmaf(a.lane[l], b.lane[l], c.lane[l]); });
  }
  static Float Min(Float a, Float b) {
    return Each<Float>([&](int l) { return a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]; });
  }
  static Float Max(Float a, Float b) {
    return Each<Float>([&](int l) { return a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]; });
  }
  static Float Abs(Float a) {
    return Each<Float>([&](int l) { return fabsf(a.lane[l]); });
  }
  static Float Round(Float a) {
    return Each<Float>([&](int l) { return nearbyintf(a.lane[l]); });
  }
  static Float WithSign(Float magnitude, Float sign) {
    return Each<Float>([&](int l) { return copysignf(magnitude.lane[l], sign.lane[l]); });
  }
  static float Sum(Float a) {
    for (int width = kEncoderLanes / 2; width > 0; width /= 2) {
      for (int l = 0; l < width; l++) a.lane[l] = a.lane[l] + a.lane[l + width];
    }
    return a.lane[0];
  }
  static float SquareRoot(float a) { return sqrtf(a); }
  static Float Scale(Float a, Float whole) {
    return Each<Float>([&](int l) { return ldexpf(a.lane[l], ToInt32(whole.lane[l])); });
  }

  static Int LoadInt(const int32_t* from) {
    return Each<Int>([&](int l) { return from[l]; });
  }
  static void StoreInt(int32_t* to, Int a) { memcpy(to, a.lane, sizeof(a.lane)); }
  static Int SetInt(int32_t value) {
    return Each<Int>([&](int) { return value; });
  }
  static Float ToFloat(Int a) {
    return Each<Float>([&](int l) { return (float)a.lane[l]; });
  }
  static int32_t ToInt32(float a) {
    return a >= -2147483648.f && a < 2147483648.f ? (int32_t)nearbyintf(a) : INT32_MIN;
  }
  static Int ToInt(Float a) {
    return Each<Int>([&](int l) { return ToInt32(a.lane[l]); });
  }
  // Integers wrap as those of a CPU do.
  static Int Add(Int a, Int b) {
    return Each<Int>([&](int l) { return (int32_t)((uint32_t)a.lane[l] + (uint32_t)b.lane[l]); });
  }
  static Int Sub(Int a, Int b) {
    return Each<Int>([&](int l) { return (int32_t)((uint32_t)a.lane[l] - (uint32_t)b.lane[l]); });
  }
  static Int MulInt(Int a, Int b) {
    return Each<Int>([&](int l) { return (int32_t)((uint32_t)a.lane[l] * (uint32_t)b.lane[l]); });
  }
  static Int And(Int a, Int b) {
    return Each<Int>([&](int l) { return a.lane[l] & b.lane[l]; });
  }
  static Int Or(Int a, Int b) {
    return Each<Int>([&](int l) { return a.lane[l] | b.lane[l]; });
  }
  template <int kBits>
  static Int ShiftLeft(Int a) {
    return Each<Int>([&](int l) { return (int32_t)((uint32_t)a.lane[l] << kBits); });
  }
  template <int kBits>
  static Int ShiftRight(Int a) {
    return Each<Int>([&](int l) { return (int32_t)((uint32_t)a.lane[l] >> kBits); });
  }
  static int32_t SumInt(Int a) {
    uint32_t sum = 0;
    for (int l = 0; l < kEncoderLanes; l++) sum += (uint32_t)a.lane[l];
    return (int32_t)sum;
  }
  static void StoreHalves(uint8_t* high, uint8_t* low, Int a, Int b) {
    for (int l = 0; l < kEncoderLanes; l++) {
      high[l] = (uint8_t)(a.lane[l] >> 8);
      high[kEncoderLanes + l] = (uint8_t)(b.lane[l] >> 8);
      if (low == nullptr) continue;
      low[l] = (uint8_t)a.lane[l];
      low[kEncoderLanes + l] = (uint8_t)b.lane[l];
    }
  }
  static void StoreSigned(uint8_t* to, Int a) {
    for (int l = 0; l < kEncoderLanes; l++) {
      const int32_t v = a.lane[l] < -128 ? -128 : a.lane[l] > 127 ? 127 : a.lane[l];
      to[l] = (uint8_t)(v + 128);
    }
  }
  static void StoreUnsigned(uint8_t* to, Int a) {
    for (int l = 0; l < kEncoderLanes; l++) {
      to[l] = (uint8_t)(a.lane[l] < 0 ? 0 : a.lane[l] > 255 ? 255 : a.lane[l]);
    }
  }
  static void AddProducts(Int& sum, Int a, Int b) {
    for (int l = 0; l < kEncoderLanes; l++) {
      for (int i = 0; i < 4; i++) {
        sum.lane[l] += (int32_t)((uint32_t)a.lane[l] >> 8 * i & 255) *
                       (int8_t)((uint32_t)b.lane[l] >> 8 * i & 255);
      }
    }
  }

  static ENCODER_NOINLINE void Dot(uint32_t rows, const uint8_t* bytes, size_t stride,
                                   const int8_t* panel, uint32_t steps, const int32_t* weight_sums,
                                   const char* /*fetch*/, uint32_t /*lines*/, int32_t* sums) {
    for (uint32_t r = 0; r < rows; r++) {
      for (uint32_t c = 0; c < kEncoderPanel; c++) {
        int32_t sum = weight_sums ? -128 * weight_sums[c] : 0;
        for (uint32_t k = 0; k < 4 * steps; k++) {
          const int8_t weight = panel[(size_t)(k / 4) * 4 * kEncoderPanel + 4 * c + k % 4];
          sum += bytes[r * stride + k] * weight;
        }
        sums[r * kEncoderPanel + c] = sum;
      }
    }
  }

  static ENCODER_NOINLINE void DotFloats(uint32_t rows, const float* values, size_t stride,
                                         const float* weights, size_t weight_stride,
                                         uint32_t inputs, const float* bias, float* out,
                                         size_t out_stride) {
    for (uint32_t r = 0; r < rows; r++) {
      for (uint32_t c = 0; c < kEncoderPanel; c++) {
        float sum = bias[c];
        for (uint32_t i = 0; i < inputs; i++) {
          sum = fmaf(values[r * stride + i], weights[i * weight_stride + c], sum);
        }
        out[r * out_stride + c] = sum;
      }
    }
  }
};

}  // namespace

const EncoderKernels kEncoderScalar = KernelsOf<Scalar>("scalar");
