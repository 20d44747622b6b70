// What the tasks that write segments have in common.
#ifndef MAXSIM_ADDON_STORE_TASKS_H_
#define MAXSIM_ADDON_STORE_TASKS_H_

#include <napi.h>

#include "index/segment_writer.h"

namespace maxsim::addon {

// { documents, tokens, sizeBytes, headerCrc, clipped }
Napi::Value FromSummary(Napi::Env env, const SegmentSummary& summary, uint64_t clipped);

}  // namespace maxsim::addon

#endif  // MAXSIM_ADDON_STORE_TASKS_H_
