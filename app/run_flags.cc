#include "app/run_flags.h"

#include <CLI/CLI.hpp>

namespace muster {

void LogFlags::AddTo(CLI::App* command) {
  command
      ->add_option_function<std::string>(
          "--log-format",
          [this](const std::string& name) { format = name == "json" ? LogFormat::kJson : LogFormat::kText; },
          "What standard error gets: lines for people, or one JSON object an event and nothing else")
      ->check(CLI::IsMember({"text", "json"}));
  command
      ->add_option_function<std::string>(
          "--log-level", [this](const std::string& name) { least = *SeverityNamed(name); },
          "Events less severe are not logged (default: info)")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
}

std::unique_ptr<Log> LogFlags::Open(const std::string& federation, bool progress_line) const {
  return std::make_unique<Log>(
      LogOptions{.format = format, .least = least, .progress_line = progress_line, .federation = federation});
}

void MonitoringFlags::AddTo(CLI::App* command) {
  command->add_option("--metrics", metrics, "Serve Prometheus metrics at this address, e.g. 127.0.0.1:9464")
      ->type_name("HOST:PORT");
  auto* page_option =
      command
          ->add_option_function<std::string>(
              "--page",
              [this](const std::string& address) {
                page = true;
                page_at = address;
              },
              "Serve the live page, and metrics beside it (default address: that of --metrics, or "
              "127.0.0.1:9464)")
          ->type_name("HOST:PORT")
          ->expected(0, 1);
  command
      ->add_option("--page-token-file", token_file,
                   "The page can also steer the run, for those who know the token in this file")
      ->type_name("FILE")
      ->needs(page_option);
}

void DeviceFlag::AddTo(CLI::App* command) {
  command
      ->add_option(
          "--device", name,
          "What computes losses and gradients: cpu (default), cuda:I, or cuda: the GPUs of a machine in "
          "turn, one for each process")
      ->type_name("DEVICE");
}

absl::StatusOr<std::shared_ptr<ComputeDevice>> DeviceFlag::Find(int local_rank) const {
  return ComputeDevice::Find(name, local_rank);
}

void RunFlags::AddTo(CLI::App* command, const std::string& workers_do) {
  command->add_option("--workers", workers, workers_do)->check(CLI::Range(1, 1024));
  auto* quiet_flag = command->add_flag("--quiet", quiet, "No progress, and errors only in the log");
  command->add_flag("--json", json, "Every committed round as one JSON line on standard output")
      ->excludes(quiet_flag);
  device.AddTo(command);
  monitoring.AddTo(command);
  log.AddTo(command);
}

ProgressMode RunFlags::progress() const {
  if (json) return ProgressMode::kJson;
  return quiet || log.format == LogFormat::kJson ? ProgressMode::kQuiet : ProgressMode::kAuto;
}

}  // namespace muster
