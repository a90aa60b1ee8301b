// Oort: clients that teach most, and are not too slow for it.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/statistics.h"
#include "server/selection/client_numbers.h"
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

struct OortOptions {
  double exploration = 0.9;
  double exploration_decay = 0.98;
  double min_exploration = 0.2;
  double cutoff = 0.95;
  double clip = 0.95;
  double straggler_penalty = 2;
  double preferred = 0.3;
  double pacer_step = 0.05;
  int64_t pacer_rounds = 20;
};

// The utility of a client i that has taken part (algorithm 1 of the paper, as its code scales it):
//
//   U_i  =  n_i sqrt(mean of its samples' squared losses), clipped at a quantile, as a share of the largest
//   Util = (U_i + sqrt(0.1 ln t / t_i)) (T / d_i)^penalty      the last factor only where d_i > T
//
// t is the round and t_i the one it took part in last (a bonus for staleness), d_i its duration, T the
// preferred one: a quantile of the durations known, which the pacer moves up when the utility collected in
// the last `pacer_rounds` rounds is below that of those before. Durations are counted in optimiser steps, not
// in seconds, so that a run repeats to the bit. Of a cohort the share `exploration` (falling by a factor
// every round) goes to clients that never took part, drawn by size; the others are drawn in proportion to
// their utility among those whose utility reaches `cutoff` times that of the last place. A client that does
// not tell its loss has the mean of the U known.
class Oort final : public Selector {
 public:
  explicit Oort(const OortOptions& options) : options_(options) {}

