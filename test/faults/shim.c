/*
 * A recorded file system that can be told to fail. Loaded with LD_PRELOAD into a process that works
 * under the directory MAXSIM_FAULTS_ROOT: every operation there is numbered and written to a log,
 * in the order in which the kernel saw them, and one of them may fail, be cut short, or end the
 * process. All else passes through. Commands are written to the file `control` in that directory,
 * one a write:
 *
 *   log PATH            start a new log there; the next operation is number 1
 *   mark TEXT           a line of the workload in the log
 *   fail N ERRNO once   operation N fails; with `always` every later one fails too
 *   short N             operation N, a write, takes only half of its bytes
 *   kill N before       SIGKILL to this process before operation N; `half`, `after` likewise
 *   disarm
 *
 * Reading from `control` gives the number of operations so far and how many have failed.
 * System calls are made directly, so that nothing depends on the order of libraries.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_FD 4096

typedef off64_t i64;
enum Plan { kNone, kFail, kShort, kKillBefore, kKillHalf, kKillAfter };
enum Kind { kForeign, kWatched, kControl };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char root[1024];
static size_t root_size;
static enum Kind kinds[MAX_FD];
static int log_fd = -1;
static enum Plan plan;
static long plan_at, operations, fired;
static int plan_error, plan_always;

__attribute__((constructor)) static void Start(void) {
  const char* given = getenv("MAXSIM_FAULTS_ROOT");
  if (given == NULL || strlen(given) >= sizeof(root)) return;
  strcpy(root, given);
  root_size = strlen(root);
}

static int Watched(const char* path) {
  return root_size > 0 && strncmp(path, root, root_size) == 0 &&
         (path[root_size] == '/' || path[root_size] == 0);
}

static enum Kind KindOf(int fd) { return fd >= 0 && fd < MAX_FD ? kinds[fd] : kForeign; }

static void LogBytes(const void* data, size_t size) {
  const char* bytes = data;
  while (log_fd >= 0 && size > 0) {
    const long put = syscall(SYS_write, log_fd, bytes, size);
    if (put <= 0) _exit(99); /* a log with a hole proves nothing */
    bytes += put;
    size -= (size_t)put;
  }
}

/* One line of tab-separated fields, then `size` bytes of data and a newline. */
static void Log(const char* name, long result, int fd, i64 offset, long flags, const char* path,
                const char* to, const void* data, size_t size) {
  char line[4096];
  const int length =
      snprintf(line, sizeof(line), "%ld\t%s\t%ld\t%d\t%lld\t%ld\t%s\t%s\t%zu\n", operations, name,
               result, fd, (long long)offset, flags, path, to, size);
  LogBytes(line, (size_t)length);
  LogBytes(data, size);
  LogBytes("\n", 1);
}

