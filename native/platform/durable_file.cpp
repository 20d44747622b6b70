#include "platform/durable_file.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#if defined(_WIN32)
#error "durable_file: the Windows backend (FlushFileBuffers, MoveFileEx) is not written yet"
#endif
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace maxsim {
namespace {

// Large enough that a disk sees long sequential writes, small beside any segment worth merging.
constexpr size_t kBufferBytes = size_t{1} << 20;

std::atomic<FaultHook> fault_hook{nullptr};

// 0, or the errno that a test wants the operation to fail with.
int Fault(const char* operation, const std::string& path) {
  const FaultHook hook = fault_hook.load(std::memory_order_relaxed);
  return hook == nullptr ? 0 : hook(operation, path.c_str());
}

Status IoError(const std::string& path, const char* operation, int error) {
  if (error == ENOSPC || error == EDQUOT) {
    return Status::Error("DISK_FULL", "%s: cannot %s: the disk is full (%s: %s).", path.c_str(),
                         operation, error == ENOSPC ? "ENOSPC" : "EDQUOT", std::strerror(error));
  }
  return Status::Error("IO_ERROR", "%s: cannot %s: %s.", path.c_str(), operation,
                       std::strerror(error));
}

int FlushToDisk(int fd) {
#if defined(__APPLE__)
  // fsync on macOS leaves the bytes in the drive's cache.
  if (::fcntl(fd, F_FULLFSYNC) == 0) return 0;
#endif
  int result;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Status FlushDirectory(const std::string& directory) {
  int error = Fault("fsync directory", directory);
  if (error == 0) {
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return IoError(directory, "open directory", errno);
    // Some file systems have no fsync for directories and say so with EINVAL.
    if (FlushToDisk(fd) != 0 && errno != EINVAL) error = errno;
    ::close(fd);
  }
  return error == 0 ? Status::Ok() : IoError(directory, "fsync directory", error);
}

void SetFaultHook(FaultHook hook) { fault_hook.store(hook, std::memory_order_relaxed); }

DurableFile::DurableFile(std::string path)
    : path_(std::move(path)),
      temporary_(path_ + ".tmp-" + std::to_string(static_cast<long>(::getpid()))),
      buffer_(new uint8_t[kBufferBytes]) {}

Status DurableFile::Create(const std::string& path, std::unique_ptr<DurableFile>* out) {
  std::unique_ptr<DurableFile> file(new DurableFile(path));
  if (const int error = Fault("create", file->temporary_)) {
    return IoError(file->temporary_, "create", error);
  }
  // A file of its own, whatever an earlier one of this name is still open for.
  ::unlink(file->temporary_.c_str());
  file->fd_ = ::open(file->temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file->fd_ < 0) return IoError(file->temporary_, "create", errno);
  *out = std::move(file);
  return Status::Ok();
}

DurableFile::~DurableFile() {
  if (fd_ < 0) return;
  // By now the name may be that of a later file, whose writer is not done.
  struct stat own, named;
  const bool left = !renamed_ && ::fstat(fd_, &own) == 0 &&
                    ::lstat(temporary_.c_str(), &named) == 0 && own.st_ino == named.st_ino &&
                    own.st_dev == named.st_dev;
  ::close(fd_);
  if (left) ::unlink(temporary_.c_str());
}

Status DurableFile::WriteAll(const uint8_t* data, size_t size, uint64_t offset) {
  while (size > 0) {
    if (const int error = Fault("write", temporary_)) return IoError(temporary_, "write", error);
    const ssize_t written = ::pwrite(fd_, data, size, static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return IoError(temporary_, "write", errno);
    }
    data += written;
    offset += static_cast<uint64_t>(written);
    size -= static_cast<size_t>(written);
  }
  return Status::Ok();
}

Status DurableFile::Flush() {
  Status status = WriteAll(buffer_.get(), buffered_, size_ - buffered_);
  if (!status.ok()) return status;
  buffered_ = 0;
#if defined(__linux__)
  // The disk starts on what there is while more is being made: less is left for fsync to wait for.
  // A hint: whether it was followed shows nowhere but in time.
  constexpr uint64_t kStep = uint64_t{8} << 20;
  if (size_ - started_ >= kStep) {
    (void)::sync_file_range(fd_, static_cast<off64_t>(started_),
                            static_cast<off64_t>(size_ - started_), SYNC_FILE_RANGE_WRITE);
    started_ = size_;
  }
#endif
  return status;
}

Status DurableFile::Append(const void* data, size_t size) {
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  if (size > kBufferBytes - buffered_) {
    Status status = Flush();
    if (!status.ok()) return status;
  }
  if (size >= kBufferBytes) {
    Status status = WriteAll(bytes, size, size_);
    if (!status.ok()) return status;
  } else if (size > 0) {
    std::memcpy(buffer_.get() + buffered_, bytes, size);
    buffered_ += size;
  }
  size_ += size;
  return Status::Ok();
}

Status DurableFile::Overwrite(uint64_t offset, const void* data, size_t size) {
  Status status = Flush();
  return status.ok() ? WriteAll(static_cast<const uint8_t*>(data), size, offset) : status;
}

Status DurableFile::Commit() {
  Status status = FlushBytes();
  return status.ok() ? Rename() : status;
}

Status DurableFile::Rename() {
  if (const int error = Fault("rename", path_)) return IoError(path_, "rename", error);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return IoError(path_, "rename", errno);
  renamed_ = true;
  return Status::Ok();
}

Status DurableFile::FlushBytes() {
  Status status = Flush();
  if (!status.ok()) return status;
  if (const int error = Fault("fsync", temporary_)) return IoError(temporary_, "fsync", error);
  return FlushToDisk(fd_) == 0 ? Status::Ok() : IoError(temporary_, "fsync", errno);
}

Status WriteFlushed(const std::string& path, const void* data, size_t size) {
  std::unique_ptr<DurableFile> file;
  Status status = DurableFile::Create(path, &file);
  if (status.ok()) status = file->Append(data, size);
  if (status.ok()) status = file->Commit();
  return status;
}

Status WriteDurably(const std::string& path, const void* data, size_t size) {
  const std::string directory = DirectoryOf(path);
  std::unique_ptr<DurableFile> file;
  Status status = DurableFile::Create(path, &file);
  if (status.ok()) status = file->Append(data, size);
  // In this order a journal has written the names with the bytes, and the flush of the directory
  // finds nothing left to do.
  if (status.ok()) status = file->FlushBytes();
  if (status.ok()) status = FlushDirectory(directory);
  if (status.ok()) status = file->Rename();
  if (status.ok()) status = FlushDirectory(directory);
  return status;
}

Status RemoveFile(const std::string& path) {
  if (const int error = Fault("remove", path)) return IoError(path, "remove", error);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return IoError(path, "remove", errno);
  return Status::Ok();
}

}  // namespace maxsim
