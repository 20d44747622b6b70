// A fixed orthogonal rotation that spreads a vector's energy evenly over its dims, applied to both
// sides before int8 quantisation. Dot products stay what they are, but the largest component
// shrinks to a few times 1 / sqrt(dim), so one scale fits all dims. Trained heads (and PCA above
// all) have a few dims that carry most of the energy; without it they would set the step for all
// the others (measured on the default model: half the score error with the rotation).
//
// Randomised Hadamard transforms, as in Ailon and Chazelle, "The Fast Johnson-Lindenstrauss
// Transform" (2009): random signs, then a transform of the first p and of the last p dims, p the
// largest power of two in dim; twice. Additions and subtractions in one order and single
// multiplications only, so the floats are the same on every machine.
#ifndef MAXSIM_MAXSIM_ROTATION_H_
#define MAXSIM_MAXSIM_ROTATION_H_

#include <cstddef>
#include <cstdint>

#include "maxsim/kernel.h"

namespace maxsim {

// The rotation as kernels take it.
class RotationOf {
 public:
  explicit RotationOf(size_t dim);
  RotationOf(const RotationOf&) = delete;
  RotationOf& operator=(const RotationOf&) = delete;
  const MaxsimRotation* get() const { return &rotation_; }

 private:
  uint64_t signs_[2][16];
  MaxsimRotation rotation_;
};

// In place; dim of 8 to 1024. The rotation depends on dim alone and is part of the int8 codec.
void Rotate(float* vector, size_t dim);
// Up to 16 vectors as lanes: value d of vector v goes to lanes[d * 16 + v], unused lanes to 0.
void TokensToLanes(const float* tokens, size_t token_count, size_t dim, float* lanes);
// 16 vectors at once, laid out [dim][16]; each comes out as Rotate gives it, bit for bit.
void RotateLanes(float* vectors, size_t dim);
// Undoes Rotate up to rounding.
void RotateBack(float* vector, size_t dim);

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_ROTATION_H_
