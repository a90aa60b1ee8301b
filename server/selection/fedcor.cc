// FedCor: the clients whose progress tells most about everybody's.
#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

#include "core/statistics.h"
#include "server/selection/client_numbers.h"
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

struct FedCorOptions {
  int64_t warmup_rounds = 12;
  double discount = 0.95;
  int64_t window = 50;
};

// The clients' loss changes in a round are taken as jointly normal, with covariance K (a Gaussian process
// with a linear kernel). Training a client i moves its own loss by some of its standard deviations, and with
// it the losses of all by what they are correlated with it; the expected fall of the global loss sum_j p_j
// l_j is largest for
//
//   argmax_i  discount^(T_i)  sum_j p_j K_ji / sqrt(K_ii)
//
// (equations 10 and 11; p_j: j's share of the samples, T_i: how often i took part). The client's own change
// is then known: K <- K - K_.i K_i. / K_ii, and the next one is chosen, until the cohort is full. No chance
// in it.
//
// The paper trains the kernel's embedding of the clients by gradient descent, on losses that all clients
// report. Here a client's embedding is what was seen of it: its last changes of loss, one for each of the
// last `window` rounds (per round between two tellings; 0 where it told none), on top of noise of their mean
// variance, which makes K = noise I + Z Z' / window positive definite. Of a client that told no change only
// the noise is known: neither correlated with anyone nor certain. In the first `warmup_rounds` rounds clients
// are drawn uniformly.
class FedCor final : public Selector {
 public:
  explicit FedCor(const FedCorOptions& options) : options_(options) {}

