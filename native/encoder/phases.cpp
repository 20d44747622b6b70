#include "encoder/phases.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "platform/thread_pool.h"

namespace maxsim {
namespace {

struct Progress {
  std::atomic<size_t> next{0}, ended{0};
};

// A phase lasts some ten microseconds or more, and its last items end at nearly the same time. Who
// waits longer than that has been overtaken by other work and gives its core away.
constexpr int kSpins = 2000;

void WaitFor(const std::atomic<size_t>& ended, size_t count) {
  for (int spins = 0; ended.load(std::memory_order_acquire) < count; spins++) {
    if (spins >= kSpins) std::this_thread::yield();
  }
}

}  // namespace

Status RunPhases(std::span<const size_t> items, size_t workers,
                 const std::function<Status()>& check,
                 const std::function<void(size_t, size_t, size_t)>& work) {
  if (workers < 2) {
    for (size_t phase = 0; phase < items.size(); phase++) {
      Status status = check();
      if (!status.ok()) return status;
      for (size_t item = 0; item < items[phase]; item++) work(phase, item, 0);
    }
    return Status::Ok();
  }
  const auto progress = std::make_unique<Progress[]>(items.size());
  std::atomic<bool> stopped{false};
  std::mutex mutex;
  Status status = Status::Ok();
  // Waits only for items that another thread is in the middle of, so whoever is here gets on.
  ThreadPool::Shared().For(workers, [&](size_t worker) {
    for (size_t phase = 0; phase < items.size() && !stopped.load(); phase++) {
      Progress& at = progress[phase];
      if (at.ended.load(std::memory_order_acquire) == items[phase]) continue;
      if (Status checked = check(); !checked.ok()) {
        const std::lock_guard lock(mutex);
        if (status.ok()) status = std::move(checked);
        stopped.store(true);
      }
      for (size_t item = at.next.fetch_add(1); item < items[phase]; item = at.next.fetch_add(1)) {
        if (!stopped.load(std::memory_order_relaxed)) work(phase, item, worker);
        at.ended.fetch_add(1, std::memory_order_release);
      }
      WaitFor(at.ended, items[phase]);
    }
  });
  return status;
}

}  // namespace maxsim
