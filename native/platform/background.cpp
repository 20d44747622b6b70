#include "platform/background.h"

#include <exception>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sys/resource.h>
#elif defined(__APPLE__)
#include <pthread/qos.h>
#endif

namespace maxsim {
namespace {

#if defined(__linux__)
// A tenth of what others get on a busy core: enough never to starve.
constexpr int kNice = 10;
#endif

// Where the system refuses, the work runs at the usual priority.
void LowerPriority() {
#if defined(__linux__)
  // On Linux a nice value is that of a thread, and 0 is the calling one.
  (void)::setpriority(PRIO_PROCESS, 0, kNice);
#elif defined(__APPLE__)
  (void)::pthread_set_qos_class_self_np(QOS_CLASS_BACKGROUND, 0);
#endif
}

}  // namespace

Status RunInBackground(const std::function<Status()>& work) {
  Status status = Status::Ok();
  std::exception_ptr thrown;
  const auto run = [&] {
    try {
      status = work();
    } catch (...) {
      thrown = std::current_exception();
    }
  };
  try {
    std::thread([&] {
      LowerPriority();
      run();
    }).join();
  } catch (const std::system_error&) {
    run();  // the system grants no more threads
  }
  if (thrown) std::rethrow_exception(thrown);
  return status;
}

}  // namespace maxsim