  SelectorNeeds Needs() const override { return {.statistics = {statistics::kLoss}}; }

  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    if (round_ + 1 < options_.warmup_rounds || changes_.empty()) {
      const std::vector<double> even(candidates.size(), 1);
      return IdsAt(DrawWeighted(count, even, random), candidates);
    }
    return IdsAt(Greedy(count, candidates), candidates);
  }

  void Observe(const SelectorRound& round) override {
    round_ = round.round;
    for (const ClientInfo& client : round.cohort) {
      const auto [row, made] = clients_.try_emplace(client.id, std::array{0.0, std::nan(""), 0.0});
      ++row->second[kVisits];
    }
    std::map<ClientId, double> changes;
    for (const ClientReport& report : round.reports) {
      const std::optional<double> loss = Told(report, statistics::kLoss);
      if (!loss) continue;
      std::array<double, 3>& client = clients_[report.client.id];
      const double rounds = static_cast<double>(round.round) - client[kToldAt];
      if (!std::isnan(client[kLoss]) && rounds > 0) {
        changes[report.client.id] = (*loss - client[kLoss]) / rounds;
      }
      client[kLoss] = *loss;
      client[kToldAt] = static_cast<double>(round.round);
    }
    if (changes.empty()) return;
    changes_.push_back(std::move(changes));
    if (static_cast<int64_t>(changes_.size()) > options_.window) changes_.pop_front();
  }

  std::string Save() const override {
    nlohmann::json rounds = nlohmann::json::array();
    for (const auto& changes : changes_) {
      nlohmann::json& row = rounds.emplace_back(nlohmann::json::array());
      for (const auto& [id, change] : changes) row.push_back({id, change});
    }
    return nlohmann::json({{"numbers", SaveClientNumbers(round_, clients_)}, {"changes", std::move(rounds)}})
        .dump();
  }
  absl::Status Load(const std::string& state) override {
    try {
      const nlohmann::json json = nlohmann::json::parse(state);
      std::deque<std::map<ClientId, double>> changes;
      for (const nlohmann::json& row : json.at("changes")) {
        changes.emplace_back();
        for (const nlohmann::json& entry : row) {
          changes.back()[entry.at(0).get<ClientId>()] = entry.at(1).get<double>();
        }
      }
      MUSTER_RETURN_IF_ERROR(LoadClientNumbers(json.at("numbers").get<std::string>(), round_, clients_));
      changes_ = std::move(changes);
      return absl::OkStatus();
    } catch (const nlohmann::json::exception& error) {
      return InvalidInput(absl::StrCat("the selector's state is damaged: ", error.what()));
    }
  }

 private:
  enum { kVisits, kLoss, kToldAt };

  // With K in factors: columns are worked out when a client is chosen, O(M (window + count)) each.
  std::vector<size_t> Greedy(int64_t count, std::span<const ClientInfo> candidates) const {
    const size_t clients = candidates.size(), rounds = changes_.size();
    std::vector<double> z(clients * rounds);  // Z / sqrt(rounds)
    double squares = 0, told = 0;
    for (size_t r = 0; r < rounds; ++r) {
      for (const auto& [id, change] : changes_[r]) {
        squares += change * change;
        ++told;
        const ClientInfo* place = FindClient(candidates, id);
        if (place == nullptr) continue;
        z[static_cast<size_t>(place - candidates.data()) * rounds + r] =
            change / std::sqrt(static_cast<double>(rounds));
      }
    }
    const double noise = std::max(squares / told, 1e-12);
    double samples = 0;
    for (const ClientInfo& client : candidates) samples += static_cast<double>(client.num_samples);
    std::vector<double> share(clients), variance(clients, noise);
    for (size_t i = 0; i < clients; ++i) {
      share[i] = samples > 0 ? static_cast<double>(candidates[i].num_samples) / samples
                             : 1 / static_cast<double>(clients);
      for (size_t r = 0; r < rounds; ++r) variance[i] += z[i * rounds + r] * z[i * rounds + r];
    }
    // sum_j p_j K_ji, for all i.
    std::vector<double> common(rounds), gain(clients);
    for (size_t j = 0; j < clients; ++j) {
      for (size_t r = 0; r < rounds; ++r) common[r] += share[j] * z[j * rounds + r];
    }
    for (size_t i = 0; i < clients; ++i) {
      gain[i] = noise * share[i];
      for (size_t r = 0; r < rounds; ++r) gain[i] += common[r] * z[i * rounds + r];
    }
    std::vector<std::vector<double>>
        known;  // K_.i / sqrt(K_ii) of those chosen: K loses their outer products
    std::vector<size_t> chosen;
    std::vector<bool> taken(clients);
    while (static_cast<int64_t>(chosen.size()) < count) {
      size_t best = clients;
      double most = 0;
      for (size_t i = 0; i < clients; ++i) {
        if (taken[i]) continue;
        const double score = Annealing(candidates[i].id) * gain[i] / std::sqrt(std::max(variance[i], 1e-300));
        if (best == clients || score > most) {
          best = i;
          most = score;
        }
      }
      taken[best] = true;
      chosen.push_back(best);
      std::vector<double> column(clients);
      const double scale = 1 / std::sqrt(std::max(variance[best], 1e-300));
      double moved = 0;
      for (size_t j = 0; j < clients; ++j) {
        double covariance = j == best ? noise : 0;
        for (size_t r = 0; r < rounds; ++r) covariance += z[j * rounds + r] * z[best * rounds + r];
        for (const std::vector<double>& other : known) covariance -= other[j] * other[best];
        column[j] = covariance * scale;
        moved += share[j] * column[j];
      }
      for (size_t j = 0; j < clients; ++j) {
        variance[j] -= column[j] * column[j];
        gain[j] -= moved * column[j];
      }
      known.push_back(std::move(column));
    }
    return chosen;
  }

  double Annealing(ClientId client) const {
    const auto known = clients_.find(client);
    return std::pow(options_.discount, known == clients_.end() ? 0 : known->second[kVisits]);
  }

  const FedCorOptions options_;
  int64_t round_ = -1;
  ClientNumbers<3> clients_;                        // visits, the loss told last, when
  std::deque<std::map<ClientId, double>> changes_;  // of the last rounds in which somebody told one
};

MUSTER_REGISTER(
    Selector,
    Plugin<FedCorOptions>("fedcor",
                          "Those whose loss changes are correlated with everybody's; needs local_loss. Told "
                          "none: uncorrelated",
                          "Tang et al. 2022, arXiv:2103.13822, equations 10 and 11")
        .Option("warmup_rounds", &FedCorOptions::warmup_rounds,
                "first rounds, in which clients are drawn uniformly", AtLeast(1))
        .Option("discount", &FedCorOptions::discount,
                "beta: what a client's gain is multiplied with each time it takes part", AboveUpTo(0, 1))
        .Option("window", &FedCorOptions::window, "rounds whose loss changes are remembered",
                Between(1, 1000))
        .Make<FedCor>());

}  // namespace
}  // namespace muster
