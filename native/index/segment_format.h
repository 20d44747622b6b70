// The bytes of a segment, version 1. docs/format.md says the same in words; both change together.
//
//   header          SegmentHeader
//   tokens          one block per document, rows of TokenBytes(codec, dim)
//   document table  DocumentEntry[document_count]
//   ids             UTF-8, back to back
//   id table        u32[slots]: open addressing, linear probing; a slot holds ordinal + 1, or 0
//   records         opaque bytes, back to back
//   header          the same again, for whoever has to save what is left of a damaged file
//
// The layout is canonical: sections stand in this order, each at the next multiple of 64, blocks
// and strings follow each other without gaps (token blocks at the next multiple of 64), padding is
// zero and the file ends with the second header. So every byte has exactly one right value or a
// checksum. Little-endian throughout.
#ifndef MAXSIM_INDEX_SEGMENT_FORMAT_H_
#define MAXSIM_INDEX_SEGMENT_FORMAT_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "maxsim/codec.h"

namespace maxsim {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

inline constexpr char kSegmentMagic[8] = {'M', 'A', 'X', 'S', 'I', 'M', 'S', 'G'};
inline constexpr uint32_t kSegmentVersion = 1;
inline constexpr uint64_t kAlignment = 64;  // one cache line, one AVX-512 register
inline constexpr size_t kMaxIdBytes = 512;
// Ordinal + 1 must fit a u32 slot, and 0xFFFFFFFF stands for "unknown" in a snapshot.
inline constexpr uint64_t kMaxSegmentDocuments = 0xFFFFFFFE;

enum Section : uint32_t { kTokens, kDocuments, kIds, kIdTable, kRecords, kSectionCount };
inline constexpr const char* kSectionNames[kSectionCount] = {"tokens", "document table", "ids",
                                                             "id table", "records"};

struct SectionEntry {
  uint64_t offset;  // from the start of the file, multiple of 64
  uint64_t size;    // without the padding that follows
  uint32_t crc32c;  // of those bytes; 0 for tokens and records: their parts have their own
  uint32_t reserved;
};

struct SegmentHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_size;  // 256
  uint32_t codec;        // Codec
  uint32_t dim;
  float scale;  // int8: value = (byte - 128) * scale; else 1
  uint32_t section_count;
  uint64_t document_count;
  uint64_t token_count;
  uint64_t file_size;
  uint64_t id_hash_seed;
  SectionEntry sections[kSectionCount];
  float longest;             // no decoded token is longer
  float largest_factor;      // residual codecs: no token's factor * scale is larger; else 0
  uint32_t codebook_crc32c;  // residual codecs: the checksum of the codebook's header; else 0
  uint8_t reserved[56];
  uint32_t crc32c;  // of the 252 bytes before it
};

// 32 bytes: a document of a few tokens should not cost more beside its tokens than it must.
struct DocumentEntry {
  uint64_t record;         // offset within the records section; from bit 48 on: the id's size
  uint64_t id;             // offset within the ids section; from bit 48 on: tokens
  uint32_t tokens_block;   // offset within the tokens section, in units of 64 bytes
  uint32_t tokens_crc32c;  // of the token block, without padding after it
  uint32_t record_size;
  uint32_t record_crc32c;  // of the id, then the record: with tokens_crc32c it vouches for a
                           // document when nothing else is whole any more

  static constexpr int kShift = 48;
  static constexpr uint64_t kOffset = (uint64_t{1} << kShift) - 1;

  uint64_t tokens_offset() const { return uint64_t{tokens_block} * kAlignment; }
  uint32_t token_count() const { return static_cast<uint32_t>(id >> kShift); }  // 1..65535
  uint64_t id_offset() const { return id & kOffset; }
  uint32_t id_size() const { return static_cast<uint32_t>(record >> kShift); }  // 1..512
  uint64_t record_offset() const { return record & kOffset; }
};

static_assert(sizeof(SectionEntry) == 24 && std::is_trivially_copyable_v<SectionEntry>);
static_assert(sizeof(SegmentHeader) == 256 && std::is_trivially_copyable_v<SegmentHeader>);
static_assert(offsetof(SegmentHeader, sections) == 64);
static_assert(offsetof(SegmentHeader, longest) == 184);
static_assert(offsetof(SegmentHeader, crc32c) == 252);
static_assert(sizeof(DocumentEntry) == 32 && std::is_trivially_copyable_v<DocumentEntry>);

// How the tokens of an index are stored, the same in every segment.
struct VectorFormat {
  TokenFormat tokens;
  uint32_t dim;
  uint32_t codebook_crc32c = 0;  // what identifies tokens.codebook; 0 without one

  size_t TokenBytes() const { return maxsim::TokenBytes(tokens, dim); }
  bool operator==(const VectorFormat& other) const {
    return tokens.codec == other.tokens.codec && tokens.scale == other.tokens.scale &&
           dim == other.dim && codebook_crc32c == other.codebook_crc32c;
  }
};

// What DocumentEntry::tokens_block can reach.
inline constexpr uint64_t kMaxTokensSection = uint64_t{UINT32_MAX} * kAlignment;

inline constexpr uint64_t AlignUp(uint64_t size) {
  return (size + (kAlignment - 1)) & ~(kAlignment - 1);
}

// Slots of an id table: at most half full, so that a miss ends after two probes on average.
inline constexpr uint64_t IdTableSlots(uint64_t document_count) {
  return document_count == 0 ? 1 : std::bit_ceil(document_count * 2);
}

// SipHash-2-4 with the key (seed, 0): ids come from outside, and a seed they cannot know keeps them
// from being chosen to collide.
uint64_t HashId(std::string_view id, uint64_t seed);

}  // namespace maxsim

#endif  // MAXSIM_INDEX_SEGMENT_FORMAT_H_
