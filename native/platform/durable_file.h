// Every byte that must survive a crash is written here, and nowhere else: aside, to
// `<path>.tmp-<pid>`, flushed, renamed into place. A reader sees the old file or the new one, never
// a part. Names are durable once their directory is flushed: once for all files of a commit, before
// the file that lists them (WriteDurably) gets its name.
#ifndef MAXSIM_PLATFORM_DURABLE_FILE_H_
#define MAXSIM_PLATFORM_DURABLE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "platform/status.h"

namespace maxsim {

// Buffered, sequential. Destroyed before Commit succeeds, it removes what it wrote.
class DurableFile {
 public:
  static Status Create(const std::string& path, std::unique_ptr<DurableFile>* file);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  Status Append(const void* data, size_t size);
  // Bytes appended so far.
  uint64_t size() const { return size_; }
  // Replaces bytes that were appended earlier (a header whose checksums come last).
  Status Overwrite(uint64_t offset, const void* data, size_t size);
  // After this the bytes survive a power loss and the file stands under its name; the name survives
  // from the next FlushDirectory on. Once only.
  Status Commit();
  // The two halves of Commit.
  Status FlushBytes();
  Status Rename();

 private:
  explicit DurableFile(std::string path);
  Status Flush();
  Status WriteAll(const uint8_t* data, size_t size, uint64_t offset);

  std::string path_, temporary_;
  int fd_ = -1;
  bool renamed_ = false;
  uint64_t size_ = 0;
  uint64_t started_ = 0;  // bytes that the disk was asked to begin with
  std::unique_ptr<uint8_t[]> buffer_;
  size_t buffered_ = 0;
};

// A file as DurableFile leaves it: its name survives from the next FlushDirectory on.
Status WriteFlushed(const std::string& path, const void* data, size_t size);

// Replaces the file that lists others in its directory: their names survive before this one
// changes, and this one has survived when it returns.
Status WriteDurably(const std::string& path, const void* data, size_t size);

// fsync of a directory: what was renamed, made or removed in it survives a power loss from then on.
Status FlushDirectory(const std::string& directory);

// Removes the file; one that is not there already counts as removed.
Status RemoveFile(const std::string& path);

// Test hook, called before every operation on the disk ("create", "write", "fsync", "rename",
// "fsync directory", "remove") with the path it is about to touch. A value other than 0 is the
// errno that the operation then fails with. Not thread-safe: set it while nothing is being written.
using FaultHook = int (*)(const char* operation, const char* path);
void SetFaultHook(FaultHook hook);

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_DURABLE_FILE_H_
