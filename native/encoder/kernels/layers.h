// The linear layers: products of rows of bytes with panels, and what happens to them before they
// are stored. Included as static code by each kernel file.
#ifndef MAXSIM_ENCODER_KERNELS_LAYERS_H_
#define MAXSIM_ENCODER_KERNELS_LAYERS_H_

#include "encoder/kernels/vectors.h"

namespace {

// Rows in tiles of nearly one size, at most kEncoderTile.
struct Tiles {
  uint32_t count, small, larger;  // the first `larger` have one row more
  ENCODER_INLINE explicit Tiles(uint32_t rows) {
    count = (rows + kEncoderTile - 1) / kEncoderTile;
    small = rows / count;
    larger = rows % count;
  }
  ENCODER_INLINE uint32_t Rows(uint32_t tile) const { return small + (tile < larger ? 1 : 0); }
};

// A panel outside, tiles of rows inside: a panel comes once from memory, during the products of the
// one before it, and stays in the nearest cache for all rows.
template <typename I, typename Finish>
ENCODER_INLINE void ForProducts(const EncoderRows& rows, const EncoderLinear& linear,
                                uint32_t begin, uint32_t end, Finish finish) {
  const Tiles tiles(rows.count);
  const size_t panel_bytes = (size_t)linear.inputs * kEncoderPanel;
  const uint32_t lines = (uint32_t)((panel_bytes / 64 + tiles.count - 1) / tiles.count);
  alignas(64) int32_t sums[kEncoderTile * kEncoderPanel];
  for (uint32_t panel = begin; panel < end; panel++) {
    const int8_t* weights = linear.panels + panel * panel_bytes;
    const char* fetch = (const char*)weights + panel_bytes;
    finish.Panel(panel);
    uint32_t row = 0;
    for (uint32_t tile = 0; tile < tiles.count; tile++) {
      const uint32_t count = tiles.Rows(tile);
      I::Dot(count, rows.bytes + row * rows.stride, rows.stride, weights, linear.inputs / 4,
             rows.zero ? nullptr : linear.sums + panel * kEncoderPanel, fetch, lines, sums);
      for (uint32_t r = 0; r < count; r++) {
        finish.Row(row + r, I::LoadInt(sums + r * kEncoderPanel),
                   I::LoadInt(sums + r * kEncoderPanel + kEncoderLanes));
      }
      row += count;
      fetch += (size_t)lines * 64;
    }
  }
}

// Products as floats: product * scale of the output * scale of the row + bias.
template <typename I, bool kZero>
struct Scaled {
  typedef typename I::Float Float;
  typedef typename I::Int Int;

  const EncoderRows& rows;
  const EncoderLinear& linear;
  uint32_t begin;
  const EncoderOutput output;
  Float scale[2], bias[2];
  Int sums[2];
  size_t at;  // of the panel, within output.values

  ENCODER_INLINE Scaled(const EncoderRows& r, const EncoderLinear& l, uint32_t b,
                        const EncoderOutput& o)
      : rows(r), linear(l), begin(b), output(o) {}

