// Memory of tables that are not in use. A table of a megabyte costs more to get from the system,
// page by page, than to fill.
#ifndef MAXSIM_MAXSIM_SPARE_MEMORY_H_
#define MAXSIM_MAXSIM_SPARE_MEMORY_H_

#include <cstddef>
#include <mutex>
#include <vector>

namespace maxsim {

class SpareMemory {
 public:
  static SpareMemory& Shared();

  // At least `*size` bytes, aligned to 64; *size becomes how many. Throws std::bad_alloc.
  void* Take(size_t* size);
  void Give(void* bytes, size_t size);

 private:
  struct Spare {
    void* bytes;
    size_t size;
  };
  static constexpr size_t kMostKept = size_t{64} << 20;

  std::mutex mutex_;
  std::vector<Spare> spares_;
  size_t kept_bytes_ = 0;
};

}  // namespace maxsim

#endif  // MAXSIM_MAXSIM_SPARE_MEMORY_H_
