#include "simulation/worker_group.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<int> Number(const char* name, int least, int most) {
  int value = 0;
  if (!absl::SimpleAtoi(Environment(name), &value) || value < least || value > most) {
    return InvalidInput(
        absl::StrCat(name, ": '", Environment(name), "' is no number from ", least, " to ", most));
  }
  return value;
}

// The variables that a launcher sets, and what else tells that it did.
struct Launcher {
  const char* rank;
  const char* size;
  const char* local_rank;
};
constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"},
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"}};

// A batch script of Slurm sees the job's number of tasks, but is itself no task of a step.
bool IsSlurmBatchScript() {
  return !Environment("SLURM_JOB_ID").empty() && Environment("SLURM_STEP_NUM_TASKS").empty();
}

std::string HostName() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

absl::StatusOr<std::optional<WorkerPlace>> PlaceFromEnvironment() {
  constexpr int kMostProcesses = 1 << 20;
  const Launcher* launcher =
      std::find_if(std::begin(kLaunchers), std::end(kLaunchers), [](const Launcher& l) {
        const bool slurm_job = std::string(l.size) == "SLURM_NTASKS";
        return !Environment(l.rank).empty() && !Environment(l.size).empty() &&
               !(slurm_job && IsSlurmBatchScript());
      });
  if (launcher == std::end(kLaunchers)) return std::nullopt;
  WorkerPlace place;
  MUSTER_ASSIGN_OR_RETURN(place.size, Number(launcher->size, 1, kMostProcesses));
  MUSTER_ASSIGN_OR_RETURN(place.rank, Number(launcher->rank, 0, place.size - 1));
  if (place.size == 1) return std::nullopt;
  if (!Environment(launcher->local_rank).empty()) {
    MUSTER_ASSIGN_OR_RETURN(place.local_rank, Number(launcher->local_rank, 0, place.size - 1));
  }
  place.host = Environment("MASTER_ADDR");
  if (place.host.empty()) {
    return InvalidInput(absl::StrCat("MASTER_ADDR: not set; ", launcher->size, " says that there are ",
                                     place.size,
                                     " processes, so set it to the host of rank 0 (and MASTER_PORT to a free "
                                     "port there)"));
  }
  constexpr int kMostPort = 65534;
  place.port = 29500;  // torchrun's
  if (!Environment("MASTER_PORT").empty()) {
    MUSTER_ASSIGN_OR_RETURN(place.port, Number("MASTER_PORT", 1, kMostPort));
  }
  // torchrun's agent keeps a store of its own at this port, for the LibTorch that it came with.
  if (Environment("TORCHELASTIC_USE_AGENT_STORE") == "True") ++place.port;
  return place;
}

absl::StatusOr<std::unique_ptr<WorkerGroup>> WorkerGroup::Open(WorkerGroupOptions options) {
  auto group = std::unique_ptr<WorkerGroup>(new WorkerGroup(std::move(options)));
  WorkerPlace& place = group->options_.place;
  MUSTER_ASSIGN_OR_RETURN(group->store_,
                          TcpStore::Open({.host = place.host,
                                          .port = place.port,
                                          .keeper = place.rank == 0,
                                          .deadline_seconds = group->options_.patience_seconds}));
  place.port = group->store_->port();
  group->options_.common["collective"] = group->options_.collective;
  group->able_ = group->MakeCollective(absl::StrCat("muster/alone/", place.rank), 0, 1).status();
  if (place.rank == 0) MUSTER_RETURN_IF_ERROR(group->able_);
  return group;
}

absl::StatusOr<std::unique_ptr<Collective>> WorkerGroup::MakeCollective(const std::string& prefix, int rank,
                                                                        int size) {
  return Registry<Collective>::Get().Create({.name = options_.collective, .options = {}},
                                            {.store = store_.get(),
                                             .prefix = prefix,
                                             .rank = rank,
                                             .size = size,
                                             .local_rank = options_.place.local_rank,
                                             .device = options_.device,
                                             .deadline_seconds = options_.patience_seconds});
}

std::string WorkerGroup::Key(const std::string& name) const {
  return absl::StrCat("muster/", generation_, "/", name);
}

v1::WorkerHello WorkerGroup::Hello() const {
  v1::WorkerHello hello;
  hello.set_world_size(options_.place.size);
  hello.set_threads(options_.threads);
  hello.set_host(HostName());
  for (const auto& [name, value] : options_.common) (*hello.mutable_common())[name] = value;
  if (!able_.ok()) hello.set_unable(Message(able_));
  return hello;
}

absl::Status WorkerGroup::Form(const std::set<int>& gone) {
  // Who dies while a later group is formed is missing in the next one.
  const int attempts = generation_ < 0 ? 1 : options_.place.size;
  absl::Status formed;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    if (collective_ != nullptr) collective_->Close();
    collective_.reset();
    ++generation_;
    formed = FormOnce(gone);
    if (formed.ok() || !connecting_failed_) break;
  }
  return formed;
}

absl::Status WorkerGroup::FormOnce(const std::set<int>& gone) {
  connecting_failed_ = false;
  const int self = options_.place.rank;
  MUSTER_ASSIGN_OR_RETURN(const v1::WorkerGroupVerdict verdict, self == 0 ? Judge(gone) : Come());
  if (!verdict.refused().empty()) return InvalidInput(verdict.refused());
  const auto place = std::find(verdict.members().begin(), verdict.members().end(), self);
  if (place == verdict.members().end()) {
    return absl::UnavailableError("rank 0 goes on without this worker: it was taken for dead");
  }
  absl::StatusOr<std::unique_ptr<Collective>> made = MakeCollective(
      Key("collective"), static_cast<int>(place - verdict.members().begin()), verdict.members_size());
  connecting_failed_ = !made.ok();
  MUSTER_RETURN_IF_ERROR(made.status());
  collective_ = *std::move(made);
  return absl::OkStatus();
}

