// DIANA: unbiased compression of differences to a slowly learnt shift.
#include <utility>

#include "compression/error_feedback.h"

namespace muster {
namespace {

struct DianaOptions {
  double alpha = 0;
};

// m_i = C(update_i - h_i); h_i += alpha m_i. Server: mean = h + mean m, then h += alpha |S|/n mean m, so that
// h is the mean of all h_i. alpha = 1 / (1 + omega) by default.
class Diana final : public ErrorFeedback {
 public:
  static absl::StatusOr<std::unique_ptr<ErrorFeedback>> Create(const DianaOptions& options,
                                                               const Context& context) {
    MUSTER_ASSIGN_OR_RETURN(const double omega, OmegaOf(context, "diana"));
    const double alpha = options.alpha > 0 ? options.alpha : 1 / (1 + omega);
    return std::unique_ptr<ErrorFeedback>(new Diana(alpha, context));
  }

  absl::StatusOr<Payload> Encode(std::span<const float> update, const RandomKey& key,
                                 State& memory) const override {
    return EncodeDifference(context_, update, key, memory, alpha_);
  }
  absl::Status Combine(std::vector<float>& mean, double share, State& memory) const override {
    MUSTER_ASSIGN_OR_RETURN(std::vector<float>* const shift,
                            Remembered(memory, "estimate", static_cast<int64_t>(mean.size())));
    for (size_t i = 0; i < mean.size(); ++i) {
      const double before = (*shift)[i];
      (*shift)[i] = static_cast<float>(before + alpha_ * share * mean[i]);
      mean[i] = static_cast<float>(before + mean[i]);
    }
    return absl::OkStatus();
  }
  bool NeedsUniformWeights() const override { return true; }

 private:
  Diana(double alpha, const Context& context) : alpha_(alpha), context_(context) {}

  const double alpha_;
  const Context context_;
};

MUSTER_REGISTER(ErrorFeedback,
                Plugin<DianaOptions>("diana",
                                     "Unbiased differences to a slowly learnt shift; weighs clients alike",
                                     "Mishchenko et al. 2019, arXiv:1901.09269, algorithm 1")
                    .Option("alpha", &DianaOptions::alpha, "how fast shifts learn; 0: 1 / (1 + omega)",
                            Between(0, 1))
                    .Make<Diana>());

}  // namespace
}  // namespace muster
