// EF21: clients send compressed differences to an estimate that both sides keep.
#include <utility>

#include "compression/error_feedback.h"

namespace muster {
namespace {

// c_i = C(update_i - g_i); g_i += c_i. The server averages all g_i, also of those who are away: g += |S|/n
// mean c.
class Ef21 final : public ErrorFeedback {
 public:
  static absl::StatusOr<std::unique_ptr<ErrorFeedback>> Create(const NoOptions& /*options*/,
                                                               const Context& context) {
    MUSTER_RETURN_IF_ERROR(CheckNotAmplifying(context, "ef21"));
    return std::unique_ptr<ErrorFeedback>(new Ef21(context));
  }

  absl::StatusOr<Payload> Encode(std::span<const float> update, const RandomKey& key,
                                 State& memory) const override {
    return EncodeDifference(context_, update, key, memory);
  }
  absl::Status Combine(std::vector<float>& mean, double share, State& memory) const override {
    return AddToEstimate(mean, share, memory);
  }
  bool NeedsUniformWeights() const override { return true; }

 private:
  explicit Ef21(const Context& context) : context_(context) {}

  const Context context_;
};

MUSTER_REGISTER(ErrorFeedback,
                Plugin("ef21", "Differences to an estimate that client and server keep; weighs clients alike",
                       "Richtarik et al. 2021, arXiv:2106.05203, algorithm 2; partial participation: "
                       "Fatkhullin et al. 2021, arXiv:2110.03294")
                    .Make<Ef21>());

}  // namespace
}  // namespace muster
