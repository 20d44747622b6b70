#include "maxsim/spare_memory.h"

#include <new>

namespace maxsim {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

SpareMemory& SpareMemory::Shared() {
  static SpareMemory* const memory = new SpareMemory;  // outlives every thread
  return *memory;
}

void* SpareMemory::Take(size_t* size) {
  {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < spares_.size(); i++) {
      // Not one many times too large: that would be missing where it is needed.
      if (spares_[i].size < *size || spares_[i].size > *size * 2) continue;
      const Spare spare = spares_[i];
      spares_[i] = spares_.back();
      spares_.pop_back();
      kept_bytes_ -= spare.size;
      *size = spare.size;
      return spare.bytes;
    }
  }
  return ::operator new(*size, kAlignment);
}

void SpareMemory::Give(void* bytes, size_t size) {
  {
    const std::lock_guard lock(mutex_);
    if (kept_bytes_ + size <= kMostKept) {
      spares_.push_back({bytes, size});
      kept_bytes_ += size;
      return;
    }
  }
  ::operator delete(bytes, kAlignment);
}

}  // namespace maxsim
