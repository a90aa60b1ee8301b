#include "app/coordinator.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "app/commands.h"
#include "app/experiment.h"
#include "app/monitoring.h"
#include "app/run_directory.h"
#include "app/stop_on_signals.h"
#include "core/config.h"
#include "core/file.h"
#include "core/mutex.h"
#include "core/transport/credentials.h"
#include "server/service/control_service.h"
#include "server/service/remote_client_pool.h"
#include "server/service/server.h"
#include "server/service/shared_journal.h"
#include "simulation/torch_runtime.h"

namespace muster {
namespace {

constexpr char kFederationFact[] = "federation";  // the run's id, as clients know it
constexpr char kListenFact[] = "listen";
constexpr char kCertsFact[] = "certs";  // the folder; "" for plain text
constexpr double kGoodbyeSeconds = 10;

struct CoordinatorArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string listen;  // "": the configuration's
  std::string certs = "certs";
  bool insecure = false;
  std::string out;
};

// Where and how clients reach the coordinator.
struct Serving {
  std::string listen;
  std::string certs;  // "": plain text
};

std::string NewFederationId() {
  std::random_device random;
  return absl::StrFormat("%08x%08x", random(), random());
}

// The fact `key`, which is `value` from now on if the journal has none.
absl::StatusOr<std::string> FactOr(Journal& journal, const std::string& key, const std::string& value) {
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> known, journal.Get(key));
  if (known) return *known;
  MUSTER_RETURN_IF_ERROR(journal.Put(key, value));
  return value;
}

