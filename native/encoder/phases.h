// Work in phases on several threads: every item of a phase has ended before one of the next begins.
#ifndef MAXSIM_ENCODER_PHASES_H_
#define MAXSIM_ENCODER_PHASES_H_

#include <cstddef>
#include <functional>
#include <span>

#include "platform/status.h"

namespace maxsim {

// work(phase, item, worker) for the items 0 to items[phase] - 1 of every phase, each once, on at
// most `workers` threads of the shared pool; no worker does two items at once. Helpers join and
// leave as they have time: with every one busy elsewhere it is a plain loop. `check` is asked
// before every phase; what it says first that is not Ok ends the work and is returned.
Status RunPhases(std::span<const size_t> items, size_t workers,
                 const std::function<Status()>& check,
                 const std::function<void(size_t phase, size_t item, size_t worker)>& work);

}  // namespace maxsim

#endif  // MAXSIM_ENCODER_PHASES_H_
