// The muster command: arguments in, exit code out.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "app/commands.h"

namespace muster {
namespace {

int Run(int argc, char** argv) {
  CLI::App app("Muster: federated learning, simulated and served", "muster");
  app.set_version_flag("--version", "muster " MUSTER_VERSION);
  app.require_subcommand(1);
  std::function<absl::Status()> action;

  std::string config, section, name, report_out, openmetrics;
  std::vector<std::string> overrides, dirs;
  const auto add_config = [&](CLI::App* command) {
    command->add_option("CONFIG", config, "Configuration file (YAML)")->required();
    command->add_option("--set", overrides, "Override one value: path=value, e.g. training.epochs=2")
        ->type_name("PATH=VALUE")
        ->take_all()
        ->expected(1);
  };

  constexpr char kWorkers[] = "Worker threads (default: one per core); never shows in a result";
  RunFlags flags;
  SimulateArguments simulate;
  auto* simulate_command = app.add_subcommand("simulate", "Run a whole federation in this process");
  add_config(simulate_command);
  simulate_command->add_option("--out", simulate.out,
                               "Run directory (default: runs/NAME, numbered if taken)");
  flags.AddTo(simulate_command, kWorkers);
  WorkersFlags workers;
  workers.AddTo(simulate_command);
  simulate_command->callback([&] {
    action = [&] {
      simulate.config = config;
      simulate.overrides = overrides;
      return Simulate(simulate, flags, workers);
    };
  });

  std::string resume_dir;
  auto* resume_command =
      app.add_subcommand("resume", "Go on with an interrupted run, to the same final bits");
  resume_command->add_option("DIR", resume_dir, "Run directory")->required();
  flags.AddTo(resume_command, kWorkers);
  workers.AddTo(resume_command);
  resume_command->callback([&] { action = [&] { return Resume(resume_dir, flags, workers); }; });

  auto* worker_command =
      app.add_subcommand("worker", "Train clients of a simulation that another process coordinates");
  add_config(worker_command);
  WorkerArguments worker;
  worker_command->add_option("--workers", worker.threads, kWorkers)->check(CLI::Range(1, 1024));
  worker.device.AddTo(worker_command);
  worker_command
      ->add_option("--metrics", worker.metrics,
                   "Serve this worker's Prometheus metrics at this address, e.g. 127.0.0.1:9465")
      ->type_name("HOST:PORT");
  workers.AddCommonTo(worker_command);
  flags.log.AddTo(worker_command);
  worker_command->callback([&] {
    action = [&] {
      worker.config = config;
      worker.overrides = overrides;
      return Worker(worker, workers, flags.log);
    };
  });

  ClientArguments client;
  auto* client_command =
      app.add_subcommand("client", "Take part in a federation as one client, on your own data");
  add_config(client_command);
  client_command->add_option("--coordinator", client.coordinator, "Address of the coordinator")
      ->type_name("HOST:PORT")
      ->required();
  client_command
      ->add_option("--client", client.client,
                   "Be client K and train on slice K of the configured federation (default: on all data)")
      ->type_name("K");
  client_command->add_option("--name", client.name,
                             "Name of its certificate (default: client-K, or the host's name)");
  auto* certs_option =
      client_command
          ->add_option("--certs", client.certs, "Folder with ca.pem, NAME.pem, NAME.key (default: certs)")
          ->type_name("DIR");
  client_command->add_option("--certificate", client.certificate, "Certificate instead of DIR/NAME.pem")
      ->type_name("FILE");
  client_command->add_option("--key", client.key, "Its key instead of DIR/NAME.key")->type_name("FILE");
  client_command->add_option("--token", client.token, "File with a token, instead of a certificate")
      ->type_name("FILE");
  client_command->add_flag("--insecure", client.insecure, "Plain text, for trials on one machine")
      ->excludes(certs_option);
  client_command->add_option("--state", client.state, "Folder of its own (default: client-state/NAME)")
      ->type_name("DIR");
  client_command->add_flag("--withhold", client.withhold,
                           "Tell nothing about the data beside updates: no label histogram, no statistics");
  client_command
      ->add_option("--patience", client.patience_seconds,
                   "Give up after so many seconds without the coordinator (default: never)")
      ->check(CLI::NonNegativeNumber);
  client.device.AddTo(client_command);
  client_command
      ->add_option("--metrics", client.metrics,
                   "Serve this client's Prometheus metrics at this address, e.g. 127.0.0.1:9465")
      ->type_name("HOST:PORT");
  flags.log.AddTo(client_command);
  client_command->callback([&] {
    action = [&] {
      client.config = config;
      client.overrides = overrides;
      return Client(client, flags.log);
    };
  });

  auto* report_command =
      app.add_subcommand("report", "Compare runs: a table, and one self-contained HTML page");
  report_command->add_option("DIR", dirs, "Run directories")->required();
  report_command
      ->add_option("--openmetrics", openmetrics,
                   "Write the histories for Prometheus: promtool tsdb create-blocks-from openmetrics FILE")
      ->type_name("FILE");
  report_command->add_option("--out", report_out, "HTML file (default: DIR/report.html, or comparison.html)");
  bool why = false;
  report_command->add_flag("--why", why,
                           "Instead: why the number of clients changed, search by search, from rounds.jsonl");
  report_command->callback([&] {
    action = [&] { return why ? ExplainParticipation(dirs) : Report(dirs, report_out, openmetrics); };
  });

  auto* list_command =
      app.add_subcommand("list", "Show every plug-in with its options, defaults and sources");
  list_command->add_option("SECTION", section, "optimizers, models, participation, ...");
  list_command->add_option("NAME", name, "One plug-in");
  list_command->callback([&] { action = [&] { return List(section, name); }; });

  bool print = false;
  auto* validate_command = app.add_subcommand("validate", "Check a configuration without running it");
  add_config(validate_command);
  validate_command->add_flag("--print", print, "Print the effective configuration, defaults filled in");
  validate_command->callback([&] { action = [&] { return Validate(config, overrides, print); }; });

  DataArguments data;
  auto* data_command = app.add_subcommand("data", "Show how the data are dealt to clients");
  add_config(data_command);
  data_command->add_option("--svg", data.svg, "Write the picture as SVG to this file");
  data_command->add_option("--partition", data.partition,
                           "Write the partition as JSON, usable as pin.partition");
  data_command->callback([&] {
    action = [&] {
      data.config = config;
      data.overrides = overrides;
      return ShowData(data);
    };
  });

  AddSweep(app, action);
  AddCerts(app, action);
  AddCoordinator(app, action, flags);
  AddControl(app, action);
  AddHealth(app, action);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);  // --help
    std::fprintf(stderr, "muster: %s (see muster --help)\n", error.what());
    return 2;
  }
  const absl::Status status = action();
  if (status.ok()) return ExitCode(status);
  if (flags.log.format == LogFormat::kJson) {
    const LogEvent failed{.severity = Severity::kError, .name = "failed", .message = Message(status)};
    std::fputs(ToJsonLine(failed, /*federation=*/"", std::chrono::system_clock::now()).c_str(), stderr);
  } else {
    std::fprintf(stderr, "muster: %s\n", Message(status).c_str());
  }
  return ExitCode(status);
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  try {
    return muster::Run(argc, argv);
  } catch (const std::exception& error) {  // out of memory, mostly: everything else is a Status by now
    std::fprintf(stderr, "muster: %s\n", error.what());
    return 1;
  }
}