// Says who is there, once a second at most, and gives up on a round that a stop request waits for in vain.
class Watch {
 public:
  Watch(RemoteClientPool& pool, SimulatedFederation& federation, double patience_seconds, Log& log)
      : pool_(pool), federation_(federation), patience_seconds_(patience_seconds), log_(log), thread_([this] {
          Run();
        }) {}
  ~Watch() {
    {
      const MutexLock lock(&mutex_);
      done_ = true;
      wake_.NotifyAll();
    }
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  bool abandoned() const { return abandoned_.load(); }

 private:
  void Run() {
    constexpr double kPeriod = 0.25;
    int64_t told = 0;
    double since_told = 1, since_stop = 0;
    const MutexLock lock(&mutex_);
    while (!done_) {
      wake_.WaitFor(&mutex_, kPeriod);
      since_told += kPeriod;
      if (const int64_t now = pool_.connected(); now != told && since_told >= 1) {
        log_.Write({.name = "clients_connected",
                    .message = absl::StrCat(now, now == 1 ? " client" : " clients", " connected")});
        told = now;
        since_told = 0;
      }
      if (!federation_.stop_requested() || abandoned_.load()) continue;
      if (since_stop == 0) {
        log_.Write({.name = "stopping", .message = "stopping: the round in flight is finished first"});
      }
      since_stop += kPeriod;
      if (since_stop < patience_seconds_) continue;
      log_.Write({.severity = Severity::kWarning,
                  .name = "round_abandoned",
                  .message = "the round in flight does not end; it is left for 'muster resume' to do again"});
      abandoned_.store(true);
      pool_.Abandon();
    }
  }

  RemoteClientPool& pool_;
  SimulatedFederation& federation_;
  const double patience_seconds_;
  Log& log_;
  std::atomic<bool> abandoned_{false};
  Mutex mutex_;
  CondVar wake_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// What the transport has to say. gRPC may have a last word when all else is gone: the lines hold the log.
LogLine ConnectionLines(const std::shared_ptr<Log>& log) {
  return [log](std::string_view line) { log->Write({.name = "connection", .message = std::string(line)}); };
}

// What the certificates' folder holds for a coordinator; empty for plain text.
struct Security {
  std::shared_ptr<grpc::ServerCredentials> credentials;
  std::shared_ptr<AccessControl> access;
};
absl::StatusOr<Security> LoadSecurity(const std::string& certs, const std::shared_ptr<Log>& log) {
  if (certs.empty()) {
    log->Write({.severity = Severity::kWarning,
                .name = "plain_text",
                .message =
                    "plain text: anyone who reaches the port can take part and read models; use certificates "
                    "(muster certs) on any network that is not yours alone"});
    return Security{};
  }
  const LogLine line = ConnectionLines(log);
  MUSTER_ASSIGN_OR_RETURN(const TlsMaterial tls, LoadTls(TlsFilesIn(certs, "coordinator"), TlsRole::kServer));
  Security security;
  MUSTER_ASSIGN_OR_RETURN(security.access,
                          AccessControl::Open(AccessControl::FilesIn(certs), tls.authority, line));
  security.credentials = MakeServerCredentials(tls, security.access, line);
  return security;
}

// What clients do at this moment. Every state is named, so that one that empties shows 0.
Moment DescribeClients(const RemoteClientPool& pool) {
  constexpr int kMostClients = 2000;  // told of one by one
  Moment moment;
  moment.connected = {{"idle", 0}, {"offered", 0}, {"training", 0}, {"uploading", 0}, {"done", 0}};
  v1::Status status;
  pool.Describe(true, status);
  for (const v1::ClientStatus& client : status.clients()) {
    const auto known = moment.connected.find(client.state());
    if (known != moment.connected.end()) ++known->second;  // "gone" is not connected
    if (status.clients_size() <= kMostClients) moment.clients[client.client()] = client.state();
  }
  return moment;
}

// Serves the run in `dir` to its end, from wherever its journal is.
absl::Status Coordinate(const v1::Experiment& config, const Serving& serving, const std::string& dir,
                        Journal& single_journal, SimulatedFederation& federation, const RunFlags& flags,
                        std::chrono::steady_clock::time_point started) {
  const std::shared_ptr<Log> log = flags.OpenLog(config.name());
  MUSTER_ASSIGN_OR_RETURN(const Security security, LoadSecurity(serving.certs, log));
  SharedJournal journal(single_journal);
  MUSTER_ASSIGN_OR_RETURN(const std::string id, FactOr(journal, kFederationFact, NewFederationId()));
  MUSTER_RETURN_IF_ERROR(journal.Put(kListenFact, serving.listen));
  MUSTER_RETURN_IF_ERROR(journal.Put(kCertsFact, serving.certs));
  MUSTER_ASSIGN_OR_RETURN(const std::vector<RoundRecord> committed, CommittedRounds(journal));
  MUSTER_ASSIGN_OR_RETURN(auto spool, UpdateSpool::Open(dir + "/journal/spool", Durability::kProcess));

  const v1::Service& service = config.service();
  const int64_t clients = federation.data().clients();
  PoolOptions options;
  options.federation = id;
  options.name = config.name();
  options.clients = clients;
  options.min_clients = service.min_clients() > 0 ? service.min_clients() : clients;
  options.heartbeat_seconds = service.heartbeat_seconds();
  options.grace_seconds = service.grace_seconds();
  options.max_update_bytes = service.max_update_bytes();
  options.upload_permits = service.upload_permits();
  options.access = security.access;
  options.log = [log](const LogEvent& event) { log->Write(event); };
  MUSTER_ASSIGN_OR_RETURN(const auto pool, RemoteClientPool::Start(std::move(options), federation.layout(),
                                                                   journal, std::move(spool), committed));
  ControlService control(id, *pool,
                         {.engine = [&federation](const auto& use) { return federation.WithEngine(use); },
                          .stop = [&federation] { federation.RequestStop(); },
                          .parse_change = [&config](const auto& set) { return ParseChange(config, set); }},
                         security.credentials != nullptr);
  MUSTER_ASSIGN_OR_RETURN(const auto server,
                          CoordinatorServer::Start(serving.listen, security.credentials, *pool,
                                                   ConnectionLines(log), {&control}));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(dir + "/address", absl::StrCat(server->address(), "\n")));
  MUSTER_RETURN_IF_ERROR(
      journal.Put(kListenFact, server->address()));  // the port that clients know from now on
  log->Write({.name = "listening", .message = absl::StrCat("listening on ", server->address())});

  MUSTER_ASSIGN_OR_RETURN(const auto monitoring,
                          Monitoring::Start(flags.monitoring, config, dir, committed, federation, *log,
                                            /*failures_are_news=*/true));
  monitoring->SetClients(
      [&pool] {
        return Connections{DescribeClients(*pool).connected, pool->heartbeats()};
      },
      [&pool, &federation] {
        Moment moment = DescribeClients(*pool);
        moment.phase = PhaseOf(federation);
        return moment;
      });
  absl::Status status;
  bool abandoned = false;
  {
    const Watch watch(*pool, federation, service.grace_seconds(), *log);
    const auto rounds = [&](std::vector<RoundListener*> listeners) {
      listeners.push_back(&control);
      monitoring->AddTo(listeners);
      const StopOnSignals<SimulatedFederation, &SimulatedFederation::RequestStop> stop_on_signals(
          &federation);
      return federation.RunWith(*pool, &journal, std::move(listeners));
    };
    const absl::StatusOr<RunSummary> summary =
        RunInDirectory(config, dir, journal, federation, flags.progress(), started, rounds);
    if (summary.ok()) TellSummary(*summary, dir, *log);
    status = summary.status();
    abandoned = watch.abandoned();
    if (!abandoned) monitoring->Ended(status);
  }
  const bool restarting = federation.stop_requested();
  pool->SayGoodbye(!status.ok() && !abandoned ? "failed"
                   : restarting               ? "restarting"
                                              : "finished",
                   restarting);
  pool->WaitUntilEmpty(kGoodbyeSeconds);
  return abandoned && absl::IsCancelled(status) ? absl::OkStatus() : status;
}

absl::Status StartCoordinator(const CoordinatorArguments& arguments, const RunFlags& flags) {
  const auto started = std::chrono::steady_clock::now();
  MUSTER_ASSIGN_OR_RETURN(const ExperimentFile experiment,
                          LoadExperiment(arguments.config, arguments.overrides));
  const v1::Experiment& config = experiment.config;
  std::error_code error;
  Serving serving{.listen = arguments.listen.empty() ? config.service().listen() : arguments.listen,
                  .certs = ""};
  if (!arguments.insecure) {
    serving.certs = std::filesystem::absolute(arguments.certs, error).string();
    if (error) return InvalidInput(absl::StrCat("--certs ", arguments.certs, ": ", error.message()));
    MUSTER_RETURN_IF_ERROR(LoadTls(TlsFilesIn(serving.certs, "coordinator"), TlsRole::kServer).status());
  }
  // A coordinator that is started again, by a supervisor for instance, goes on with its run.
  const bool again = !arguments.out.empty() && std::filesystem::exists(arguments.out + "/journal", error);
  std::string dir = arguments.out;
  OpenedRun run;
  if (again) {
    MUSTER_ASSIGN_OR_RETURN(run, OpenRun(dir));
    if (ConfigToYaml(run.config) != ConfigToYaml(config)) {
      return InvalidInput(absl::StrCat("--out ", dir,
                                       ": holds a run of another configuration; go on with that one by "
                                       "'muster resume ",
                                       dir, "', or choose another folder"));
    }
  } else {
    MUSTER_ASSIGN_OR_RETURN(dir, ChooseRunDirectory(arguments.out, config.name()));
  }
  MUSTER_ASSIGN_OR_RETURN(const auto device, flags.device.Find());
  WarnAboutSlowBlas();
  const absl::StatusOr<std::unique_ptr<SimulatedFederation>> federation =
      SimulatedFederation::Create(config, WorkerCount(flags.workers), device);
  if (!federation.ok()) return Annotate(federation.status(), arguments.config);
  if (!again) {
    MUSTER_ASSIGN_OR_RETURN(run.journal, CreateRun(config, dir));
  }
  return Coordinate(config, serving, dir, *run.journal, **federation, flags, started);
}

}  // namespace

