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
  file->reset(new MappedFile(path, data, size));
  return Status::Ok();
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

void MappedFile::Advise(Access access) const {
  if (data_ == nullptr) return;
  (void)::madvise(const_cast<uint8_t*>(data_), size_,
                  access == Access::kSequential ? MADV_SEQUENTIAL : MADV_NORMAL);
}

}  // namespace maxsim
