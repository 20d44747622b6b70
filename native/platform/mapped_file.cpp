#include "platform/mapped_file.h"

#include <cerrno>
#include <cstring>

#if defined(_WIN32)
#error "mapped_file: the Windows backend (CreateFileMapping, MapViewOfFile) is not written yet"
#endif
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace maxsim {
namespace {

Status IoError(const std::string& path, const char* operation, int error) {
  return Status::Error("IO_ERROR", "%s: cannot %s: %s.", path.c_str(), operation,
                       std::strerror(error));
}

size_t PageSize() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

size_t PageCeiling(size_t size) { return (size + PageSize() - 1) & ~(PageSize() - 1); }

}  // namespace

Status MappedFile::Open(const std::string& path, std::unique_ptr<MappedFile>* file, bool* missing) {
  if (missing != nullptr) *missing = false;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (missing != nullptr) *missing = errno == ENOENT;
    return IoError(path, "open", errno);
  }
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    return IoError(path, "stat", error);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return Status::Error("IO_ERROR", "%s: cannot map: it is not a regular file.", path.c_str());
  }
  const size_t size = static_cast<size_t>(info.st_size);
  const uint8_t* data = nullptr;
  if (size > 0) {
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
      const int error = errno;
      ::close(fd);
      return IoError(path, "map", error);
    }
    data = static_cast<const uint8_t*>(mapped);
  }
  ::close(fd);  // the mapping keeps the file
  file->reset(new MappedFile(path, data, size, false));
  return Status::Ok();
}

Status MappedFile::Copy(const std::string& path, const void* data, size_t size,
                        std::unique_ptr<MappedFile>* file) {
  uint8_t* copy = nullptr;
  if (size > 0) {
    // One page more, which nobody may touch: what reads beyond the end is caught there.
    const size_t guarded = PageCeiling(size) + PageSize();
    void* mapped =
        ::mmap(nullptr, guarded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return IoError(path, "copy into memory", errno);
    copy = static_cast<uint8_t*>(mapped);
    (void)::mprotect(copy + PageCeiling(size), PageSize(), PROT_NONE);
    std::memcpy(copy, data, size);
  }
  file->reset(new MappedFile(path, copy, size, true));
  return Status::Ok();
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  const size_t mapped = copied_ ? PageCeiling(size_) + PageSize() : size_;
  ::munmap(const_cast<uint8_t*>(data_), mapped);
}

void MappedFile::Advise(size_t offset, size_t size, int advice) const {
  if (data_ == nullptr || copied_ || size == 0) return;
  const size_t begin = offset & ~(PageSize() - 1);
  (void)::madvise(const_cast<uint8_t*>(data_) + begin, offset + size - begin, advice);
}

void MappedFile::Populate(size_t offset, size_t size) const {
#if defined(MADV_POPULATE_READ)
  Advise(offset, size, MADV_POPULATE_READ);
#else
  Advise(offset, size, MADV_WILLNEED);
#endif
}

void MappedFile::Release(size_t offset, size_t size) const { Advise(offset, size, MADV_DONTNEED); }

std::unique_ptr<HugeBuffer> HugeBuffer::Create(size_t size) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t mapped_size = size + kHugePage;
  void* mapped =
      ::mmap(nullptr, mapped_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* bytes = static_cast<uint8_t*>(mapped);
  uint8_t* aligned = bytes + (kHugePage - reinterpret_cast<uintptr_t>(bytes) % kHugePage);
#if defined(MADV_HUGEPAGE)
  (void)::madvise(aligned, size, MADV_HUGEPAGE);
#endif
  return std::unique_ptr<HugeBuffer>(new HugeBuffer(bytes, mapped_size, aligned));
}

HugeBuffer::~HugeBuffer() { ::munmap(mapped_, mapped_size_); }

}  // namespace maxsim
