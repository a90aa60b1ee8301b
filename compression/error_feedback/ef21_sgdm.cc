// EF21-SGDM: EF21 on a running mean of the client's updates, which small batches do not shake.
#include <utility>

#include "compression/error_feedback.h"

namespace muster {
namespace {

struct Ef21SgdmOptions {
  double eta = 0.1;
};

// v_i = (1 - eta) v_i + eta update_i (at first v_i = update_i); c_i = C(v_i - g_i); g_i += c_i. eta = 1 is
// EF21.
class Ef21Sgdm final : public ErrorFeedback {
 public:
  static absl::StatusOr<std::unique_ptr<ErrorFeedback>> Create(const Ef21SgdmOptions& options,
                                                               const Context& context) {
    MUSTER_RETURN_IF_ERROR(CheckNotAmplifying(context, "ef21_sgdm"));
    return std::unique_ptr<ErrorFeedback>(new Ef21Sgdm(options, context));
  }

  absl::StatusOr<Payload> Encode(std::span<const float> update, const RandomKey& key,
                                 State& memory) const override {
    State next = memory;
    const bool first = !next.vectors.contains("momentum");
    MUSTER_RETURN_IF_ERROR(CheckUpdate(update, *context_.layout));
    MUSTER_ASSIGN_OR_RETURN(std::vector<float>* const momentum,
                            Remembered(next, "momentum", context_.layout->size));
    const double keep = first ? 0 : 1 - eta_, take = first ? 1 : eta_;
    for (size_t i = 0; i < update.size(); ++i) {
      (*momentum)[i] = static_cast<float>(keep * (*momentum)[i] + take * update[i]);
    }
    MUSTER_ASSIGN_OR_RETURN(Payload message, EncodeDifference(context_, *momentum, key, next));
    memory = std::move(next);
    return message;
  }
  absl::Status Combine(std::vector<float>& mean, double share, State& memory) const override {
    return AddToEstimate(mean, share, memory);
  }
  bool NeedsUniformWeights() const override { return true; }

 private:
  Ef21Sgdm(const Ef21SgdmOptions& options, const Context& context) : eta_(options.eta), context_(context) {}

  const double eta_;
  const Context context_;
};

MUSTER_REGISTER(ErrorFeedback,
                Plugin<Ef21SgdmOptions>("ef21_sgdm", "ef21 on a running mean of the client's updates",
                                        "Fatkhullin et al. 2023, arXiv:2305.15155, algorithm 1")
                    .Option("eta", &Ef21SgdmOptions::eta, "weight of the newest update", AboveUpTo(0, 1))
                    .Make<Ef21Sgdm>());

}  // namespace
}  // namespace muster