static void Die(void) {
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

/* Numbers the operation; nonzero: it is to fail, with errno set. */
static int Refused(const char* name, int fd, const char* path) {
  operations++;
  if (plan == kKillBefore && operations == plan_at) Die();
  if (plan != kFail || operations < plan_at || (operations > plan_at && !plan_always)) return 0;
  fired++;
  Log(name, -plan_error, fd, 0, 0, path, "", "", 0);
  errno = plan_error;
  return 1;
}

static void Performed(void) {
  if (operations != plan_at) return;
  if (plan == kKillHalf || plan == kKillAfter) Die();
}

static void Command(const char* text, size_t size) {
  char line[2048], word[16] = "";
  if (size >= sizeof(line)) return;
  memcpy(line, text, size);
  line[size] = 0;
  line[strcspn(line, "\n")] = 0;
  if (strncmp(line, "mark ", 5) == 0) {
    Log("mark", 0, -1, 0, 0, line + 5, "", "", 0);
  } else if (strncmp(line, "log ", 4) == 0) {
    if (log_fd >= 0) syscall(SYS_close, log_fd);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, line + 4,
                          O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    operations = fired = 0;
  } else if (sscanf(line, "fail %ld %d %15s", &plan_at, &plan_error, word) == 3) {
    plan = kFail;
    plan_always = strcmp(word, "always") == 0;
  } else if (sscanf(line, "short %ld", &plan_at) == 1) {
    plan = kShort;
  } else if (sscanf(line, "kill %ld %15s", &plan_at, word) == 2) {
    plan = word[0] == 'b' ? kKillBefore : word[0] == 'h' ? kKillHalf : kKillAfter;
  } else {
    plan = kNone;
  }
}

static long Put(int fd, const void* data, size_t size, i64 offset) {
  return offset < 0 ? syscall(SYS_write, fd, data, size)
                    : syscall(SYS_pwrite64, fd, data, size, offset);
}

static ssize_t WriteAt(int fd, const void* data, size_t size, i64 offset) {
  const enum Kind kind = KindOf(fd);
  if (kind == kForeign) return Put(fd, data, size, offset);
  pthread_mutex_lock(&mutex);
  ssize_t result = -1;
  if (kind == kControl) {
    Command(data, size);
    result = (ssize_t)size;
  } else if (!Refused("write", fd, "")) {
    const int half = operations == plan_at && (plan == kShort || plan == kKillHalf) && size > 1;
    if (half && plan == kShort) fired++;
    const i64 at = offset >= 0 ? offset : (i64)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    result = Put(fd, data, half ? size / 2 : size, offset);
    Log("write", result, fd, at, 0, "", "", data, result > 0 ? (size_t)result : 0);
    Performed();
  }
  pthread_mutex_unlock(&mutex);
  return result;
}

static ssize_t WriteVector(int fd, const struct iovec* parts, int count, i64 offset) {
  ssize_t total = 0;
  for (int i = 0; i < count; i++) {
    if (parts[i].iov_len == 0) continue;
    const ssize_t put = WriteAt(fd, parts[i].iov_base, parts[i].iov_len, offset);
    if (put < 0) return total > 0 ? total : -1;
    total += put;
    if (offset >= 0) offset += put;
    if ((size_t)put < parts[i].iov_len) break;
  }
  return total;
}

static ssize_t ReadAt(int fd, void* data, size_t size, i64 offset) {
  const enum Kind kind = KindOf(fd);
  if (kind == kControl) {
    const int length = snprintf(data, size, "%ld %ld\n", operations, fired);
    return length < (int)size ? length : (ssize_t)size;
  }
  if (kind == kWatched) {
    pthread_mutex_lock(&mutex);
    const int refused = Refused("read", fd, "");
    pthread_mutex_unlock(&mutex);
    if (refused) return -1;
  }
  return offset < 0 ? syscall(SYS_read, fd, data, size)
                    : syscall(SYS_pread64, fd, data, size, offset);
}

static int OpenAt(int directory, const char* path, int flags, mode_t mode) {
  if (!Watched(path)) {
    const int fd = (int)syscall(SYS_openat, directory, path, flags, mode);
    if (fd >= 0 && fd < MAX_FD) kinds[fd] = kForeign;
    return fd;
  }
  pthread_mutex_lock(&mutex);
  int fd = -1;
  if (strcmp(path + root_size, "/control") == 0) {
    fd = (int)syscall(SYS_openat, directory, path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0 && fd < MAX_FD) kinds[fd] = kControl;
  } else if (!Refused("open", -1, path)) {
    struct stat info;
    const long existed = syscall(SYS_newfstatat, AT_FDCWD, path, &info, 0) == 0;
    fd = (int)syscall(SYS_openat, directory, path, flags, mode);
    if (fd >= MAX_FD) {
      syscall(SYS_close, fd);
      fd = -1;
      errno = EMFILE;
    }
    if (fd >= 0) kinds[fd] = kWatched;
    /* Flags of the log: 1 the file was made, 2 it was emptied. */
    const long made = (flags & O_CREAT) != 0 && !existed;
    const long emptied = (flags & O_TRUNC) != 0 && existed;
    Log("open", fd, fd, 0, made | emptied << 1, path, "", "", 0);
    Performed();
  }
  pthread_mutex_unlock(&mutex);
  return fd;
}

/* An operation on a name or a file that either happens or does not. */
#define SIMPLE(name, fd, offset, path, to, watched, call) \
  if (!(watched)) return (int)(call);                     \
  pthread_mutex_lock(&mutex);                             \
  int result = -1;                                        \
  if (!Refused(name, fd, path)) {                         \
    result = (int)(call);                                 \
    Log(name, result, fd, offset, 0, path, to, "", 0);    \
    Performed();                                          \
  }                                                       \
  pthread_mutex_unlock(&mutex);                           \
  return result

#define OPEN_BODY(directory)           \
  mode_t mode = 0;                     \
  if (flags & (O_CREAT | O_TMPFILE)) { \
    va_list rest;                      \
    va_start(rest, flags);             \
    mode = va_arg(rest, mode_t);       \
    va_end(rest);                      \
  }                                    \
  return OpenAt(directory, path, flags, mode)

EXPORT int open(const char* path, int flags, ...) { OPEN_BODY(AT_FDCWD); }
EXPORT int open64(const char* path, int flags, ...) { OPEN_BODY(AT_FDCWD); }
EXPORT int openat(int directory, const char* path, int flags, ...) { OPEN_BODY(directory); }
EXPORT int openat64(int directory, const char* path, int flags, ...) { OPEN_BODY(directory); }
EXPORT int creat(const char* path, mode_t mode) {
  return OpenAt(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
EXPORT int creat64(const char* path, mode_t mode) { return creat(path, mode); }

EXPORT int close(int fd) {
  if (KindOf(fd) == kForeign) return (int)syscall(SYS_close, fd);
  pthread_mutex_lock(&mutex);
  if (kinds[fd] == kWatched) Log("close", 0, fd, 0, 0, "", "", "", 0);
  kinds[fd] = kForeign;
  const int result = (int)syscall(SYS_close, fd);
  pthread_mutex_unlock(&mutex);
  return result;
}

EXPORT ssize_t write(int fd, const void* data, size_t size) { return WriteAt(fd, data, size, -1); }
EXPORT ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return WriteAt(fd, data, size, offset);
}
EXPORT ssize_t pwrite64(int fd, const void* data, size_t size, i64 offset) {
  return WriteAt(fd, data, size, offset);
}
EXPORT ssize_t writev(int fd, const struct iovec* parts, int count) {
  if (KindOf(fd) == kForeign) return syscall(SYS_writev, fd, parts, count);
  return WriteVector(fd, parts, count, -1);
}
EXPORT ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
  if (KindOf(fd) == kForeign) return syscall(SYS_pwritev, fd, parts, count, offset, 0);
  return WriteVector(fd, parts, count, offset);
}
EXPORT ssize_t pwritev64(int fd, const struct iovec* parts, int count, i64 offset) {
  return pwritev(fd, parts, count, offset);
}

EXPORT ssize_t read(int fd, void* data, size_t size) { return ReadAt(fd, data, size, -1); }
EXPORT ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  return ReadAt(fd, data, size, offset);
}
EXPORT ssize_t pread64(int fd, void* data, size_t size, i64 offset) {
  return ReadAt(fd, data, size, offset);
}

