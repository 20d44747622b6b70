#include "platform/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

namespace maxsim {

// Held by the caller and by every helper that joined: the caller may return as soon as all items
// have ended, while a helper still looks for one more.
struct ThreadPool::Job {
  Job(size_t item_count, const std::function<void(size_t)>& item_work)
      : count(item_count), work(&item_work) {}

  // Takes items until none is left. `work` is alive for as long as an item is: the caller waits.
  void Run() {
    for (size_t item = next.fetch_add(1); item < count; item = next.fetch_add(1)) {
      try {
        (*work)(item);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
      }
      if (ended.fetch_add(1) + 1 == count) {
        const std::lock_guard lock(mutex);
        all_ended.notify_all();
      }
    }
  }

  void Wait() {
    std::unique_lock lock(mutex);
    all_ended.wait(lock, [this] { return ended.load() == count; });
  }

  const size_t count;
  const std::function<void(size_t)>* const work;
  std::atomic<size_t> next{0}, ended{0};
  std::mutex mutex;
  std::condition_variable all_ended;
  std::exception_ptr failure;  // the first one
};

struct ThreadPool::Queue {
  std::mutex mutex;
  std::condition_variable filled;
  std::deque<std::shared_ptr<Job>> jobs;

  [[noreturn]] void Help() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex);
        filled.wait(lock, [this] { return !jobs.empty(); });
        job = jobs.front();
        // To the back: several calls share the helpers.
        jobs.pop_front();
        jobs.push_back(job);
      }
      job->Run();
      Remove(job);
    }
  }

  void Remove(const std::shared_ptr<Job>& job) {
    const std::lock_guard lock(mutex);
    const auto at = std::find(jobs.begin(), jobs.end(), job);
    if (at != jobs.end()) jobs.erase(at);
  }
};

ThreadPool::ThreadPool(size_t helper_count) : queue_(new Queue) {
  try {
    for (; helper_count_ < helper_count; helper_count_++) {
      std::thread([queue = queue_] { queue->Help(); }).detach();
    }
  } catch (const std::system_error&) {
    // No more threads to be had (pids.max, ulimit -u): fewer helpers, or a plain loop, do the work.
  }
}

ThreadPool& ThreadPool::Shared() {
  static ThreadPool* const pool =
      new ThreadPool(std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 32) - 1);
  return *pool;
}

void ThreadPool::For(size_t count, const std::function<void(size_t)>& work) {
  if (count < 2 || helper_count_ == 0) {
    for (size_t i = 0; i < count; i++) work(i);
    return;
  }
  const auto job = std::make_shared<Job>(count, work);
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->jobs.push_back(job);
  }
  queue_->filled.notify_all();
  job->Run();
  queue_->Remove(job);
  job->Wait();
  if (job->failure) std::rethrow_exception(job->failure);
}

}  // namespace maxsim
