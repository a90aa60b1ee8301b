// One client's share of a round: trains, then encodes the update. The same for virtual clients and real ones.
#ifndef MUSTER_CLIENT_TASK_RUNNER_H_
#define MUSTER_CLIENT_TASK_RUNNER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/trainer.h"
#include "compression/error_feedback.h"

namespace muster {

struct LocalUpdate {
  TrainingResult training;
  Payload payload;                        // the encoded delta
  std::map<std::string, Payload> extras;  // training.extras, encoded without loss
  // What the client must remember if the server takes the update, and if it does not.
  State if_taken;
  State if_refused;
};

// What went wrong, and where ("train" or "compress").
struct TaskFailure {
  std::string stage;
  absl::Status status;
};

// Keeps a buffer of the model's size. One thread at a time.
class TaskRunner {
 public:
  // `memory` is what the client remembers from before. On failure returns false and fills in `failure`; the
  // client goes on remembering what it did. An update that lies on a device is encoded there, if nothing is
  // remembered of it; if it is sent as it is and the caller has it so, it stays there (Payload::on_device).
  bool Run(Trainer& trainer, const ErrorFeedback& feedback, TrainingJob job, ConstParameters global,
           const State& memory, LocalUpdate& update, TaskFailure& failure, bool leave_on_device = false);

 private:
  std::vector<float> delta_;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_TASK_RUNNER_H_
