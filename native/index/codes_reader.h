// A codes file, mapped: the centroids that occur in the documents of a segment, by document and,
// where there are lists, by centroid. Thread-safe.
#ifndef MAXSIM_INDEX_CODES_READER_H_
#define MAXSIM_INDEX_CODES_READER_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "index/codes_format.h"
#include "maxsim/kernel.h"
#include "platform/mapped_file.h"
#include "platform/status.h"

namespace maxsim {

// What manifest, segment and codebook say; the file must agree.
struct CodesExpectation {
  uint64_t documents;
  uint32_t header_crc32c, segment_crc32c, codebook_crc32c, centroid_count;
};

class CodesReader {
 public:
  // Checks the header, and that the sections lie where it says. CORRUPT_INDEX, UNSUPPORTED_FORMAT.
  static Status Open(std::unique_ptr<MappedFile> file, const CodesExpectation& expected,
                     std::shared_ptr<const CodesReader>* codes);

  // Before anything below is used: compares all of the file with its checksums and bounds, once.
  // CORRUPT_INDEX names the section.
  Status Verify() const;
  // The same, and that the lists are what the codes say: takes seconds for a hundred million codes,
  // and what has a checksum is harmless without.
  Status VerifyWhole() const;

  const CodesHeader& header() const { return header_; }
  const std::string& path() const { return file_->path(); }
  MaxsimCodes codes() const { return {starts_, codes_, header_.code_bytes}; }
  uint32_t CodeCount(uint32_t ordinal) const { return starts_[ordinal + 1] - starts_[ordinal]; }

  uint32_t list_blocks() const { return header_.list_blocks; }
  // The documents of a block in which a centroid occurs: ordinals within the block, ascending.
  std::span<const uint16_t> List(uint32_t block, uint32_t centroid) const {
    const uint32_t* starts = list_starts_ + size_t{block} * (header_.centroid_count + 1) + centroid;
    return {lists_ + starts[0], starts[1] - starts[0]};
  }
  // In steps of pi / 255 per centroid, or empty where they are not known.
  std::span<const uint8_t> bounds() const {
    return {bounds_, static_cast<size_t>(header_.sections[kBounds].size)};
  }

 private:
  explicit CodesReader(std::unique_ptr<MappedFile> file) : file_(std::move(file)) {}
  Status Validate(const CodesExpectation& expected);
  Status VerifyAll() const;
  Status VerifyCodes() const;
  template <typename Code>
  Status VerifyOrder(const Code* codes) const;
  Status VerifyListStarts() const;
  Status VerifyLists() const;
  Status Corrupt(const char* section, uint64_t offset, const char* format, ...) const
      MAXSIM_PRINTF(4, 5);

  std::unique_ptr<MappedFile> file_;
  CodesHeader header_;
  const uint32_t* starts_ = nullptr;
  const void* codes_ = nullptr;
  const uint32_t* list_starts_ = nullptr;
  const uint16_t* lists_ = nullptr;
  const uint8_t* bounds_ = nullptr;
  mutable std::once_flag verified_;
  mutable Status status_ = Status::Ok();
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_CODES_READER_H_
