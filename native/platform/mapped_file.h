// A whole file mapped read-only. The mapping outlives the file's name: a reader keeps its data when
// a writer removes the file. Only truncation in place by another program can take pages away, which
// is why nothing of ours ever writes to a finished file.
#ifndef MAXSIM_PLATFORM_MAPPED_FILE_H_
#define MAXSIM_PLATFORM_MAPPED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "platform/status.h"

namespace maxsim {

class MappedFile {
 public:
  struct Extent {
    uint64_t offset, size;
  };

  // Fails with IO_ERROR; `*missing`, if given, tells a file that is not there from other failures.
  static Status Open(const std::string& path, std::unique_ptr<MappedFile>* file,
                     bool* missing = nullptr);
  // A private copy of bytes in memory, to be read as if it were the file `path`: writable, and no
  // page follows the last one. IO_ERROR when there is no memory.
  static Status Copy(const std::string& path, const void* data, size_t size,
                     std::unique_ptr<MappedFile>* file);
  // For whoever puts a damaged file right: writable, changes stay in this process, and at least
  // `min_size` bytes, zeros behind the file's end. Every byte has been read once, so that a disk
  // that cannot give some is heard here and not by SIGBUS: they are `unreadable`, and zeros.
  static Status OpenDamaged(const std::string& path, size_t min_size,
                            std::unique_ptr<MappedFile>* file, std::vector<Extent>* unreadable,
                            bool* missing = nullptr);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Page-aligned; null for an empty file.
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  // Of the file itself; smaller than size() where OpenDamaged added zeros.
  size_t file_size() const { return file_size_; }
  const std::string& path() const { return path_; }

  // Of Copy and OpenDamaged only; null otherwise.
  uint8_t* writable() const { return private_ ? const_cast<uint8_t*>(data_) : nullptr; }

  // Hints for the pager; failure changes nothing but speed, so it is not reported.
  // Brings the pages of these bytes in.
  void Populate(size_t offset, size_t size) const;
  // Lets go of them again: they count no more as this process's memory, and come back from the file
  // when they are touched.
  void Release(size_t offset, size_t size) const;

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size, size_t file_size,
             size_t mapped_size, bool is_private)
      : path_(std::move(path)),
        data_(data),
        size_(size),
        file_size_(file_size),
        mapped_size_(mapped_size),
        private_(is_private) {}
  void Advise(size_t offset, size_t size, int advice) const;

  std::string path_;
  const uint8_t* data_;
  size_t size_, file_size_, mapped_size_;
  bool private_;
};

// Test hook: true makes the disk fail to give these bytes of a file that OpenDamaged reads. Not
// thread-safe.
using ReadFault = bool (*)(uint64_t offset, size_t size);
void SetReadFault(ReadFault fault);

// Memory for bytes that are read at random: in huge pages where the system has them, so that a walk
// through gigabytes does not wait for the page tables. Zeroed.
class HugeBuffer {
 public:
  // Null when there is no memory.
  static std::unique_ptr<HugeBuffer> Create(size_t size);
  ~HugeBuffer();
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;

  uint8_t* data() const { return data_; }

 private:
  HugeBuffer(uint8_t* mapped, size_t mapped_size, uint8_t* data)
      : mapped_(mapped), mapped_size_(mapped_size), data_(data) {}
  uint8_t* mapped_;
  size_t mapped_size_;
  uint8_t* data_;
};

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_MAPPED_FILE_H_
