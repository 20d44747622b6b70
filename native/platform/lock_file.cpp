#include "platform/lock_file.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(_WIN32)
#error "lock_file: the Windows backend (LockFileEx) is not written yet"
#endif
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

namespace maxsim {
namespace {

bool IsAlive(long pid) { return ::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM; }

}  // namespace

Status LockFile::Acquire(const std::string& path, std::unique_ptr<LockFile>* lock,
                         long* holder_pid) {
  *holder_pid = 0;
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) {
    return Status::Error("IO_ERROR", "%s: cannot open the lock file: %s.", path.c_str(),
                         std::strerror(errno));
  }
  // flock, not fcntl: it also excludes a second open in this very process.
  int result;
  do {
    result = ::flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    const int error = errno;
    char text[32] = {};
    const ssize_t got = ::pread(fd, text, sizeof(text) - 1, 0);
    ::close(fd);
    if (error == ENOLCK || error == ENOTSUP || error == EOPNOTSUPP || error == ENOSYS) {
      return Status::Error(
          "IO_ERROR",
          "%s: cannot lock: the file system has no locks (%s), and without one two "
          "writers could destroy the index; keep it on another file system.",
          path.c_str(), std::strerror(error));
    }
    if (error != EWOULDBLOCK) {
      return Status::Error("IO_ERROR", "%s: cannot lock: %s.", path.c_str(), std::strerror(error));
    }
    const long pid = got > 0 ? std::strtol(text, nullptr, 10) : 0;
    // The file still names the last holder until the new one has written: rather nobody than
    // somebody who has let go or is dead.
    *holder_pid = pid > 0 && IsAlive(pid) ? pid : 0;
    if (*holder_pid == 0) {
      return Status::Error("INDEX_LOCKED", "%s: another writer has the index open.", path.c_str());
    }
    return Status::Error("INDEX_LOCKED", "%s: another writer has the index open (%s %ld).",
                         path.c_str(), pid == ::getpid() ? "this process," : "process", pid);
  }
  // The pid is for people: that it cannot be written (a full disk) does not weaken the lock.
  char text[32];
  const int length = std::snprintf(text, sizeof(text), "%ld\n", static_cast<long>(::getpid()));
  if (::ftruncate(fd, 0) == 0) (void)!::pwrite(fd, text, static_cast<size_t>(length), 0);
  lock->reset(new LockFile(fd));
  return Status::Ok();
}

LockFile::~LockFile() {
  (void)!::ftruncate(fd_, 0);
  ::close(fd_);
}

}  // namespace maxsim
