#include "platform/mapped_file.h"

#include <algorithm>
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

Status OpenRegular(const std::string& path, int* fd, size_t* size, bool* missing) {
  if (missing != nullptr) *missing = false;
  *fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0) {
    if (missing != nullptr) *missing = errno == ENOENT;
    return IoError(path, "open", errno);
  }
  struct stat info;
  if (::fstat(*fd, &info) != 0) {
    const int error = errno;
    ::close(*fd);
    return IoError(path, "stat", error);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(*fd);
    return Status::Error("IO_ERROR", "%s: cannot map: it is not a regular file.", path.c_str());
  }
  *size = static_cast<size_t>(info.st_size);
  return Status::Ok();
}

ReadFault read_fault = nullptr;

// The bytes that can be had from `offset` on, up to `size`; -1 with errno.
ssize_t ReadAt(int fd, uint8_t* buffer, size_t size, uint64_t offset) {
  if (read_fault != nullptr && read_fault(offset, size)) {
    errno = EIO;
    return -1;
  }
  ssize_t got;
  do {
    got = ::pread(fd, buffer, size, static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  return got;
}

}  // namespace

void SetReadFault(ReadFault fault) { read_fault = fault; }

Status MappedFile::Open(const std::string& path, std::unique_ptr<MappedFile>* file, bool* missing) {
  int fd;
  size_t size;
  const Status status = OpenRegular(path, &fd, &size, missing);
  if (!status.ok()) return status;
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
  file->reset(new MappedFile(path, data, size, size, size, false));
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
  file->reset(new MappedFile(path, copy, size, size, PageCeiling(size) + PageSize(), true));
  return Status::Ok();
}

Status MappedFile::OpenDamaged(const std::string& path, size_t min_size,
                               std::unique_ptr<MappedFile>* file, std::vector<Extent>* unreadable,
                               bool* missing) {
  unreadable->clear();
  int fd;
  size_t file_size;
  Status status = OpenRegular(path, &fd, &file_size, missing);
  if (!status.ok()) return status;
  const size_t size = std::max(file_size, min_size);
  if (size == 0) {
    ::close(fd);
    file->reset(new MappedFile(path, nullptr, 0, 0, 0, true));
    return Status::Ok();
  }
  const size_t page = PageSize(), mapped_size = PageCeiling(size);
  const int memory = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* mapped = ::mmap(nullptr, mapped_size, PROT_READ | PROT_WRITE, memory, -1, 0);
  if (mapped == MAP_FAILED) {
    const int error = errno;
    ::close(fd);
    return IoError(path, "map", error);
  }
  auto* data = static_cast<uint8_t*>(mapped);
  file->reset(new MappedFile(path, data, size, file_size, mapped_size, true));
  if (file_size > 0 && ::mmap(data, file_size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED) {
    const int error = errno;
    ::close(fd);
    return IoError(path, "map", error);
  }
  // In large pieces, and where one cannot be had, page by page.
  const size_t piece = size_t{1} << 20;
  const auto buffer = std::make_unique<uint8_t[]>(piece);
  for (uint64_t begin = 0; begin < file_size; begin += piece) {
    const uint64_t end = std::min<uint64_t>(begin + piece, file_size);
    if (ReadAt(fd, buffer.get(), end - begin, begin) == static_cast<ssize_t>(end - begin)) continue;
    for (uint64_t at = begin; at < end; at += page) {
      const uint64_t length = std::min<uint64_t>(page, end - at);
      if (ReadAt(fd, buffer.get(), length, at) == static_cast<ssize_t>(length)) continue;
      if (::mmap(data + at, page, PROT_READ | PROT_WRITE, memory | MAP_FIXED, -1, 0) ==
          MAP_FAILED) {
        const int error = errno;
        ::close(fd);
        return IoError(path, "map", error);
      }
      if (!unreadable->empty() && unreadable->back().offset + unreadable->back().size == at) {
        unreadable->back().size += length;
      } else {
        unreadable->push_back({at, length});
      }
    }
  }
  ::close(fd);
  return Status::Ok();
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), mapped_size_);
}

void MappedFile::Advise(size_t offset, size_t size, int advice) const {
  if (data_ == nullptr || private_ || size == 0) return;
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
