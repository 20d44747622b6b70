// Which documents of a segment are dead: a bitmap in an immutable file of its own, one for every
// commit that deletes from the segment.
//
//   TombstoneHeader, then ceil(document_count / 8) bytes: bit i % 8 of byte i / 8 is document i;
//   bits beyond document_count are 0.
#ifndef MAXSIM_INDEX_TOMBSTONES_H_
#define MAXSIM_INDEX_TOMBSTONES_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "platform/status.h"

namespace maxsim {

inline constexpr char kTombstoneMagic[8] = {'M', 'A', 'X', 'S', 'I', 'M', 'D', 'D'};
inline constexpr uint32_t kTombstoneVersion = 1;

struct TombstoneHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_size;  // 64
  uint64_t document_count;
  uint64_t dead_count;
  uint8_t reserved[24];
  uint32_t bitmap_crc32c;
  uint32_t crc32c;  // of the 60 bytes before it
};
static_assert(sizeof(TombstoneHeader) == 64);

class Tombstones {
 public:
  // CORRUPT_INDEX unless the file is whole and says what the manifest says.
  static Status Open(const std::string& path, uint64_t document_count, uint64_t dead_count,
                     std::shared_ptr<const Tombstones>* tombstones, bool* missing = nullptr);

  // `dead` holds ordinals below document_count in any order, repeats allowed. *dead_count: how many
  // documents are dead in the file, whose name survives from the next FlushDirectory on.
  static Status Write(const std::string& path, uint32_t document_count,
                      std::span<const uint32_t> dead, uint64_t* dead_count);

  bool IsDead(uint32_t ordinal) const { return (bitmap_[ordinal >> 3] >> (ordinal & 7)) & 1; }
  uint64_t dead_count() const { return dead_count_; }
  // Ceil(documents / 8) bytes, as in the file.
  std::span<const uint8_t> bitmap() const { return bitmap_; }
  std::vector<uint32_t> Ordinals() const;  // of the dead, ascending
  uint64_t size_bytes() const { return sizeof(TombstoneHeader) + bitmap_.size(); }

 private:
  Tombstones() = default;
  std::vector<uint8_t> bitmap_;  // a copy: n / 8 bytes, looked at for every candidate
  uint64_t dead_count_ = 0;
};

}  // namespace maxsim

#endif  // MAXSIM_INDEX_TOMBSTONES_H_