  ENCODER_INLINE void Panel(uint32_t panel) {
    const size_t first = (size_t)panel * kEncoderPanel;
    ENCODER_UNROLL for (int half = 0; half < 2; half++) {
      scale[half] = I::Load(linear.scale + first + half * kEncoderLanes);
      bias[half] = I::Load(linear.bias + first + half * kEncoderLanes);
      if (kZero) sums[half] = I::LoadInt(linear.sums + first + half * kEncoderLanes);
    }
    at = (panel - begin) * output.panel_stride;
  }
  template <int kHalf>
  ENCODER_INLINE Float Value(uint32_t row, Int product, Float plus) const {
    if (kZero) product = I::Sub(product, I::MulInt(I::SetInt(rows.zero[row]), sums[kHalf]));
    return I::Fma(I::Mul(I::ToFloat(product), scale[kHalf]), I::Set(rows.scale[row]), plus);
  }
  ENCODER_INLINE size_t At(uint32_t row) const { return at + row * output.row_stride; }
};

template <typename I, bool kZero>
struct Plain : Scaled<I, kZero> {
  using Scaled<I, kZero>::Scaled;
  ENCODER_INLINE void Row(uint32_t row, typename I::Int low, typename I::Int high) {
    float* to = this->output.values + this->At(row);
    I::Store(to, this->template Value<0>(row, low, this->bias[0]));
    I::Store(to + kEncoderLanes, this->template Value<1>(row, high, this->bias[1]));
  }
};

template <typename I, bool kZero>
struct Residual : Scaled<I, kZero> {
  const float* residual;
  ENCODER_INLINE Residual(const EncoderRows& r, const EncoderLinear& l, uint32_t b,
                          const EncoderOutput& o, const float* added)
      : Scaled<I, kZero>(r, l, b, o), residual(added) {}
  ENCODER_INLINE void Row(uint32_t row, typename I::Int low, typename I::Int high) {
    const size_t at = this->At(row);
    float* to = this->output.values + at;
    I::Store(to, this->template Value<0>(row, low, I::Add(this->bias[0], I::Load(residual + at))));
    I::Store(to + kEncoderLanes,
             this->template Value<1>(
                 row, high, I::Add(this->bias[1], I::Load(residual + at + kEncoderLanes))));
  }
};

template <typename I, bool kZero, EncoderActivation kActivation>
struct Activate : Scaled<I, kZero> {
  float* largest;
  ENCODER_INLINE Activate(const EncoderRows& r, const EncoderLinear& l, uint32_t b,
                          const EncoderOutput& o, float* maxima)
      : Scaled<I, kZero>(r, l, b, o), largest(maxima) {}
  ENCODER_INLINE void Row(uint32_t row, typename I::Int low, typename I::Int high) {
    typedef typename I::Float Float;
    const Float a = Activated<I, kActivation>(this->template Value<0>(row, low, this->bias[0]));
    const Float b = Activated<I, kActivation>(this->template Value<1>(row, high, this->bias[1]));
    float* to = this->output.values + this->At(row);
    I::Store(to, a);
    I::Store(to + kEncoderLanes, b);
    float* maximum = largest + (size_t)row * kEncoderLanes;
    I::Store(maximum, I::Max(I::Load(maximum), I::Max(a, b)));
  }
};

template <typename I>
void Linear(const EncoderRows* rows, const EncoderLinear* linear, uint32_t begin, uint32_t end,
            const EncoderOutput* output) {
  if (rows->zero) {
    ForProducts<I>(*rows, *linear, begin, end, Plain<I, true>(*rows, *linear, begin, *output));
  } else {
    ForProducts<I>(*rows, *linear, begin, end, Plain<I, false>(*rows, *linear, begin, *output));
  }
}

template <typename I>
void LinearResidual(const EncoderRows* rows, const EncoderLinear* linear, uint32_t begin,
                    uint32_t end, const float* residual, const EncoderOutput* output) {
  if (rows->zero) {
    ForProducts<I>(*rows, *linear, begin, end,
                   Residual<I, true>(*rows, *linear, begin, *output, residual));
  } else {
    ForProducts<I>(*rows, *linear, begin, end,
                   Residual<I, false>(*rows, *linear, begin, *output, residual));
  }
}

template <typename I, EncoderActivation kActivation>
ENCODER_INLINE void ActivateWith(const EncoderRows& rows, const EncoderLinear& linear,
                                 uint32_t begin, uint32_t end, const EncoderOutput& output,
                                 float* largest) {
  if (rows.zero) {
    ForProducts<I>(rows, linear, begin, end,
                   Activate<I, true, kActivation>(rows, linear, begin, output, largest));
  } else {
    ForProducts<I>(rows, linear, begin, end,
                   Activate<I, false, kActivation>(rows, linear, begin, output, largest));
  }
}

template <typename I>
void LinearActivate(const EncoderRows* rows, const EncoderLinear* linear, uint32_t begin,
                    uint32_t end, EncoderActivation activation, const EncoderOutput* output,
                    float* largest) {
  if (activation == kEncoderGelu) {
    ActivateWith<I, kEncoderGelu>(*rows, *linear, begin, end, *output, largest);
  } else if (activation == kEncoderGeluTanh) {
    ActivateWith<I, kEncoderGeluTanh>(*rows, *linear, begin, end, *output, largest);
  } else {
    ActivateWith<I, kEncoderRelu>(*rows, *linear, begin, end, *output, largest);
  }
}

// A tile of floats, 12 rows by 32 outputs at most.
template <typename I>
void Project(const float* values, size_t stride, uint32_t count, const float* weights,
             const float* bias, uint32_t inputs, uint32_t outputs, float* out, size_t out_stride) {
  const Tiles tiles(count);
  uint32_t row = 0;
  for (uint32_t tile = 0; tile < tiles.count; tile++) {
    const uint32_t rows = tiles.Rows(tile);
    for (uint32_t column = 0; column < outputs; column += kEncoderPanel) {
      I::DotFloats(rows, values + row * stride, stride, weights + column, outputs, inputs,
                   bias + column, out + row * out_stride + column, out_stride);
    }
    row += rows;
  }
}

}  // namespace

#endif  // MAXSIM_ENCODER_KERNELS_LAYERS_H_
