// One client's share of a round: trains, then encodes the update. The same for virtual clients and real ones.
#ifndef MUSTER_CLIENT_TASK_RUNNER_H_
#define MUSTER_CLIENT_TASK_RUNNER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/trainer.h"
#include "compression/compressor.h"

namespace muster {

struct LocalUpdate {
  TrainingResult training;
  Payload payload;                        // the encoded delta
  std::map<std::string, Payload> extras;  // training.extras, encoded without loss
};

// What went wrong, and where ("train" or "compress").
struct TaskFailure {
  std::string stage;
  absl::Status status;
};

// Keeps a buffer of the model's size. One thread at a time.
class TaskRunner {
 public:
  // `memory`: see Trainer::Train. It is changed only if all went well. On failure returns false and fills in
  // `failure`.
  bool Run(Trainer& trainer, const Compressor& compressor, const TrainingJob& job, ConstParameters global,
           State& memory, LocalUpdate& update, TaskFailure& failure);

 private:
  std::vector<float> delta_;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_TASK_RUNNER_H_
