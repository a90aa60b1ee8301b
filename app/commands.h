// The commands of `muster`. Each returns the status that becomes the exit code (core/status.h).
#ifndef MUSTER_APP_COMMANDS_H_
#define MUSTER_APP_COMMANDS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/run_flags.h"
#include "app/workers.h"
#include "core/status.h"

namespace CLI {
class App;
}

namespace muster {

struct SimulateArguments {
  std::string config;
  std::vector<std::string> overrides;  // "a.b=value"
  std::string out;                     // run directory; "": runs/NAME, numbered if taken
};
// Under a launcher (WorkerPlace) only rank 0 does; the other ranks are its workers.
absl::Status Simulate(const SimulateArguments& arguments, const RunFlags& flags, const WorkersFlags& workers);

// Goes on with the run in `dir` to the same final bits as if it had never been interrupted. Launchers: as
// above.
absl::Status Resume(const std::string& dir, const RunFlags& flags, const WorkersFlags& workers);

struct WorkerArguments {
  std::string config;
  std::vector<std::string> overrides;
  int threads = 0;  // 0: its share of the cores
  DeviceFlag device;
  std::string metrics;  // serve Prometheus metrics at this HOST:PORT; "": do not
};
// One worker of a simulation that another process coordinates.
absl::Status Worker(const WorkerArguments& arguments, const WorkersFlags& flags, const LogFlags& log_flags);

struct ClientArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string coordinator;  // HOST:PORT
  std::optional<int64_t>
      client;        // its number: trains on that slice of the configured federation; none: on all data
  std::string name;  // "": client-NUMBER, or the host's name
  std::string certs = "certs";   // folder with ca.pem, NAME.pem, NAME.key
  std::string certificate, key;  // instead of those in the folder
  std::string token;             // file with a token, instead of a certificate
  bool insecure = false;         // plain text
  std::string state;             // "": client-state/NAME
  bool withhold = false;         // tells nothing about its data beside updates
  double patience_seconds = 0;   // 0: waits for the coordinator for ever
  DeviceFlag device;
  std::string metrics;  // serve Prometheus metrics at this HOST:PORT; "": do not
};
// Takes part in a federation over the network until it is finished or a signal comes.
absl::Status Client(const ClientArguments& arguments, const LogFlags& log_flags);

// Checks a configuration as `simulate` would, without running it: plug-ins and their options, and with `load`
// the data and the model too. Prints the effective configuration with `print`.
absl::Status Validate(const std::string& config, const std::vector<std::string>& overrides, bool print);

// Prints every plug-in, those of one section, or one with its options.
absl::Status List(const std::string& section, const std::string& name);

struct DataArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string svg;        // write the picture to this file
  std::string partition;  // write the partition as JSON, usable as pin.partition
};
// Shows how a configuration deals its data to clients, as a table and a picture.
absl::Status ShowData(const DataArguments& arguments);

// Compares finished runs: a table on the terminal and one HTML page at `out` ("": DIR/report.html for a
// single run, comparison.html for several). `openmetrics`: writes the runs' histories to this file, too.
absl::Status Report(const std::vector<std::string>& dirs, const std::string& out,
                    const std::string& openmetrics);
// Tells from rounds.jsonl alone why the number of clients changed, search by search.
absl::Status ExplainParticipation(const std::vector<std::string>& dirs);

// `muster sweep`: a grid of runs, compared. Adds the command; `action` becomes what it does if it is the one
// that was called.
void AddSweep(CLI::App& app, std::function<absl::Status()>& action);

// `muster certs`: a development authority, certificates, tokens, revocation. The same kind of
// function.
void AddCerts(CLI::App& app, std::function<absl::Status()>& action);

// `muster coordinator`: a federation of real clients. The same kind of function; `flags` outlive the command.
void AddCoordinator(CLI::App& app, std::function<absl::Status()>& action, RunFlags& flags);

// `muster status`, `pause`, `resume-round`, `stop`, `set`: the same for all of them.
void AddControl(CLI::App& app, std::function<absl::Status()>& action);

// `muster health`: exit code 0 if the coordinator answers gRPC's health check with SERVING, 3 if it does not.
void AddHealth(CLI::App& app, std::function<absl::Status()>& action);

}  // namespace muster

#endif  // MUSTER_APP_COMMANDS_H_
