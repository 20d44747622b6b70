#include "index/burial.h"

#include <algorithm>
#include <iterator>

#include "platform/thread_pool.h"

namespace maxsim {

Status Bury(const std::string& directory, const Snapshot& snapshot, std::span<const uint32_t> refs,
            uint64_t generation, std::vector<Burial>* burials) {
  const std::vector<Snapshot::Segment>& segments = snapshot.segments();
  std::vector<std::vector<uint32_t>> dead(segments.size());
  for (const uint32_t ref : refs) {
    const Snapshot::Segment* segment;
    uint32_t ordinal;
    if (!snapshot.Locate(ref, &segment, &ordinal)) {
      return Status::Error("INVALID_ARGUMENT", "ref %u is no live document.", ref);
    }
    dead[static_cast<size_t>(segment - segments.data())].push_back(ordinal);
  }
  burials->clear();
  for (uint32_t i = 0; i < segments.size(); i++) {
    if (dead[i].empty()) continue;
    std::sort(dead[i].begin(), dead[i].end());
    dead[i].erase(std::unique(dead[i].begin(), dead[i].end()), dead[i].end());
    const Snapshot::Segment& segment = segments[i];
    Burial burial{i, segment.dead_count() + dead[i].size(), {}};
    if (burial.dead_count < segment.reader->document_count()) {
      burial.file = segment.file + "." + std::to_string(generation) + ".dead";
    }
    burials->push_back(std::move(burial));
  }
  // On several threads for the waiting, not for the work: flushes that overlap share the disk's.
  std::vector<Status> results(burials->size(), Status::Ok());
  ThreadPool::Shared().For(burials->size(), [&](size_t i) {
    Burial& burial = (*burials)[i];
    if (burial.file.empty()) return;
    const Snapshot::Segment& segment = segments[burial.segment];
    std::vector<uint32_t> all = segment.DeadOrdinals();
    const std::vector<uint32_t>& more = dead[burial.segment];
    all.insert(all.end(), more.begin(), more.end());
    results[i] = Tombstones::Write(directory + "/" + burial.file, segment.reader->document_count(),
                                   all, &burial.dead_count);
  });
  for (Status& status : results) {
    if (!status.ok()) return std::move(status);
  }
  return Status::Ok();
}

Status BuryMerged(const std::string& path, const Snapshot& merged,
                  std::span<const uint32_t> segments, const Snapshot& now, uint64_t* dead_count) {
  if (!(merged.format() == now.format())) {
    return Status::Error("INVALID_ARGUMENT", "the index has changed its codec since the merge.");
  }
  std::vector<uint32_t> dead;
  uint32_t place = 0;  // in the new segment: the live documents of its sources, in their order
  for (const uint32_t number : segments) {
    const Snapshot::Segment& before = merged.segments()[number];
    const auto after =
        std::find_if(now.segments().begin(), now.segments().end(),
                     [&](const Snapshot::Segment& s) { return s.file == before.file; });
    const bool gone = after == now.segments().end();
    for (uint32_t ordinal = 0; ordinal < before.reader->document_count(); ordinal++) {
      if (before.IsDead(ordinal)) continue;
      if (gone || after->IsDead(ordinal)) dead.push_back(place);
      place++;
    }
  }
  *dead_count = dead.size();
  if (dead.empty() || dead.size() == place) return Status::Ok();
  return Tombstones::Write(path, place, dead, dead_count);
}

}  // namespace maxsim
