// What a commit deletes: tombstone files of the segments that lose documents.
#ifndef MAXSIM_INDEX_BURIAL_H_
#define MAXSIM_INDEX_BURIAL_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "index/snapshot.h"
#include "platform/status.h"

namespace maxsim {

struct Burial {
  uint32_t segment;     // place in the snapshot
  uint64_t dead_count;  // of all its documents, those that were dead before included
  std::string file;     // its new tombstones; empty when no document is left
};

// Marks live documents dead: one new file per segment that keeps some of its documents, named
// `<segment>.<generation>.dead`, several flushed at once. Their names survive from the next
// FlushDirectory on. INVALID_ARGUMENT for a ref that is no live document. On failure `*burials`
// still names every file that may be there.
Status Bury(const std::string& directory, const Snapshot& snapshot, std::span<const uint32_t> refs,
            uint64_t generation, std::vector<Burial>* burials);

// After a merge of `segments` of `merged`: writes to `path` which documents of the new segment have
// died since, by what `now` says of the same segments; in a segment that `now` has no more, all
// have. No file when none has, or all have. INVALID_ARGUMENT when `now` has another codec.
Status BuryMerged(const std::string& path, const Snapshot& merged,
                  std::span<const uint32_t> segments, const Snapshot& now, uint64_t* dead_count);

}  // namespace maxsim

#endif  // MAXSIM_INDEX_BURIAL_H_
