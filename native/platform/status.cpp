#include "platform/status.h"

#include <cstdarg>
#include <cstdio>

namespace maxsim {

Status Status::Error(const char* code, const char* format, ...) {
  Status status;
  status.code_ = code;
  std::va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  if (length > 0) {
    status.message_.resize(static_cast<size_t>(length));
    // Writes length + 1 bytes: the last is the terminator that std::string keeps anyway.
    std::vsnprintf(status.message_.data(), status.message_.size() + 1, format, again);
  }
  va_end(again);
  return status;
}

}  // namespace maxsim
