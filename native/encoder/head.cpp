#include "encoder/head.h"

#include <cmath>
#include <initializer_list>

namespace maxsim {
namespace {

// 1 - 2 / (e^2x + 1), the power by a polynomial of degree 7 (Taylor, |part| <= 1/2).
float Tanh(float x) {
  const float clamped = x < -10.f ? -10.f : x > 10.f ? 10.f : x;
  const float y = clamped * 2.88539008f, whole = std::nearbyint(y), part = y - whole;
  float p = 1.52527338e-5f;
  for (const float c : {1.54035304e-4f, 1.33335581e-3f, 9.61812911e-3f, 5.55041087e-2f,
                        2.40226507e-1f, 6.93147181e-1f, 1.f}) {
    p = p * part + c;
  }
  return 1.f - 2.f / (std::ldexp(p, static_cast<int>(whole)) + 1.f);
}

}  // namespace

void AddEmbeddings(const uint8_t* word, const float* scale, const float* position,
                   const float* type, size_t hidden, float* sum) {
  for (size_t i = 0; i < hidden; i++) {
    sum[i] = static_cast<float>(word[i]) * scale[0] + scale[1] + (position[i] + type[i]);
  }
}

void MeanOf(const float* rows, size_t count, size_t hidden, float* mean) {
  for (size_t i = 0; i < hidden; i++) mean[i] = rows[i];
  for (size_t row = 1; row < count; row++) {
    for (size_t i = 0; i < hidden; i++) mean[i] += rows[row * hidden + i];
  }
  for (size_t i = 0; i < hidden; i++) mean[i] /= static_cast<float>(count);
}

void ApplyTanh(float* values, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] = Tanh(values[i]);
}

void ToLengthOne(float* vector, size_t dim) {
  // Eight sums side by side: one alone would wait for each addition.
  float squares[8] = {};
  for (size_t i = 0; i < dim; i++) squares[i % 8] += vector[i] * vector[i];
  float sum = 0;
  for (const float square : squares) sum += square;
  if (sum <= 0) return;
  const float inverse = 1.f / std::sqrt(sum);
  for (size_t i = 0; i < dim; i++) vector[i] *= inverse;
}

}  // namespace maxsim
