// What trainers on LibTorch have in common: how a thread is set up, what they refuse, how they say what went
// wrong.
#ifndef MUSTER_CLIENT_TORCH_TRAINING_H_
#define MUSTER_CLIENT_TORCH_TRAINING_H_

#include <c10/core/StreamGuard.h>

#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>

#include "client/trainer.h"
#include "core/parameters.h"
#include "core/status.h"
#include "learning/dataset.h"

namespace muster {

// Losses come back from a device, and progress is told, once in so many steps.
inline constexpr int64_t kStepsPerProgress = 20;

// Settings of LibTorch that belong to a thread: denormals cost several times the speed, and a client trains
// on one core (workers are the parallelism; more cores would also change the order of sums).
void PrepareThread();

// "round R, client C": where every message about a job begins.
std::string Where(const TrainingJob& job);
// INVALID_ARGUMENT for a model of another size.
absl::Status CheckModel(ConstParameters values, const Layout& layout);
// ... for a sample that the data do not have.
absl::Status CheckSamples(std::span<const uint32_t> samples, const Dataset& data);
// ... for a job that cannot be begun: also where there is nothing to train on, or nothing to do. Says where.
absl::Status CheckJob(const TrainingJob& job, ConstParameters global, const Layout& layout,
                      std::span<const uint32_t> samples, const Dataset& data, std::span<const float> delta);

// INVALID_ARGUMENT: `what` is a loss or an update that is not finite.
absl::Status Diverged(const std::string& what);
// INTERNAL, in one line.
absl::Status FromException(const std::exception& e);

// From here on this thread's work on a device queues up in `stream`, if there is one.
c10::OptionalStreamGuard OnStream(const std::optional<c10::Stream>& stream);

}  // namespace muster

#endif  // MUSTER_CLIENT_TORCH_TRAINING_H_
