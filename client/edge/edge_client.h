// An edge client: takes part in a federation on its own data, from the first join to the coordinator's
// goodbye, through lost links, restarts of the coordinator and restarts of itself.
//
//   MyTrainer trainer(...);                       // implements client/trainer.h
//   EdgeOptions options;
//   options.coordinator = "federation.example.org:7443";
//   options.tls = ...;                            // LoadTls(TlsFilesIn("certs", "client-0"),
//   TlsRole::kClient) options.state_dir = "state"; auto client = EdgeClient::Create(trainer, *compressor,
//   options); absl::Status status = (*client)->Run();       // its code is an exit code's: ExitCode(status)
#ifndef MUSTER_CLIENT_EDGE_EDGE_CLIENT_H_
#define MUSTER_CLIENT_EDGE_EDGE_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "client/trainer.h"
#include "compression/error_feedback.h"
#include "core/status.h"
#include "core/transport/credentials.h"

namespace muster {

// The coordinator has let the client in, for the first time or again.
struct Joined {
  std::string federation;  // its id
  std::string name;        // its configuration's name
  int64_t client = 0;      // this client's number
};
// The session is lost, or there was none to be had. Told once for as long as the reason stays the same.
struct Disconnected {
  std::string why;  // one line: what, where, how to mend it
  double retry_seconds = 0;
};
// The last word on a round this client took part in.
struct RoundEnded {
  int64_t round = 0;
  bool accepted = false;
  std::string why;  // if not accepted
  int64_t num_samples = 0, steps = 0;
  double train_loss = 0;
  double seconds = 0;        // of training
  int64_t upload_bytes = 0;  // of the update; it may have been sent by an earlier process
};
// Something is odd, and the client goes on: the link, the clock, the disk.
struct Warning {
  std::string text;
};
using EdgeEvent = std::variant<Joined, Disconnected, RoundEnded, Warning>;
// The event as one line for people.
std::string Describe(const EdgeEvent& event);

struct EdgeOptions {
  std::string coordinator;         // HOST:PORT
  std::optional<TlsMaterial> tls;  // none: plain text, for trials on one machine
  std::string token;               // with tls, instead of a client certificate
  std::string identity;            // over plain text: the name the client gives itself
  std::string federation;          // join this federation only (its id); empty: any
  std::optional<int64_t> client;   // the number it wants; none: whichever the coordinator gives
  // A folder of the client's own, made if need be: the finished update until it is settled, half a download,
  // and what the client remembers between rounds. One process at a time.
  std::string state_dir;
  std::string version = "muster";  // program and version; for people
  double patience_seconds = 0;     // > 0: gives up after so long without a session
  double first_backoff_seconds = 0.5;
  double most_backoff_seconds = 30;
  double stall_seconds = 60;  // a transfer that moves no chunk for so long is begun anew, where it was
  // Called from Run's thread; may be empty.
  std::function<void(const EdgeEvent&)> on_event;
};

class EdgeClient {
 public:
  // Both outlive the client. The trainer is used by one thread at a time, which is not Run's.
  // INVALID_ARGUMENT for a malformed address, a state folder that cannot be had or that another process uses.
  static absl::StatusOr<std::unique_ptr<EdgeClient>> Create(Trainer& trainer, const ErrorFeedback& feedback,
                                                            EdgeOptions options);
  virtual ~EdgeClient() = default;

  // Returns OK once the coordinator says that the federation is finished, or after Stop. INVALID_ARGUMENT for
  // what will not mend itself (identity refused, another federation, another program's port), UNAVAILABLE
  // when patience ran out. Call once.
  virtual absl::Status Run() = 0;
  // Makes Run say goodbye and return as soon as the trainer has seen that it is cancelled. What is on disk
  // stays, for the next time. Any thread, and signal handlers.
  virtual void Stop() = 0;
};

}  // namespace muster

#endif  // MUSTER_CLIENT_EDGE_EDGE_CLIENT_H_
