// What trains one client: the application's part of an edge client, or Muster's own LocalTrainer.
#ifndef MUSTER_CLIENT_TRAINER_H_
#define MUSTER_CLIENT_TRAINER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compression/device_vector.h"
#include "core/parameters.h"
#include "core/state.h"
#include "core/status.h"

namespace muster {

// What one client is told to do in one round.
struct TrainingJob {
  uint64_t seed = 0;  // the federation's
  int64_t round = 0;
  int64_t client = 0;
  int64_t epochs = 1;
  int64_t steps = 0;  // > 0: exactly so many steps, each on a full batch, over as many epochs as needed
  double learning_rate_factor = 1;
  // The class to learn instead of each class, [classes]; empty: as the data say. Outlives the job.
  std::span<const int64_t> relabel = {};
  // What the server sent along, by name. Immutable.
  std::map<std::string, std::shared_ptr<const std::vector<float>>> vectors = {};
  // What the server would like to be told about the model it sent (core/statistics.h). A trainer that does
  // not know one, or does not want to tell, leaves it out of its result's numbers.
  std::vector<std::string> statistics = {};
  // A trainer whose update lies on a device may leave it there: TrainingResult::on_device.
  bool may_stay = false;
  // Polled between steps, if set: true ends the job with CANCELLED.
  std::function<bool()> cancelled = nullptr;
  // Told about the steps done and the mean loss so far now and then, if set.
  std::function<void(int64_t steps, double train_loss)> progress = nullptr;
};

struct TrainingResult {
  int64_t num_samples = 0;  // of the client's training data
  int64_t steps = 0;
  double train_loss = 0;  // mean over steps of the step's batch loss; NaN: nobody asked for it
  double seconds = 0;
  // What else travels with the update: numbers, and vectors of the model's size at most.
  std::map<std::string, std::vector<double>> numbers = {};
  std::map<std::string, std::vector<float>> extras = {};
  // The update, where the job let it stay: `delta` says nothing then. It goes before the trainer does.
  std::shared_ptr<const DeviceVector> on_device = nullptr;
};

// One thread at a time.
class Trainer {
 public:
  virtual ~Trainer() = default;
  virtual const Layout& layout() const = 0;
  // Training samples the client declares.
  virtual int64_t num_samples() const = 0;
  // Samples per class, if the client is willing to tell.
  virtual std::vector<int64_t> label_histogram() const { return {}; }
  // Trains from `global` and writes the update, local - global, to `delta`, both layout().size elements and
  // finite. `memory` is what this client remembers from its last accepted update (empty at first) and becomes
  // what it shall remember if this one is accepted, too. Any error is a failed task, told to the coordinator
  // in the trainer's words; CANCELLED if job.cancelled said so.
  virtual absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters global,
                                               std::span<float> delta, State& memory) = 0;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_TRAINER_H_