  SelectorNeeds Needs() const override { return {.statistics = {statistics::kLossRms}}; }

  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    std::vector<size_t> explored, unexplored;
    for (size_t i = 0; i < candidates.size(); ++i) {
      (clients_.contains(candidates[i].id) ? explored : unexplored).push_back(i);
    }
    const auto wanted = static_cast<int64_t>(std::llround(Exploration() * static_cast<double>(count)));
    const auto fresh = std::min(static_cast<int64_t>(unexplored.size()),
                                std::max(wanted, count - static_cast<int64_t>(explored.size())));
    std::vector<size_t> places = Exploit(count - fresh, explored, candidates, random);
    std::vector<double> sizes;
    for (const size_t place : unexplored) sizes.push_back(static_cast<double>(candidates[place].num_samples));
    for (const size_t i : DrawWeighted(fresh, sizes, random)) places.push_back(unexplored[i]);
    return IdsAt(places, candidates);
  }

  void Observe(const SelectorRound& round) override {
    round_ = round.round;
    for (const ClientInfo& client : round.cohort) {
      const auto [row, made] = clients_.try_emplace(client.id, std::array{std::nan(""), 0.0, std::nan("")});
      row->second[kRound] = static_cast<double>(round.round + 1);
    }
    for (const ClientReport& report : round.reports) {
      std::array<double, 3>& client = clients_[report.client.id];
      const std::optional<double> rms = Told(report, statistics::kLossRms);
      client[kUtility] = rms ? static_cast<double>(report.client.num_samples) * *rms : std::nan("");
      client[kSteps] = static_cast<double>(report.steps);
      if (rms) collected_ += client[kUtility];
    }
    if ((round.round + 1) % options_.pacer_rounds != 0) return;
    if (collected_ < collected_before_) preferred_ = std::min(1.0, preferred_ + options_.pacer_step);
    collected_before_ = collected_;
    collected_ = 0;
  }

  std::string Save() const override {
    return nlohmann::json({{"numbers", SaveClientNumbers(round_, clients_)},
                           {"pacer", {preferred_, collected_, collected_before_}}})
        .dump();
  }
  absl::Status Load(const std::string& state) override {
    try {
      const nlohmann::json json = nlohmann::json::parse(state);
      const auto pacer = json.at("pacer").get<std::array<double, 3>>();
      MUSTER_RETURN_IF_ERROR(LoadClientNumbers(json.at("numbers").get<std::string>(), round_, clients_));
      preferred_ = pacer[0];
      collected_ = pacer[1];
      collected_before_ = pacer[2];
      return absl::OkStatus();
    } catch (const nlohmann::json::exception& error) {
      return InvalidInput(absl::StrCat("the selector's state is damaged: ", error.what()));
    }
  }

 private:
  enum { kUtility, kRound, kSteps };

  double Exploration() const {
    return std::max(
        options_.min_exploration,
        options_.exploration * std::pow(options_.exploration_decay, static_cast<double>(round_ + 1)));
  }

  // The value below which the share `q` of `values` lies; NaN of none.
  static double Quantile(std::vector<double> values, double q) {
    if (values.empty()) return std::nan("");
    std::sort(values.begin(), values.end());
    const auto place = static_cast<size_t>(q * static_cast<double>(values.size()));
    return values[std::min(place, values.size() - 1)];
  }

  std::vector<size_t> Exploit(int64_t count, std::span<const size_t> explored,
                              std::span<const ClientInfo> candidates, Random& random) const {
    if (count == 0) return {};
    const std::vector<double> utilities = Utilities(explored, candidates);
    std::vector<double> sorted = utilities;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double least = options_.cutoff * sorted[static_cast<size_t>(count) - 1];
    std::vector<size_t> eligible;
    std::vector<double> weights;
    for (size_t i = 0; i < explored.size(); ++i) {
      if (utilities[i] < least) continue;
      eligible.push_back(explored[i]);
      weights.push_back(utilities[i]);
    }
    std::vector<size_t> places;
    for (const size_t i : DrawWeighted(count, weights, random)) places.push_back(eligible[i]);
    return places;
  }

  std::vector<double> Utilities(std::span<const size_t> explored,
                                std::span<const ClientInfo> candidates) const {
    std::vector<double> known, durations;
    for (const auto& [id, client] : clients_) {
      if (!std::isnan(client[kUtility])) known.push_back(client[kUtility]);
      if (!std::isnan(client[kSteps])) durations.push_back(client[kSteps]);
    }
    const double mean =
        known.empty() ? 0
                      : std::accumulate(known.begin(), known.end(), 0.0) / static_cast<double>(known.size());
    const double most = known.empty() ? 0 : Quantile(std::move(known), options_.clip);
    const double preferred = Quantile(std::move(durations), preferred_);
    const double now = static_cast<double>(round_ + 2);
    std::vector<double> utilities;
    for (const size_t place : explored) {
      const std::array<double, 3>& client = clients_.at(candidates[place].id);
      const double told = std::isnan(client[kUtility]) ? mean : client[kUtility];
      double utility = most > 0 ? std::min(told, most) / most : 0;
      utility += std::sqrt(0.1 * std::log(now) / client[kRound]);
      if (client[kSteps] > preferred) {  // false where one of them is not known
        utility *= std::pow(preferred / client[kSteps], options_.straggler_penalty);
      }
      utilities.push_back(utility);
    }
    return utilities;
  }

  const OortOptions options_;
  int64_t round_ = -1;
  ClientNumbers<3> clients_;  // U_i, t_i (from 1), d_i
  double preferred_ = options_.preferred;
  double collected_ = 0;         // utility in this window of the pacer,
  double collected_before_ = 0;  // and in the one before
};

MUSTER_REGISTER(
    Selector,
    Plugin<OortOptions>(
        "oort",
        "By loss, staleness and duration, in steps; needs local_loss_rms. Told none: the mean loss "
        "utility",
        "Lai et al. 2021, arXiv:2010.06081, algorithm 1")
        .Option("exploration", &OortOptions::exploration,
                "share of the first cohort for clients that never took part", Between(0, 1))
        .Option("exploration_decay", &OortOptions::exploration_decay, "its factor from round to round",
                AboveUpTo(0, 1))
        .Option("min_exploration", &OortOptions::min_exploration, "below which it does not fall",
                Between(0, 1))
        .Option("cutoff", &OortOptions::cutoff,
                "c: share of the last place's utility that a client must reach", Between(0, 1))
        .Option("clip", &OortOptions::clip, "quantile at which loss utilities are clipped", AboveUpTo(0, 1))
        .Option("straggler_penalty", &OortOptions::straggler_penalty,
                "alpha: exponent for clients that take longer than preferred; 0: none", AtLeast(0))
        .Option("preferred", &OortOptions::preferred, "quantile of the durations that is preferred at first",
                Between(0, 1))
        .Option("pacer_step", &OortOptions::pacer_step, "by how much the pacer raises that quantile",
                Between(0, 1))
        .Option("pacer_rounds", &OortOptions::pacer_rounds, "rounds between two looks of the pacer",
                AtLeast(1))
        .Make<Oort>());

}  // namespace
}  // namespace muster
