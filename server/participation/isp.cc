// ISP, Intelligent Selection of Participants: finds the smallest number of clients whose joint step still
// lowers the loss. Skorik et al. 2025, "Communication-Efficient Federated Learning with Adaptive Number of
// Participants", arXiv:2508.13803, with the details the paper leaves open as in the authors' code (ISPFL,
// src/federated_methods/ISP).
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/participation/policy.h"

namespace muster {
namespace {

struct IspOptions {
  int64_t initial_clients = 20;
  int64_t period = 20;
  int64_t subsets = 10;
  int64_t step = 1;
  double momentum = 0.5;
  bool ema = true;
  int64_t warmup_rounds = 12;
  int64_t warmup_epochs = 3;
  std::string probe = "all";
  int64_t probe_clients = 0;
  int64_t fallback_clients = 0;
  std::string candidates = "fresh";
  std::string rounding = "up";
};

constexpr int64_t kMaxRememberedBytes = int64_t{256} << 20;

// The rule (the paper's problem at round tau):
//
//   m_{tau+1} = min m  subject to  E_{C ~ S_tau(m)} [ f(x_tau + Agg{Delta_i : i in C}) ] - f_ref < 0
//
// The first `warmup_rounds` rounds and then one round in every `period` (a probe) ask many clients. A probe's
// updates are kept; subsets of them of size 1, 1 + step, ... are tried out on the trust set until one size is
// expected to make progress, and m moves towards that size. Only the probe costs communication, the search
// moves no bytes.
//
//   symbol      here                        symbol      here
//   x_tau       the model a probe started   m           clients_, of ordinary rounds
//   Delta_i     update of a kept client     m0          initial_clients
//   f           loss on the trust set       Delta       period
//   f_ref       *reference_                 S           subsets
//   S_tau(m)    the run's selector          omega       step
//   M           all available clients       beta        momentum
//   T0          warmup_rounds               E_w         warmup_epochs
//   B_full      ProbeClients()              H           folded into reference_, see Remember()
//   mh          clients_ and searches_: its last entry is clients_ once searches_ > 0
//
// When the search runs: the authors' code searches at the start of the round after the probe, with the model
// saved from before the probe's aggregation. Here it runs in Observe(), right after that aggregation was
// applied and before the round is committed. The same numbers enter: f_ref leaves out the loss of the model
// after the probe, so H up to and including the start of the probe round is all of it, and KeptUpdates holds
// the model the probe started from. But nothing kept has to survive the commit, so a resumed run goes on to
// the same bits.
//
// Updates weigh the same, in rounds and in candidates, as in the authors' code. By default candidates come
// from the clients of the probe at hand only, as in the paper's problem. With `candidates: stale` (a mode of
// the code of 2026) they come from all clients: of those that were not in the probe the last update of an
// earlier round, of those never seen an update of zero. All last updates are remembered then, 4 bytes an
// element and client, at most kMaxRememberedBytes; else a probe's updates alone are kept, for the length of
// the round and as they came (see Answers).
class Isp final : public ParticipationPolicy {
 public:
  static absl::StatusOr<std::unique_ptr<ParticipationPolicy>> Create(const IspOptions& options,
                                                                     const Context& context) {
    if (!context.has_trust_set) {
      return InvalidInput("name: isp needs a trust set; set data.trust.samples, e.g. 1000");
    }
    if (options.candidates == "stale" && context.model_bytes > 0 &&
        context.clients > kMaxRememberedBytes / context.model_bytes) {
      return InvalidInput(
          absl::StrCat("candidates: stale remembers the last update of every client: ", context.clients,
                       " of ", context.model_bytes, " bytes are more than the ", kMaxRememberedBytes,
                       " that are kept; use fresh"));
    }
    return std::unique_ptr<ParticipationPolicy>(new Isp(options, context));
  }

