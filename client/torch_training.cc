#include "client/torch_training.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "learning/torch_message.h"

namespace muster {

void PrepareThread() {
  thread_local const bool prepared = [] {
    at::set_num_threads(1);
    return at::globalContext().setFlushDenormal(true);
  }();
  static_cast<void>(prepared);
}

std::string Where(const TrainingJob& job) {
  return absl::StrCat("round ", job.round, ", client ", job.client);
}

absl::Status CheckModel(ConstParameters values, const Layout& layout) {
  if (static_cast<int64_t>(values.size()) == layout.size) return absl::OkStatus();
  return InvalidInput(
      absl::StrCat("the given model has ", values.size(), " elements, this one has ", layout.size));
}

absl::Status CheckSamples(std::span<const uint32_t> samples, const Dataset& data) {
  for (const uint32_t sample : samples) {
    if (static_cast<int64_t>(sample) >= data.size()) {
      return InvalidInput(absl::StrCat("there is no sample ", sample, ", the data have ", data.size()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckJob(const TrainingJob& job, ConstParameters global, const Layout& layout,
                      std::span<const uint32_t> samples, const Dataset& data, std::span<const float> delta) {
  absl::Status status = CheckModel(global, layout);
  status.Update(CheckSamples(samples, data));
  if (delta.size() != global.size()) status.Update(InvalidInput("delta has a wrong size"));
  if (samples.empty()) status.Update(InvalidInput("the client has no samples to train on"));
  if (job.steps <= 0 && job.epochs <= 0) status.Update(InvalidInput("neither epochs nor steps"));
  return status.ok() ? status : Annotate(status, Where(job));
}

absl::Status Diverged(const std::string& what) {
  return InvalidInput(absl::StrCat(what, ": training diverged; lower the learning rate"));
}

absl::Status FromException(const std::exception& e) { return InternalError(TorchMessage(e.what())); }

c10::OptionalStreamGuard OnStream(const std::optional<c10::Stream>& stream) {
  return stream ? c10::OptionalStreamGuard(*stream) : c10::OptionalStreamGuard();
}

}  // namespace muster
