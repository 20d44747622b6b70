// The bytes of a codes file: which centroids occur in each document of a segment. docs/format.md
// says the same in words; both change together.
//
//   header   CodesHeader
//   starts   u32[document_count + 1]: where a document's codes begin; the last is their number
//   codes    of each document, ascending, each once: u16, or u32 where there are more centroids
//   list starts, lists   the same by centroid, or empty: documents in blocks of 65,536, and of each
//            block u32[centroid_count + 1], counted through all blocks, and u16 ordinals within it
//   bounds   u8 per centroid, or empty: no token's angle with its centroid is larger, in steps of
//            pi / 255
//
// Sections stand in this order, each at the next multiple of 64; padding is zero. A codes file is
// derived: it can be made anew from its segment and the codebook. Little-endian throughout.
#ifndef MAXSIM_INDEX_CODES_FORMAT_H_
#define MAXSIM_INDEX_CODES_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "index/segment_format.h"

namespace maxsim {

inline constexpr char kCodesMagic[8] = {'M', 'A', 'X', 'S', 'I', 'M', 'C', 'O'};
inline constexpr uint32_t kCodesVersion = 1;
// Documents that a list's ordinals of 16 bits tell apart, and whose sums a cache holds.
inline constexpr uint32_t kListBlock = 65536;

enum CodesSection : uint32_t { kStarts, kCodes, kListStarts, kLists, kBounds, kCodesSectionCount };
inline constexpr const char* kCodesSectionNames[kCodesSectionCount] = {
    "starts", "codes", "list starts", "lists", "bounds"};

struct CodesHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_size;  // 256
  uint64_t document_count;
  uint64_t token_count;  // of the documents that have codes
  uint64_t code_count;   // below 2^32
  uint64_t file_size;
  double cosine_sum;  // of those tokens with their centroids
  uint32_t centroid_count;
  uint32_t code_bytes;       // 2 where there are at most 65,536 centroids, else 4
  uint32_t codebook_crc32c;  // of the codebook's header
  uint32_t segment_crc32c;   // of the segment's header
  uint32_t list_blocks;      // 0: no lists
  uint32_t reserved0;
  SectionEntry sections[kCodesSectionCount];
  uint8_t reserved[52];
  uint32_t crc32c;  // of the 252 bytes before it
};
static_assert(sizeof(CodesHeader) == 256 && std::is_trivially_copyable_v<CodesHeader>);

inline constexpr uint32_t CodeBytes(uint32_t centroid_count) {
  return centroid_count <= 65536 ? 2 : 4;
}

}  // namespace maxsim

#endif  // MAXSIM_INDEX_CODES_FORMAT_H_