  absl::StatusOr<Decision> Next(const BeforeRound& round) override {
    MUSTER_ASSIGN_OR_RETURN(const double loss, round.trust_loss());
    Remember(loss);
    Decision decision;
    decision.uniform_weights = true;
    decision.keep_updates = IsProbe(round.round);
    decision.remember_updates = options_.candidates == "stale";
    if (round.round < options_.warmup_rounds) {
      decision.clients = ProbeClients(round.available);
      decision.epochs = options_.warmup_epochs;
      decision.reason = "warm-up";
    } else if (decision.keep_updates) {
      decision.clients = ProbeClients(round.available);
      decision.reason = "probe";
    } else {
      decision.clients = std::min(clients_, round.available);
      decision.reason = searches_ > 0 ? "search" : "initial";
    }
    return decision;
  }

  absl::StatusOr<std::optional<SearchRecord>> Observe(const AfterRound& round) override {
    MUSTER_ASSIGN_OR_RETURN(std::optional<SearchRecord> record, SearchAfter(round));
    ++rounds_;
    uploads_ += round.uploads;
    upload_bytes_ += round.upload_bytes;
    return record;
  }

  std::optional<double> last_trust_loss() const override { return last_trust_loss_; }

  // What m0 clients a round would have sent by now, at the mean size of the updates so far, less what was
  // sent.
  std::optional<int64_t> saved_bytes() const override {
    if (uploads_ == 0) return std::nullopt;
    const int64_t fixed = std::min(options_.initial_clients, federation_clients_);
    const double mean = static_cast<double>(upload_bytes_) / static_cast<double>(uploads_);
    return std::llround(mean * static_cast<double>(fixed * rounds_)) - upload_bytes_;
  }

  std::string Save() const override {
    nlohmann::json state = {{"clients", clients_}, {"searches", searches_}, {"reference_loss", nullptr},
                            {"rounds", rounds_},   {"uploads", uploads_},   {"upload_bytes", upload_bytes_}};
    if (reference_) state["reference_loss"] = *reference_;  // written with as many digits as its bits need
    return state.dump();
  }

