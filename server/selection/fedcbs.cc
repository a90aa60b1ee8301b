// Fed-CBS: cohorts whose samples together are balanced over the classes.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "server/selection/client_numbers.h"
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

struct FedCbsOptions {
  double exploration = 10;
};

// The class imbalance of a group M, whose samples are n_M = sum n_i and whose label distributions are
// alpha_i:
//
//   QCID(M) = sum_b ( sum_{i in M} n_i alpha_ib / n_M  -  1/B )^2
//           = sum_{i,j in M} n_i n_j <alpha_i - 1/B, alpha_j - 1/B> / n_M^2
//
// Clients are drawn one after another, the m-th with probability in proportion to
//
//   QCID(M)^(m-1) / QCID(M + i)^m  +  lambda sqrt(3 ln t / (2 T_i))
//
// (equation 6 with beta_m = m; M are those drawn before, t is the round, T_i how often i took part). A client
// that does not tell its labels has the mean of the others' first term, and no part in M. Without any labels
// the draw is by the second term, or uniform.
class FedCbs final : public Selector {
 public:
  explicit FedCbs(const FedCbsOptions& options) : options_(options) {}

  SelectorNeeds Needs() const override { return {.labels = true}; }

  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    const size_t classes = Classes(candidates);
    std::vector<size_t> left(candidates.size());
    std::iota(left.begin(), left.end(), size_t{0});
    std::vector<ClientId> selected;
    std::vector<double> sums(classes);  // samples of M by class
    double power = 1;                   // m
    while (static_cast<int64_t>(selected.size()) < count) {
      const std::vector<double> weights = Weights(candidates, left, sums, power);
      const size_t drawn = DrawWeighted(1, weights, random).front();
      const ClientInfo& client = candidates[left[drawn]];
      selected.push_back(client.id);
      if (Tells(client, classes)) {
        for (size_t b = 0; b < classes; ++b) sums[b] += static_cast<double>((*client.labels)[b]);
        ++power;
      }
      left.erase(left.begin() + static_cast<std::ptrdiff_t>(drawn));
    }
    return selected;
  }

  void Observe(const SelectorRound& round) override {
    round_ = round.round;
    for (const ClientInfo& client : round.cohort) ++visits_[client.id][0];
  }

  std::string Save() const override { return SaveClientNumbers(round_, visits_); }
  absl::Status Load(const std::string& state) override { return LoadClientNumbers(state, round_, visits_); }

 private:
  // Distributions over different numbers of classes cannot be compared: the most frequent number counts, the
  // others did not tell.
  static size_t Classes(std::span<const ClientInfo> candidates) {
    std::map<size_t, int64_t> lengths;
    for (const ClientInfo& client : candidates) {
      if (client.labels) ++lengths[client.labels->size()];
    }
    size_t classes = 0;
    int64_t most = 0;
    for (const auto& [length, clients] : lengths) {
      if (clients > most) classes = length;
      most = std::max(most, clients);
    }
    return classes;
  }
  static bool Tells(const ClientInfo& client, size_t classes) {
    return classes > 0 && client.labels && client.labels->size() == classes &&
           std::accumulate(client.labels->begin(), client.labels->end(), 0.0) > 0;
  }

  // log QCID; a perfect balance is not infinitely better than a nearly perfect one.
  static double LogImbalance(std::span<const double> sums) {
    const double total = std::accumulate(sums.begin(), sums.end(), 0.0);
    const double even = 1.0 / static_cast<double>(sums.size());
    double imbalance = 0;
    for (const double sum : sums) imbalance += (sum / total - even) * (sum / total - even);
    return std::log(std::max(imbalance, 1e-12));
  }

  std::vector<double> Weights(std::span<const ClientInfo> candidates, std::span<const size_t> left,
                              std::span<const double> sums, double power) const {
    const double before = power > 1 ? (power - 1) * LogImbalance(sums) : 0;
    std::vector<double> exploitation(left.size(), std::nan(""));
    std::vector<double> with(sums.size());
    double total = 0, told = 0;
    for (size_t i = 0; i < left.size(); ++i) {
      const ClientInfo& client = candidates[left[i]];
      if (!Tells(client, sums.size())) continue;
      for (size_t b = 0; b < with.size(); ++b) with[b] = sums[b] + static_cast<double>((*client.labels)[b]);
      exploitation[i] = std::exp(std::min(before - power * LogImbalance(with), 600.0));
      total += exploitation[i];
      ++told;
    }
    const double mean = told > 0 ? total / told : 0;
    // t counts from 1: in the first round there is nothing to explore yet.
    const double bonus = 1.5 * std::log(static_cast<double>(round_ + 2));
    std::vector<double> weights(left.size());
    for (size_t i = 0; i < left.size(); ++i) {
      const auto known = visits_.find(candidates[left[i]].id);
      const double visits = known == visits_.end() ? 1 : std::max(known->second[0], 1.0);
      weights[i] = (std::isnan(exploitation[i]) ? mean : exploitation[i]) +
                   options_.exploration * std::sqrt(bonus / visits);
    }
    return weights;
  }

  const FedCbsOptions options_;
  int64_t round_ = -1;
  ClientNumbers<1> visits_;
};

MUSTER_REGISTER(
    Selector,
    Plugin<FedCbsOptions>("fedcbs",
                          "Cohorts balanced over the classes; needs label histograms. Told none: drawn with "
                          "the mean probability, left out of the balance",
                          "Zhang et al. 2023, arXiv:2209.15245, equations 3 to 6")
        .Option("exploration", &FedCbsOptions::exploration,
                "lambda: how much clients that took part rarely are preferred", AtLeast(0))
        .Make<FedCbs>());

}  // namespace
}  // namespace muster
