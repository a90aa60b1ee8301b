// No method: clients train, the server averages.
#include "methods/method.h"

namespace muster {
namespace {

class None final : public Method {
 public:
  absl::StatusOr<std::unique_ptr<LocalMethod>> Start(const Job& /*job*/,
                                                     const State& /*memory*/) const override {
    return nullptr;
  }
  absl::Status Combine(Round& /*round*/, State& /*memory*/) const override { return absl::OkStatus(); }
};

MUSTER_REGISTER(Method, Plugin("none", "Clients train, the server averages").Make<None>());

}  // namespace
}  // namespace muster