absl::StatusOr<bool> IsCoordinatorRun(Journal& journal) {
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> listen, journal.Get(kListenFact));
  return listen.has_value();
}

absl::Status ResumeCoordinator(const std::string& dir, const RunFlags& flags, Journal& journal,
                               const v1::Experiment& config) {
  const auto started = std::chrono::steady_clock::now();
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> listen, journal.Get(kListenFact));
  MUSTER_ASSIGN_OR_RETURN(const std::optional<std::string> certs, journal.Get(kCertsFact));
  MUSTER_ASSIGN_OR_RETURN(const auto device, flags.device.Find());
  WarnAboutSlowBlas();
  MUSTER_ASSIGN_OR_RETURN(const auto federation,
                          SimulatedFederation::Create(config, WorkerCount(flags.workers), device));
  return Coordinate(config, {.listen = listen.value_or(""), .certs = certs.value_or("")}, dir, journal,
                    *federation, flags, started);
}

void AddCoordinator(CLI::App& app, std::function<absl::Status()>& action, RunFlags& flags) {
  const auto arguments = std::make_shared<CoordinatorArguments>();
  auto* command = app.add_subcommand("coordinator", "Serve a federation of real clients");
  command->add_option("CONFIG", arguments->config, "Configuration file (YAML)")->required();
  command->add_option("--set", arguments->overrides, "Override one value: path=value")
      ->type_name("PATH=VALUE")
      ->take_all()
      ->expected(1);
  command->add_option("--listen", arguments->listen,
                      "HOST:PORT; port 0 takes a free one (default: service.listen)");
  auto* certs = command->add_option("--certs", arguments->certs,
                                    "Folder with ca.pem, coordinator.pem, coordinator.key (default: certs)");
  command->add_flag("--insecure", arguments->insecure, "Plain text, without any proof of identity")
      ->excludes(certs);
  command->add_option(
      "--out", arguments->out,
      "Run directory (default: runs/NAME, numbered if taken); one that holds this run is gone on with");
  flags.AddTo(command, "Threads that evaluate the model (default: one per core)");
  command->callback([&action, &flags, arguments] {
    action = [&flags, arguments] { return StartCoordinator(*arguments, flags); };
  });
}

}  // namespace muster
