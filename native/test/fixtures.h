// What the tests of this room share: fixed noise, and documents that end where memory ends.
#ifndef MAXSIM_TEST_FIXTURES_H_
#define MAXSIM_TEST_FIXTURES_H_

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace maxsim {

class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed * 2654435761u + 88172645463325252u) {}
  uint64_t Next() {  // xorshift64
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }
  float Unit() { return static_cast<float>(Next() >> 40) / 8388608.f - 1.f; }  // [-1, 1)

  std::vector<float> Floats(size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = Unit();
    return values;
  }
  std::vector<uint8_t> Bytes(size_t count) {
    std::vector<uint8_t> values(count);
    for (uint8_t& value : values) value = static_cast<uint8_t>(Next() >> 32);
    return values;
  }

 private:
  uint64_t state_;
};

// Memory whose end is followed by a page that may not be touched: an over-read crashes.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t capacity) {
#if defined(__unix__) || defined(__APPLE__)
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_ = (capacity + page - 1) / page * page;
    mapped_ = size_ + page;
    void* base = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) std::abort();
    base_ = static_cast<uint8_t*>(base);
    if (mprotect(base_ + size_, page, PROT_NONE) != 0) std::abort();
#else
    size_ = capacity;
    base_ = new uint8_t[size_];
#endif
  }
  ~GuardedBytes() {
#if defined(__unix__) || defined(__APPLE__)
    munmap(base_, mapped_);
#else
    delete[] base_;
#endif
  }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  // A copy that ends `slack` bytes before the forbidden page.
  uint8_t* Place(const uint8_t* data, size_t size, size_t slack = 0) {
    uint8_t* start = base_ + size_ - slack - size;
    std::memcpy(start, data, size);
    return start;
  }

 private:
  uint8_t* base_ = nullptr;
  size_t size_ = 0, mapped_ = 0;
};

}  // namespace maxsim

#endif  // MAXSIM_TEST_FIXTURES_H_