/* Through the write above, so that the log holds the bytes. */
EXPORT ssize_t copy_file_range(int from, i64* from_offset, int to, i64* to_offset, size_t size,
                               unsigned flags) {
  if (KindOf(to) == kForeign) {
    return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, size, flags);
  }
  char bytes[65536];
  const ssize_t got = ReadAt(from, bytes, size < sizeof(bytes) ? size : sizeof(bytes),
                             from_offset == NULL ? -1 : *from_offset);
  if (got <= 0) return got;
  const ssize_t put = WriteAt(to, bytes, (size_t)got, to_offset == NULL ? -1 : *to_offset);
  if (put > 0 && from_offset != NULL) *from_offset += put;
  if (put > 0 && to_offset != NULL) *to_offset += put;
  return put;
}

EXPORT void* mmap(void* hint, size_t size, int protection, int flags, int fd, off_t offset) {
  if (KindOf(fd) == kWatched) {
    pthread_mutex_lock(&mutex);
    const int refused = Refused("map", fd, "");
    pthread_mutex_unlock(&mutex);
    if (refused) return (void*)-1;
  }
  return (void*)syscall(SYS_mmap, hint, size, protection, flags, fd, offset);
}
EXPORT void* mmap64(void* hint, size_t size, int protection, int flags, int fd, i64 offset) {
  return mmap(hint, size, protection, flags, fd, offset);
}

EXPORT int ftruncate(int fd, off_t size) {
  SIMPLE("truncate", fd, size, "", "", KindOf(fd) == kWatched, syscall(SYS_ftruncate, fd, size));
}
EXPORT int ftruncate64(int fd, i64 size) { return ftruncate(fd, size); }
EXPORT int fallocate(int fd, int mode, off_t offset, off_t size) {
  SIMPLE("allocate", fd, mode == 0 ? offset + size : 0, "", "", KindOf(fd) == kWatched,
         syscall(SYS_fallocate, fd, mode, offset, size));
}
EXPORT int fallocate64(int fd, int mode, i64 offset, i64 size) {
  return fallocate(fd, mode, offset, size);
}
EXPORT int posix_fallocate(int fd, off_t offset, off_t size) {
  return fallocate(fd, 0, offset, size) == 0 ? 0 : errno;
}
EXPORT int posix_fallocate64(int fd, i64 offset, i64 size) {
  return posix_fallocate(fd, offset, size);
}
EXPORT int fsync(int fd) {
  SIMPLE("fsync", fd, 0, "", "", KindOf(fd) == kWatched, syscall(SYS_fsync, fd));
}
EXPORT int fdatasync(int fd) {
  SIMPLE("fsync", fd, 0, "", "", KindOf(fd) == kWatched, syscall(SYS_fdatasync, fd));
}
/* Starts a flush and promises nothing: the log shows it so that it can fail. */
EXPORT int sync_file_range(int fd, i64 offset, i64 size, unsigned flags) {
  SIMPLE("flush", fd, 0, "", "", KindOf(fd) == kWatched,
         syscall(SYS_sync_file_range, fd, offset, size, flags));
}
EXPORT int rename(const char* from, const char* to) {
  SIMPLE("rename", -1, 0, from, to, Watched(to),
         syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
EXPORT int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  SIMPLE("rename", -1, 0, from, to, Watched(to),
         syscall(SYS_renameat2, from_directory, from, to_directory, to, 0));
}
EXPORT int link(const char* from, const char* to) {
  SIMPLE("link", -1, 0, from, to, Watched(to),
         syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}
EXPORT int unlink(const char* path) {
  SIMPLE("unlink", -1, 0, path, "", Watched(path), syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}
EXPORT int mkdir(const char* path, mode_t mode) {
  SIMPLE("mkdir", -1, 0, path, "", Watched(path), syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
EXPORT int rmdir(const char* path) {
  SIMPLE("unlink", -1, 0, path, "", Watched(path),
         syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR));
}
