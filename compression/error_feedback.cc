#include "compression/error_feedback.h"

#include "absl/strings/str_cat.h"

namespace muster {

absl::Status ErrorFeedback::Refused(std::span<const float> /*update*/, State& /*memory*/) const {
  return absl::OkStatus();
}

absl::Status ErrorFeedback::Combine(std::vector<float>& /*mean*/, double /*share*/, State& /*memory*/) const {
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>*> Remembered(State& memory, const std::string& name, int64_t size) {
  const auto [found, fresh] = memory.vectors.try_emplace(name);
  if (fresh) found->second.resize(static_cast<size_t>(size));
  if (static_cast<int64_t>(found->second.size()) != size) {
    return InvalidInput(absl::StrCat("error feedback remembers a ", name, " of ", found->second.size(),
                                     " elements, the model has ", size));
  }
  return &found->second;
}

absl::StatusOr<Payload> EncodeDifference(const ErrorFeedback::Context& context, std::span<const float> x,
                                         const RandomKey& key, State& memory, double rate) {
  const Layout& layout = *context.layout;
  MUSTER_RETURN_IF_ERROR(CheckUpdate(x, layout));
  MUSTER_ASSIGN_OR_RETURN(std::vector<float>* const estimate, Remembered(memory, "estimate", layout.size));
  std::vector<float> difference(x.size());
  for (size_t i = 0; i < x.size(); ++i) difference[i] = x[i] - (*estimate)[i];
  MUSTER_ASSIGN_OR_RETURN(Payload message, context.compressor->Compress(difference, layout, key));
  MUSTER_ASSIGN_OR_RETURN(const std::vector<float> sent, DecodePayload(message, layout));
  for (size_t i = 0; i < sent.size(); ++i) {
    (*estimate)[i] = static_cast<float>((*estimate)[i] + rate * sent[i]);
  }
  return message;
}

absl::Status AddToEstimate(std::vector<float>& mean, double share, State& memory) {
  MUSTER_ASSIGN_OR_RETURN(std::vector<float>* const estimate,
                          Remembered(memory, "estimate", static_cast<int64_t>(mean.size())));
  for (size_t i = 0; i < mean.size(); ++i) {
    (*estimate)[i] = static_cast<float>((*estimate)[i] + share * mean[i]);
  }
  mean = *estimate;
  return absl::OkStatus();
}

absl::Status CheckNotAmplifying(const ErrorFeedback::Context& context, const std::string& method) {
  const Traits traits = context.compressor->traits(*context.layout);
  if (!traits.omega || *traits.omega < 1) return absl::OkStatus();
  return InvalidInput(absl::StrCat(method,
                                   ": needs a contractive compressor, this one is unbiased with omega ",
                                   *traits.omega, "; for rand_k set scaled=false, or use diana"));
}

absl::StatusOr<double> OmegaOf(const ErrorFeedback::Context& context, const std::string& method) {
  const Traits traits = context.compressor->traits(*context.layout);
  if (traits.omega) return *traits.omega;
  return InvalidInput(absl::StrCat(
      method, ": needs an unbiased compressor, such as rand_k, quantize, qsgd or natural; this one is not"));
}

}  // namespace muster
