// Power-of-Choice: of some candidates, those on which the model is worst.
#include <algorithm>
#include <cmath>

#include "core/statistics.h"
#include "server/selection/client_numbers.h"
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

struct PowerOfChoiceOptions {
  int64_t candidates = 40;
};

// Draws d candidates in proportion to their samples, without replacement, and takes the k of them with the
// largest loss they told last (pi_rpow-d of the paper: nobody is asked for a loss who does not take part).
// Clients that were never asked come first, in the order drawn. One that was asked and told no loss counts as
// having the mean of the losses known.
class PowerOfChoice final : public Selector {
 public:
  explicit PowerOfChoice(const PowerOfChoiceOptions& options) : options_(options) {}

  SelectorNeeds Needs() const override { return {.statistics = {statistics::kLoss}}; }

  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    std::vector<double> sizes;
    for (const ClientInfo& client : candidates) sizes.push_back(static_cast<double>(client.num_samples));
    const int64_t drawn =
        std::min(std::max(options_.candidates, count), static_cast<int64_t>(candidates.size()));
    std::vector<size_t> places = DrawWeighted(drawn, sizes, random);
    const double mean = MeanLoss();
    std::vector<double> losses(candidates.size());
    for (const size_t place : places) {
      const auto known = losses_.find(candidates[place].id);
      losses[place] = known == losses_.end()         ? HUGE_VAL
                      : std::isnan(known->second[0]) ? mean
                                                     : known->second[0];
    }
    std::stable_sort(places.begin(), places.end(),
                     [&losses](size_t a, size_t b) { return losses[a] > losses[b]; });
    places.resize(static_cast<size_t>(count));
    return IdsAt(places, candidates);
  }

  void Observe(const SelectorRound& round) override {
    round_ = round.round;
    // A client that failed keeps the loss it told before.
    for (const ClientInfo& client : round.cohort) losses_.try_emplace(client.id, std::array{std::nan("")});
    for (const ClientReport& report : round.reports) {
      losses_[report.client.id] = {Told(report, statistics::kLoss).value_or(std::nan(""))};
    }
  }

  std::string Save() const override { return SaveClientNumbers(round_, losses_); }
  absl::Status Load(const std::string& state) override { return LoadClientNumbers(state, round_, losses_); }

 private:
  double MeanLoss() const {
    double sum = 0, count = 0;
    for (const auto& [id, loss] : losses_) {
      if (std::isnan(loss[0])) continue;
      sum += loss[0];
      ++count;
    }
    return count > 0 ? sum / count : 0;
  }

  const PowerOfChoiceOptions options_;
  int64_t round_ = -1;
  ClientNumbers<1> losses_;  // told last
};

MUSTER_REGISTER(
    Selector,
    Plugin<PowerOfChoiceOptions>(
        "power_of_choice",
        "Of candidates drawn by size, those with the largest loss; needs local_loss. Never asked: first; "
        "told none: the mean loss",
        "Cho et al. 2020, arXiv:2010.01243, pi_rpow-d")
        .Option("candidates", &PowerOfChoiceOptions::candidates,
                "d: candidates drawn in proportion to their samples, at least the cohort", AtLeast(1))
        .Make<PowerOfChoice>());

}  // namespace
}  // namespace muster
