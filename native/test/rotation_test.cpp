#include "maxsim/rotation.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "fixtures.h"

using namespace maxsim;

namespace {

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); i++) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

TEST_CASE("a rotation keeps every dot product, and can be undone") {
  Noise noise(11);
  for (const size_t dim : {8, 9, 48, 63, 64, 96, 100, 127, 128, 384, 1000, 1024}) {
    CAPTURE(dim);
    const std::vector<float> a = noise.Floats(dim), b = noise.Floats(dim);
    std::vector<float> ra = a, rb = b;
    Rotate(ra.data(), dim);
    Rotate(rb.data(), dim);
    const double size = std::sqrt(Dot(a, a) * Dot(b, b));
    CHECK(std::fabs(Dot(ra, rb) - Dot(a, b)) <= 1e-5 * size);
    RotateBack(ra.data(), dim);
    for (size_t i = 0; i < dim; i++) CHECK(std::fabs(ra[i] - a[i]) <= 1e-5);
  }
}

TEST_CASE("a vector of one large component is spread over all dims") {
  for (const size_t dim : {48, 64, 96, 128, 384}) {
    for (size_t at = 0; at < dim; at += 7) {
      std::vector<float> vector(dim, 0.f);
      vector[at] = 1.f;
      Rotate(vector.data(), dim);
      float largest = 0;
      for (const float x : vector) largest = std::max(largest, std::fabs(x));
      CAPTURE(dim);
      CAPTURE(at);
      // Where the two transforms overlap little (dim just under a power of two times 1.5), a
      // component can keep a larger share; half the length is far from all of it.
      CHECK(largest < 0.5f);
    }
  }
}

TEST_CASE("sixteen vectors side by side come out as one by one") {
  Noise noise(12);
  for (const size_t dim : {8, 9, 96, 128, 1000}) {
    const std::vector<float> vectors = noise.Floats(16 * dim);
    std::vector<float> lanes(16 * dim);
    for (size_t v = 0; v < 16; v++) {
      for (size_t d = 0; d < dim; d++) lanes[d * 16 + v] = vectors[v * dim + d];
    }
    RotateLanes(lanes.data(), dim);
    for (size_t v = 0; v < 16; v++) {
      std::vector<float> one(vectors.begin() + static_cast<ptrdiff_t>(v * dim),
                             vectors.begin() + static_cast<ptrdiff_t>((v + 1) * dim));
      Rotate(one.data(), dim);
      for (size_t d = 0; d < dim; d++) CHECK(lanes[d * 16 + v] == one[d]);
    }
  }
}

TEST_CASE("the rotation is a constant of the codec: stored tokens rely on these very values") {
  std::vector<float> vector(96, 0.f);
  vector[0] = 1.f;
  Rotate(vector.data(), 96);
  double weighted = 0;
  for (size_t i = 0; i < 96; i++)
    weighted += static_cast<double>(vector[i]) * static_cast<double>(i);
  CHECK(weighted == doctest::Approx(40.75).epsilon(1e-6));
}
