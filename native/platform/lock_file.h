// Mutual exclusion between writers, in this process and others. The lock belongs to the open file,
// not to the file's existence: the operating system drops it when the process dies, however it
// dies, so there is never a stale lock to detect. The file stays behind; removing it would race.
#ifndef MAXSIM_PLATFORM_LOCK_FILE_H_
#define MAXSIM_PLATFORM_LOCK_FILE_H_

#include <memory>
#include <string>

#include "platform/status.h"

namespace maxsim {

class LockFile {
 public:
  // INDEX_LOCKED when someone else holds it; then *holder_pid is the process that said so in the
  // file, or 0 if it had not yet.
  static Status Acquire(const std::string& path, std::unique_ptr<LockFile>* lock, long* holder_pid);
  ~LockFile();  // releases
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_LOCK_FILE_H_
