#include "core/status.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

TEST(Status, ExitCodes) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCode(InvalidInput("x")), 2);
  EXPECT_EQ(ExitCode(absl::NotFoundError("x")), 2);
  EXPECT_EQ(ExitCode(absl::UnavailableError("x")), 3);
  EXPECT_EQ(ExitCode(InternalError("x")), 1);
  EXPECT_EQ(ExitCode(absl::FailedPreconditionError("x")), 1);
  EXPECT_EQ(ExitCode(absl::CancelledError("x")), 1);
}

TEST(Status, AnnotatePutsTheWhereInFrontAndKeepsTheCode) {
  const absl::Status status = Annotate(absl::NotFoundError("no such file"), "a.yaml:3");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(status), "a.yaml:3: no such file");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "a.yaml").ok());
}

absl::StatusOr<int> Half(int x) {
  if (x % 2 != 0) return InvalidInput("odd");
  return x / 2;
}
absl::StatusOr<int> Quarter(int x) {
  MUSTER_ASSIGN_OR_RETURN(const int half, Half(x));
  MUSTER_RETURN_IF_ERROR(Half(half).status());
  return half / 2;
}

TEST(Status, MacrosPassErrorsOn) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Message(Quarter(7).status()), "odd");
  EXPECT_EQ(Message(Quarter(6).status()), "odd");
}

}  // namespace
}  // namespace muster
