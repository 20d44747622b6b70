// Work that nobody waits for, and that should leave the cores to those who do.
#ifndef MAXSIM_PLATFORM_BACKGROUND_H_
#define MAXSIM_PLATFORM_BACKGROUND_H_

#include <functional>

#include "platform/status.h"

namespace maxsim {

// Runs `work` on a thread of its own and of low priority, and waits for it. A thread of its
// own, because a priority that was lowered may not be raised again.
Status RunInBackground(const std::function<Status()>& work);

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_BACKGROUND_H_
