// DELTA: clients whose updates differ, from others' and within themselves, are drawn more often.
#include <cmath>

#include "core/statistics.h"
#include "server/selection/client_numbers.h"
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

struct DeltaOptions {
  double alpha1 = 0.8;
  double alpha2 = 0.2;
};

// Client i is drawn with probability in proportion to
//
//   p_i = sqrt(alpha1 ||Delta_i - mean Delta||^2 + alpha2 sigma_i^2)
//
// sigma_i is the deviation of its batches' gradients, which it tells; the server works the distance out.
// After a round the clients just seen share among themselves the probability they had together before, in
// proportion to their new p_i, so that steps that shrink over the run do not favour those seen long ago; a
// client that was never seen keeps the average, 1. One that tells no sigma is given the mean of those that
// did in that round.
class Delta final : public Selector {
 public:
  static absl::StatusOr<std::unique_ptr<Selector>> Create(const DeltaOptions& options,
                                                          const Context& /*context*/) {
    if (options.alpha1 + options.alpha2 > 0) return std::unique_ptr<Selector>(new Delta(options));
    return InvalidInput("alpha1: alpha1 and alpha2 must not both be 0");
  }

  SelectorNeeds Needs() const override {
    return {.statistics = {statistics::kGradientDeviation}, .deviations = true};
  }

  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    std::vector<double> weights;
    for (const ClientInfo& client : candidates) weights.push_back(Weight(client.id));
    return IdsAt(DrawWeighted(count, weights, random), candidates);
  }

  void Observe(const SelectorRound& round) override {
    round_ = round.round;
    double sigmas = 0, told = 0;
    for (const ClientReport& report : round.reports) {
      const std::optional<double> sigma = Told(report, statistics::kGradientDeviation);
      if (!sigma) continue;
      sigmas += *sigma;
      ++told;
    }
    const double mean_sigma = told > 0 ? sigmas / told : 0;
    std::vector<double> p;
    double before = 0, sum = 0;
    for (const ClientReport& report : round.reports) {
      const double sigma = Told(report, statistics::kGradientDeviation).value_or(mean_sigma);
      const double distance = report.deviation.value_or(0);
      p.push_back(std::sqrt(options_.alpha1 * distance * distance + options_.alpha2 * sigma * sigma));
      before += Weight(report.client.id);
      sum += p.back();
    }
    if (!(sum > 0) || !std::isfinite(sum)) return;
    for (size_t i = 0; i < p.size(); ++i) weights_[round.reports[i].client.id] = {before * p[i] / sum};
  }

  std::string Save() const override { return SaveClientNumbers(round_, weights_); }
  absl::Status Load(const std::string& state) override { return LoadClientNumbers(state, round_, weights_); }

 private:
  explicit Delta(const DeltaOptions& options) : options_(options) {}

  double Weight(ClientId client) const {
    const auto known = weights_.find(client);
    return known == weights_.end() ? 1 : known->second[0];
  }

  const DeltaOptions options_;
  int64_t round_ = -1;
  ClientNumbers<1> weights_;  // relative to the average client's
};

MUSTER_REGISTER(
    Selector,
    Plugin<DeltaOptions>("delta",
                         "By how far a client's update and batches deviate; needs gradient_deviation. "
                         "Never seen: average; told none: the round's mean",
                         "Wang et al. 2023, arXiv:2205.13925")
        .Option("alpha1", &DeltaOptions::alpha1, "weight of the update's distance from the mean", AtLeast(0))
        .Option("alpha2", &DeltaOptions::alpha2, "weight of the gradients' deviation", AtLeast(0))
        .Make<Delta>());

}  // namespace
}  // namespace muster
