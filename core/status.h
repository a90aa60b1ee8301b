// Errors cross module borders as absl::Status. Codes follow one convention:
//   INVALID_ARGUMENT, NOT_FOUND   the user's input is wrong (exit code 2); the message is one line that says
//                                 what, where and how to mend it
//   UNAVAILABLE                   the federation could not go on: quorum lost, all clients failed (exit code
//   3) anything else                 exit code 1
#ifndef MUSTER_CORE_STATUS_H_
#define MUSTER_CORE_STATUS_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace muster {

// The user's input is wrong.
inline absl::Status InvalidInput(std::string_view message) {
  return absl::InvalidArgumentError(absl::string_view(message.data(), message.size()));
}
inline absl::Status InternalError(std::string_view message) {
  return absl::InternalError(absl::string_view(message.data(), message.size()));
}
// The same error with `where` in front: "where: message".
absl::Status Annotate(const absl::Status& status, std::string_view where);
// The message as a std type (Debian's absl::string_view is not std::string_view).
std::string Message(const absl::Status& status);
// 0, 1, 2 or 3: the process exit code that stands for `status`.
int ExitCode(const absl::Status& status);

}  // namespace muster

// A declaration cannot stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define MUSTER_CONCAT_INNER_(a, b) a##b
#define MUSTER_CONCAT_(a, b) MUSTER_CONCAT_INNER_(a, b)
#define MUSTER_RETURN_IF_ERROR(expression)           \
  do {                                               \
    absl::Status muster_status_ = (expression);      \
    if (!muster_status_.ok()) return muster_status_; \
  } while (false)
#define MUSTER_ASSIGN_OR_RETURN(declaration, expression) \
  MUSTER_ASSIGN_OR_RETURN_IMPL_(MUSTER_CONCAT_(muster_status_or_, __LINE__), declaration, expression)
#define MUSTER_ASSIGN_OR_RETURN_IMPL_(temporary, declaration, expression) \
  auto temporary = (expression);                                          \
  if (!temporary.ok()) return temporary.status();                         \
  declaration = *std::move(temporary)
// NOLINTEND(bugprone-macro-parentheses)

#endif  // MUSTER_CORE_STATUS_H_
