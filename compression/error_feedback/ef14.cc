// EF14: what was not sent is added to the next update.
#include <utility>

#include "compression/error_feedback.h"

namespace muster {
namespace {

// p = e + update; send c = C(p); e = p - c. Learning rates are inside the update, so a change of them leaves
// the residual right. A refused message leaves e = p: it is sent later.
class Ef14 final : public ErrorFeedback {
 public:
  static absl::StatusOr<std::unique_ptr<ErrorFeedback>> Create(const NoOptions& /*options*/,
                                                               const Context& context) {
    MUSTER_RETURN_IF_ERROR(CheckNotAmplifying(context, "ef14"));
    return std::unique_ptr<ErrorFeedback>(new Ef14(context));
  }

  absl::StatusOr<Payload> Encode(std::span<const float> update, const RandomKey& key,
                                 State& memory) const override {
    State next = memory;
    MUSTER_RETURN_IF_ERROR(Refused(update, next));
    std::vector<float>& residual = next.vectors["residual"];
    MUSTER_ASSIGN_OR_RETURN(Payload message, context_.compressor->Compress(residual, *context_.layout, key));
    MUSTER_ASSIGN_OR_RETURN(const std::vector<float> sent, DecodePayload(message, *context_.layout));
    for (size_t i = 0; i < sent.size(); ++i) residual[i] -= sent[i];
    memory = std::move(next);
    return message;
  }

  absl::Status Refused(std::span<const float> update, State& memory) const override {
    MUSTER_RETURN_IF_ERROR(CheckUpdate(update, *context_.layout));
    MUSTER_ASSIGN_OR_RETURN(std::vector<float>* const residual,
                            Remembered(memory, "residual", context_.layout->size));
    for (size_t i = 0; i < update.size(); ++i) (*residual)[i] += update[i];
    return absl::OkStatus();
  }

 private:
  explicit Ef14(const Context& context) : context_(context) {}

  const Context context_;
};

MUSTER_REGISTER(ErrorFeedback,
                Plugin("ef14", "What was not sent is added to the client's next update",
                       "Seide et al. 2014; Karimireddy et al. 2019, arXiv:1901.09847, algorithm 1")
                    .Make<Ef14>());

}  // namespace
}  // namespace muster