absl::StatusOr<v1::WorkerGroupVerdict> WorkerGroup::Judge(const std::set<int>& gone) {
  absl::StatusOr<std::map<int, v1::WorkerHello>> hellos = Gather(gone);
  v1::WorkerGroupVerdict verdict;
  members_.clear();
  if (hellos.ok()) {
    for (const auto& [rank, hello] : *hellos) {
      verdict.add_members(rank);
      members_.push_back({rank, hello.threads(), hello.host()});
    }
  } else {
    verdict.set_refused(Message(hellos.status()));
  }
  MUSTER_RETURN_IF_ERROR(store_->Set(Key("verdict"), verdict.SerializeAsString()));
  if (hellos.ok()) return verdict;
  // The store goes with this process: those that came shall hear the verdict first.
  constexpr double kMostSeconds = 5;
  for (int rank = 1; rank < options_.place.size; ++rank) {
    MUSTER_ASSIGN_OR_RETURN(const bool came, store_->Has(Key(absl::StrCat("hello/", rank))));
    if (came) store_->Get(Key(absl::StrCat("heard/", rank)), kMostSeconds).status().IgnoreError();
  }
  return hellos.status();
}

absl::StatusOr<std::map<int, v1::WorkerHello>> WorkerGroup::Gather(const std::set<int>& gone) {
  std::map<int, v1::WorkerHello> hellos = {{0, Hello()}};
  std::set<int> missing;
  for (int rank = 1; rank < options_.place.size; ++rank) {
    if (!gone.contains(rank)) missing.insert(rank);
  }
  // Those that live come at once when a group is lost.
  constexpr double kMostAfterALoss = 5;
  const double seconds =
      generation_ == 0 ? options_.patience_seconds : std::min(options_.patience_seconds, kMostAfterALoss);
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (!missing.empty() && Clock::now() < end) {
    for (auto rank = missing.begin(); rank != missing.end();) {
      const std::string key = Key(absl::StrCat("hello/", *rank));
      MUSTER_ASSIGN_OR_RETURN(const bool came, store_->Has(key));
      if (!came) {
        rank = generation_ > 0 && options_.has_ended(*rank) ? missing.erase(rank) : std::next(rank);
        continue;
      }
      MUSTER_ASSIGN_OR_RETURN(const std::string text, store_->Get(key, options_.patience_seconds));
      v1::WorkerHello& hello = hellos[*rank];
      if (!hello.ParseFromString(text)) {
        return InvalidInput(absl::StrCat("worker ", *rank, " is no worker of this version of muster"));
      }
      MUSTER_RETURN_IF_ERROR(Check(*rank, hello));
      rank = missing.erase(rank);
    }
    if (generation_ == 0) MUSTER_RETURN_IF_ERROR(options_.still_hoping());
    if (!missing.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  if (generation_ == 0 && !missing.empty()) {
    return absl::UnavailableError(absl::StrCat("of ", options_.place.size, " processes (WORLD_SIZE) rank ",
                                               absl::StrJoin(missing, ", "), " did not come within ",
                                               options_.patience_seconds, " s"));
  }
  return hellos;
}

absl::Status WorkerGroup::Check(int rank, const v1::WorkerHello& hello) const {
  const std::string who = absl::StrCat("worker ", rank, " (on ", hello.host(), ")");
  if (hello.world_size() != options_.place.size) {
    return InvalidInput(absl::StrCat(who, " was started as one of ", hello.world_size(),
                                     " processes, rank 0 as one of ", options_.place.size,
                                     "; give all the same WORLD_SIZE"));
  }
  for (const auto& [name, value] : options_.common) {
    const auto theirs = hello.common().find(name);
    if (theirs == hello.common().end() || theirs->second != value) {
      return InvalidInput(
          absl::StrCat(who, " has another ", name,
                       " than rank 0; start all processes with the same program, configuration, --set, "
                       "--collective and data"));
    }
  }
  if (!hello.unable().empty()) return InvalidInput(absl::StrCat(who, ": ", hello.unable()));
  return absl::OkStatus();
}

absl::StatusOr<v1::WorkerGroupVerdict> WorkerGroup::Come() {
  const int rank = options_.place.rank;
  MUSTER_ASSIGN_OR_RETURN(const int64_t comers, store_->Count(Key(absl::StrCat("comers/", rank))));
  if (comers > 1) {
    return InvalidInput(
        absl::StrCat("rank ", rank, " is there already; give every process a RANK of its own"));
  }
  MUSTER_RETURN_IF_ERROR(store_->Set(Key(absl::StrCat("hello/", rank)), Hello().SerializeAsString()));
  // Rank 0 waits for the others, as long as it has patience.
  absl::StatusOr<std::string> text = store_->Get(Key("verdict"), 2 * options_.patience_seconds);
  if (absl::IsDeadlineExceeded(text.status())) {
    return absl::UnavailableError(
        absl::StrCat("rank 0 formed no group within ", 2 * options_.patience_seconds, " s"));
  }
  MUSTER_RETURN_IF_ERROR(text.status());
  MUSTER_RETURN_IF_ERROR(store_->Set(Key(absl::StrCat("heard/", rank)), "yes"));
  v1::WorkerGroupVerdict verdict;
  if (!verdict.ParseFromString(*text)) return InternalError("rank 0 said nothing understandable");
  return verdict;
}

}  // namespace muster