  absl::Status Load(const std::string& state) override {
    const auto json = nlohmann::json::parse(state, /*cb=*/nullptr, /*allow_exceptions=*/false);
    const auto integer = [&json](const char* key) {
      return json.contains(key) && json[key].is_number_integer();
    };
    const bool shaped = json.is_object() && json.size() == 6 && integer("clients") && integer("searches") &&
                        integer("rounds") && integer("uploads") && integer("upload_bytes") &&
                        json.contains("reference_loss") &&
                        (json["reference_loss"].is_null() || json["reference_loss"].is_number());
    if (!shaped) return InvalidInput("isp state is damaged: not the object Save() wrote");
    const auto clients = json["clients"].get<int64_t>();
    const auto searches = json["searches"].get<int64_t>();
    if (clients < 1 || clients > federation_clients_ || searches < 0) {
      return InvalidInput(absl::StrCat("isp state is damaged or of another federation: ", clients,
                                       " clients of ", federation_clients_, ", ", searches, " searches"));
    }
    clients_ = clients;
    searches_ = searches;
    rounds_ = json["rounds"].get<int64_t>();
    uploads_ = json["uploads"].get<int64_t>();
    upload_bytes_ = json["upload_bytes"].get<int64_t>();
    reference_.reset();
    if (!json["reference_loss"].is_null()) reference_ = json["reference_loss"].get<double>();
    last_trust_loss_.reset();
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::optional<SearchRecord>> SearchAfter(const AfterRound& round) {
    // Without updates, or without one finite loss to compare with, a probe tells nothing: m stays.
    if (!IsProbe(round.round) || round.kept == nullptr || round.kept->clients.empty() || !reference_) {
      return std::nullopt;
    }
    SearchRecord record;
    record.reference_loss = *reference_;
    record.previous = clients_;
    MUSTER_RETURN_IF_ERROR(Search(round, record));
    record.chosen = Choose(record.found);
    record.why = Explain(record);
    clients_ = record.chosen;
    ++searches_;
    return record;
  }

  Isp(const IspOptions& options, const Context& context)
      : options_(options),
        federation_clients_(std::max<int64_t>(context.clients, 1)),
        clients_(std::min(options.initial_clients, federation_clients_)) {}

  bool IsProbe(int64_t round) const {
    return round >= options_.warmup_rounds && (round - options_.warmup_rounds) % options_.period == 0;
  }

  // B_full: clients of warm-up and probe rounds.
  int64_t ProbeClients(int64_t available) const {
    if (options_.probe_clients > 0) return std::min(options_.probe_clients, available);
    return options_.probe == "double" ? std::min(2 * clients_, available) : available;
  }

  // Appends to H and reduces it to f_ref at once, so that the history takes no room: the exponential moving
  // average over all losses so far, pandas' ewm(span=period, adjust=False), or just the last loss without
  // `ema`. A loss that is not finite (a model that has diverged) is left out: it would stay in the average
  // for ever.
  void Remember(double loss) {
    last_trust_loss_ = loss;
    if (!std::isfinite(loss)) return;
    const double weight = 2.0 / (static_cast<double>(options_.period) + 1);
    reference_ = options_.ema && reference_ ? weight * loss + (1 - weight) * *reference_ : loss;
  }

  // Tries sizes in ascending order up to the first with positive expected progress; fills `candidates` and
  // `found`. Sizes end at the number of clients that answered.
  absl::Status Search(const AfterRound& round, SearchRecord& record) const {
    const auto kept = static_cast<int64_t>(round.kept->clients.size());
    for (int64_t size = 1; size <= std::min(round.accepted, kept); size += options_.step) {
      MUSTER_ASSIGN_OR_RETURN(const std::optional<double> loss, ExpectedLoss(round, size));
      if (!loss) break;
      record.candidates.push_back({size, *loss});
      if (*reference_ - *loss > 0) {  // false for NaN
        record.found = size;
        break;
      }
    }
    return absl::OkStatus();
  }

  // Mean trust loss of the candidates of `subsets` subsets of `size` kept clients, drawn as the selector
  // draws; nullopt where it knows that fewer are there.
  absl::StatusOr<std::optional<double>> ExpectedLoss(const AfterRound& round, int64_t size) const {
    const std::vector<ClientInfo>& kept = round.kept->clients;
    // Of all who answered there is one subset only.
    const int64_t subsets = size == static_cast<int64_t>(kept.size()) ? 1 : options_.subsets;
    double sum = 0;
    for (int64_t s = 0; s < subsets; ++s) {
      // Its own stream for every (size, subset): how many sizes were tried before cannot show in the draw.
      Random random({.seed = round.seed,
                     .purpose = Purpose::kCandidates,
                     .round = static_cast<uint64_t>(round.round),
                     .client = static_cast<uint64_t>(size) * 1'000'003 + static_cast<uint64_t>(s)});
      MUSTER_ASSIGN_OR_RETURN(const std::vector<ClientId> drawn, round.selector->Select(size, kept, random));
      if (static_cast<int64_t>(drawn.size()) < size) return std::nullopt;
      std::vector<size_t> subset;
      for (const ClientId id : drawn) {
        const ClientInfo* place = FindClient(kept, id);
        if (place == nullptr) {
          return InternalError(absl::StrCat("the selector drew client ", id, ", which is no candidate"));
        }
        subset.push_back(static_cast<size_t>(place - kept.data()));
      }
      std::sort(subset.begin(), subset.end());
      MUSTER_ASSIGN_OR_RETURN(const std::vector<float> candidate, round.kept->candidate(subset));
      MUSTER_ASSIGN_OR_RETURN(const double loss, round.trust_loss(candidate));
      sum += loss;
    }
    return sum / static_cast<double>(subsets);
  }

  // m from the next round on, given the size found (0: none).
  int64_t Choose(int64_t found) const {
    if (searches_ == 0) {
      if (found > 0) return found;
      return options_.fallback_clients > 0 ? std::min(options_.fallback_clients, federation_clients_)
                                           : clients_;
    }
    if (found == 0) return clients_;
    // (1 - beta) m + beta found, by default rounded up: truncation can never climb from 2 to 3 with beta =
    // 0.5. The small slack keeps rounding errors of the product from adding or losing a client.
    const double moved =
        static_cast<double>(clients_) + options_.momentum * static_cast<double>(found - clients_);
    const double rounded = options_.rounding == "up" ? std::ceil(moved - 1e-9) : std::floor(moved + 1e-9);
    return std::clamp<int64_t>(static_cast<int64_t>(rounded), 1, federation_clients_);
  }

  // The search in words. Before its result is taken over.
  std::string Explain(const SearchRecord& record) const {
    const auto clients = [](int64_t n) { return absl::StrCat(n, n == 1 ? " client" : " clients"); };
    const std::string reference = absl::StrCat(
        "the reference ", record.reference_loss,
        options_.ema ? " (moving average of the losses before the probe)" : " (before the probe)");
    std::string why;
    if (record.candidates.empty()) {
      why = "no size could be tried";
    } else if (record.found > 0) {
      why = absl::StrCat(clients(record.found), record.found == 1 ? " brings" : " bring",
                         " the expected loss to ", record.candidates.back().loss, ", below ", reference);
      if (record.candidates.size() > 1) {
        const Candidate& last = record.candidates[record.candidates.size() - 2];
        absl::StrAppend(&why, "; fewer do not (", clients(last.clients), ": ", last.loss, ")");
      }
    } else {
      absl::StrAppend(&why, "no size up to ", record.candidates.back().clients, " brings the expected loss (",
                      record.candidates.back().loss, ") below ", reference);
    }
    if (record.found == 0) {
      return absl::StrCat(why, searches_ == 0 ? "; first search: m = " : "; m stays ", record.chosen);
    }
    if (searches_ == 0) return absl::StrCat(why, "; first search: m = ", record.chosen);
    return absl::StrCat(why, "; m = ", record.previous, " + ", options_.momentum, " (", record.found, " - ",
                        record.previous, "), rounded ", options_.rounding, ", = ", record.chosen);
  }

  const IspOptions options_;
  const int64_t federation_clients_;
  // What Save() holds.
  int64_t clients_;
  int64_t searches_ = 0;
  std::optional<double> reference_;
  int64_t rounds_ = 0, uploads_ = 0, upload_bytes_ = 0;  // so far
  // Of the round at hand only.
  std::optional<double> last_trust_loss_;
};

MUSTER_REGISTER(
    ParticipationPolicy,
    Plugin<IspOptions>("isp",
                       "ISP: the smallest number of clients whose joint step still lowers the trust loss",
                       "Skorik et al. 2025, arXiv:2508.13803")
        .Option("initial_clients", &IspOptions::initial_clients, "m0: cohort size before the first search",
                AtLeast(1))
        .Option("period", &IspOptions::period,
                "Delta: rounds from one probe to the next; also the average's span", AtLeast(1))
        .Option("subsets", &IspOptions::subsets,
                "S: subsets tried for each size; 1 suffices for selectors without chance", Between(1, 1e6))
        .Option("step", &IspOptions::step, "omega: step from one tried size to the next", Between(1, 1e6))
        .Option("momentum", &IspOptions::momentum,
                "beta: how far m moves to the size found; 1 moves all the way", AboveUpTo(0, 1))
        .Option("ema", &IspOptions::ema,
                "compare with a moving average of past losses (f_ref); false: with the loss before the probe "
                "only")
        .Option("warmup_rounds", &IspOptions::warmup_rounds,
                "T0: first rounds, run with as many clients as a probe; scale it with the length of the run",
                AtLeast(0))
        .Option("warmup_epochs", &IspOptions::warmup_epochs,
                "E_w: local epochs in warm-up rounds; 0: training.epochs", AtLeast(0))
        .Option("probe", &IspOptions::probe,
                "B_full, clients of a probe: all of them, or double the current number (code of 2026)",
                OneOf({"all", "double"}))
        .Option("probe_clients", &IspOptions::probe_clients,
                "B_full as a constant number of clients; 0: as `probe` says", AtLeast(0))
        .Option("fallback_clients", &IspOptions::fallback_clients,
                "m if the very first search finds none (the authors' 20); 0: initial_clients", AtLeast(0))
        .Option("candidates", &IspOptions::candidates,
                "fresh: made of the probe's updates; stale: of every client's last one, zero if never seen",
                OneOf({"fresh", "stale"}))
        .Option("rounding", &IspOptions::rounding,
                "of m on its way to the size found; down (the paper-era code) cannot climb by one",
                OneOf({"up", "down"}))
        .Make<Isp>());

}  // namespace
}  // namespace muster
