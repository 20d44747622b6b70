// Threads that help with one long piece of work when they have nothing else to do.
#ifndef MAXSIM_PLATFORM_THREAD_POOL_H_
#define MAXSIM_PLATFORM_THREAD_POOL_H_

#include <cstddef>
#include <functional>

namespace maxsim {

class ThreadPool {
 public:
  // One for the process: a helper per further core, at most 31, started at the first use; fewer,
  // down to none, where the system grants no more threads. It is never destroyed, because nothing
  // could wait for helpers while the process ends.
  static ThreadPool& Shared();

  // The calling thread and the helpers.
  size_t width() const { return helper_count_ + 1; }

  // Runs work(0) to work(count - 1), each once, in any order, on the calling thread and on whatever
  // helpers are idle; returns when all have ended. With every helper busy it is a plain loop, so
  // calls from many threads share the cores instead of waiting for each other. What `work` throws
  // (it can only be out of memory) is rethrown here once all items have ended.
  void For(size_t count, const std::function<void(size_t)>& work);

 private:
  struct Job;
  struct Queue;

  explicit ThreadPool(size_t helper_count);
  ~ThreadPool() = delete;

  Queue* const queue_;
  size_t helper_count_ = 0;
};

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_THREAD_POOL_H_
