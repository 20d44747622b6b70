// Makes the codes file of a segment: from its tokens and a codebook, or, for documents that a merge
// has brought together, from the codes that they had before.
#ifndef MAXSIM_INDEX_CODES_WRITER_H_
#define MAXSIM_INDEX_CODES_WRITER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "index/codes_format.h"
#include "index/snapshot.h"
#include "maxsim/codebook.h"
#include "platform/status.h"

namespace maxsim {

// Lists are written where a segment has at least this many codes and nobody asks for them: below,
// looking at all documents takes less than a few milliseconds.
inline constexpr uint64_t kCodesWithLists = uint64_t{2} << 20;

struct CodesOptions {
  enum class Lists { kAuto, kNever, kAlways };
  Lists lists = Lists::kAuto;
  bool background = false;  // leaves the cores to others
  const std::atomic<bool>* cancelled = nullptr;
};

// The documents of a merge, in its order: their codes are taken over where their segments have
// some under the same codebook.
struct CodesSource {
  const Snapshot* snapshot = nullptr;
  std::vector<uint32_t> segments;
};

struct CodesSummary {
  uint32_t header_crc32c = 0;
  uint64_t size_bytes = 0;
};

// Codes of the live documents of `segment`; dead ones get none. The file survives with its bytes,
// its name from the next FlushDirectory on. CORRUPT_INDEX when a document is not what was written;
// ABORTED; INVALID_ARGUMENT when there are 2^32 codes or more, or when the sources have another
// number of live documents; IO_ERROR. Takes about 10 bytes of memory a code until it returns.
Status WriteCodes(const std::string& path, const Snapshot::Segment& segment,
                  const Codebook& codebook, uint32_t codebook_crc32c, const CodesSource& source,
                  const CodesOptions& options, CodesSummary* summary);

}  // namespace maxsim

#endif  // MAXSIM_INDEX_CODES_WRITER_H_
