// A whole file mapped read-only. The mapping outlives the file's name: a reader keeps its data when
// a writer removes the file. Only truncation in place by another program can take pages away, which
// is why nothing of ours ever writes to a finished file.
#ifndef MAXSIM_PLATFORM_MAPPED_FILE_H_
#define MAXSIM_PLATFORM_MAPPED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "platform/status.h"

namespace maxsim {

class MappedFile {
 public:
  // Fails with IO_ERROR; `*missing`, if given, tells a file that is not there from other failures.
  static Status Open(const std::string& path, std::unique_ptr<MappedFile>* file,
                     bool* missing = nullptr);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Page-aligned; null for an empty file.
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

  enum class Access { kNormal, kSequential };
  // A hint for the pager; failure changes nothing but speed, so it is not reported.
  void Advise(Access access) const;

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const uint8_t* data_;
  size_t size_;
};

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_MAPPED_FILE_H_
