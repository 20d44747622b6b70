// How the native core reports failure: a code that JavaScript sees as MaxSimError.code and one
// sentence that says what was found and what was expected. No exceptions, no abort, no stderr.
#ifndef MAXSIM_PLATFORM_STATUS_H_
#define MAXSIM_PLATFORM_STATUS_H_

#include <string>
#include <utility>

#if defined(__GNUC__)
#define MAXSIM_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define MAXSIM_PRINTF(text, first)
#endif

namespace maxsim {

class [[nodiscard]] Status {
 public:
  static Status Ok() { return Status(); }
  // `code` is one of the codes in docs/errors.md and must outlive the program (a literal).
  static Status Error(const char* code, const char* format, ...) MAXSIM_PRINTF(2, 3);

  bool ok() const { return code_ == nullptr; }
  const char* code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Status() = default;
  const char* code_ = nullptr;
  std::string message_;
};

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_STATUS_H_
