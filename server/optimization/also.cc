// ALSO over clients: the server learns which groups, clients or classes, count for how much.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/mirror.h"
#include "core/statistics.h"
#include "server/optimization/optimizer_state.h"

namespace muster {
namespace {

struct AlsoOptions {
  std::string groups = "class";
  std::string optimizer = "sgd";
  double learning_rate = 1;
  std::string mode = "descent_ascent";
  double alpha = 1;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1.19e-7;
  double pi_learning_rate = 1e-3;
  double pi_decay = 1e-2;
  std::string prior = "inverse_size";
  std::vector<double> weights;
};

// ALSO (arXiv:2508.16734; the step is optim/also.h's) with its weights pi at the server. Its federated forms:
//
//   groups: client  pi has one weight a client. The updates are weighed by pi_half,
//                   G = -(M / s) sum pi_half[i] Delta_i over the s of M clients that answered. The gain of
//                   client i is (M / s) times its mean loss at the model it was sent; where it does not tell
//                   that, times its mean loss while training. With clients that make one plain gradient step
//                   of length 1 (training.steps: 1) this is ALSO itself; with local epochs it is FedAdam with
//                   ALSO's weights. Needs the aggregator fedavg.
//   groups: class   pi goes to the clients as "group_weights", whose `static_weights` weighs samples by it
//                   and tells "group_loss" and "group_samples"; gain of class k = c / N sum of its losses, of
//                   N samples in all. In the first round the clients use their own prior. prior:
//                   inverse_size counts the samples told so far, so that no histogram must be given away
//                   beforehand.
//
// optimizer: adam steps as ALSO does, sgd by learning_rate times -G. mode: optimistic sends (and evaluates,
// and saves) the extrapolated model. Numbers of a client that cannot be right are left out.
class Also final : public ServerOptimizer {
 public:
  static absl::StatusOr<std::unique_ptr<ServerOptimizer>> Create(const AlsoOptions& options,
                                                                 const Context& context) {
    auto also = std::make_unique<Also>(options, context);
    if (options.prior == "given") {
      auto prior = Normalized(options.weights);
      if (!prior.ok()) return Annotate(prior.status(), "weights");
      if (options.groups == "client" && static_cast<int64_t>(prior->size()) != context.clients) {
        return InvalidInput(
            absl::StrCat("weights: ", prior->size(), " given for ", context.clients, " clients"));
      }
      also->prior_ = also->pi_ = *std::move(prior);
    } else if (options.groups == "client") {
      if (options.prior == "inverse_size")
        return InvalidInput("prior: must be uniform or given with groups: client");
      also->prior_ = also->pi_ =
          std::vector<double>(static_cast<size_t>(context.clients), 1 / static_cast<double>(context.clients));
    }
    return also;
  }
  Also(const AlsoOptions& options, const Context& context)
      : options_(options), size_(context.size), start_(size_), last_(size_), first_(size_), second_(size_) {}

  absl::Status Step(const Aggregate& aggregate, Parameters model) override {
    MUSTER_RETURN_IF_ERROR(CheckStep(aggregate.delta, model, size_));
    if (rounds_ == 0) start_.assign(model.begin(), model.end());
    ++rounds_;
    double scale = 1;
    if (options_.groups == "client" && aggregate.updates > 0) {
      scale =
          aggregate.total_weight * static_cast<double>(pi_.size()) / static_cast<double>(aggregate.updates);
    }
    for (size_t i = 0; i < model.size(); ++i) last_[i] = static_cast<float>(-scale * aggregate.delta[i]);
    Move(1, model);
    Weigh(aggregate.reports);
    if (options_.mode == "optimistic") {
      start_.assign(model.begin(), model.end());
      Move(options_.alpha, model);
    } else {
      start_.assign(model.begin(), model.end());
    }
    return absl::OkStatus();
  }

  std::map<std::string, std::vector<float>> Broadcast() const override {
    if (options_.groups != "class" || pi_.empty()) return {};
    const std::vector<double> half = HalfWeights();
    return {{"group_weights", {half.begin(), half.end()}}};
  }
  std::vector<std::string> Statistics() const override {
    if (options_.groups != "client") return {};
    return {statistics::kLoss};
  }
  std::optional<std::vector<double>> Weights(std::span<const ClientInfo> cohort) const override {
    if (options_.groups != "client") return std::nullopt;
    const std::vector<double> half = HalfWeights();
    std::vector<double> weights;
    for (const ClientInfo& client : cohort) {
      const bool known = client.id >= 0 && client.id < static_cast<ClientId>(half.size());
      weights.push_back(known ? half[static_cast<size_t>(client.id)] : 1 / static_cast<double>(half.size()));
    }
    return weights;
  }
  Numbers Report() const override { return {{"group_weights", pi_}, {"group_loss", losses_}}; }

  State Save() const override {
    State state{.vectors = {{"start", start_}, {"last_gradient", last_}},
                .numbers = {{"rounds", rounds_}, {"half_steps", half_steps_}}};
    if (options_.optimizer == "adam") {
      state.vectors["first_moment"] = first_;
      state.vectors["second_moment"] = second_;
    }
    for (const auto& [name, values] : Groups()) {
      state.numbers[absl::StrCat(name, "s")] = static_cast<double>(values->size());
      for (size_t g = 0; g < values->size(); ++g) state.numbers[absl::StrCat(name, " ", g)] = (*values)[g];
    }
    return state;
  }
  absl::Status Load(State state) override {
    Also loaded = *this;
    std::map<std::string, double*> numbers = {{"rounds", &loaded.rounds_},
                                              {"half_steps", &loaded.half_steps_}};
    std::map<std::string, double> sizes;
    for (const auto& [name, values] : loaded.Groups()) {
      const std::string size_name = absl::StrCat(name, "s");
      const auto found = state.numbers.find(size_name);
      const double size = found == state.numbers.end() ? 0 : found->second;
      if (!(size >= 0 && size <= static_cast<double>(state.numbers.size()))) {
        return InvalidInput(absl::StrCat("server optimizer state '", size_name, "' is ", size));
      }
      values->resize(static_cast<size_t>(size));
      numbers[size_name] = &sizes[size_name];
      for (size_t g = 0; g < values->size(); ++g) numbers[absl::StrCat(name, " ", g)] = &(*values)[g];
    }
    std::map<std::string, std::vector<float>*> vectors = {{"start", &loaded.start_},
                                                          {"last_gradient", &loaded.last_}};
    if (options_.optimizer == "adam") {
      vectors["first_moment"] = &loaded.first_;
      vectors["second_moment"] = &loaded.second_;
    }
    MUSTER_RETURN_IF_ERROR(LoadState(std::move(state), size_, vectors, numbers));
    for (const auto& [name, values] : loaded.Groups()) *Group(name) = *values;
    start_ = loaded.start_;
    last_ = loaded.last_;
    first_ = loaded.first_;
    second_ = loaded.second_;
    rounds_ = loaded.rounds_;
    half_steps_ = loaded.half_steps_;
    return absl::OkStatus();
  }
  std::unique_ptr<ServerOptimizer> Clone() const override { return std::make_unique<Also>(*this); }

 private:
  // What is kept for every group, by name.
  std::map<std::string, std::vector<double>*> Groups() {
    return {{"prior", &prior_}, {"pi", &pi_}, {"gain", &gains_}, {"loss", &losses_}, {"count", &counts_}};
  }
  std::map<std::string, const std::vector<double>*> Groups() const {
    return {{"prior", &prior_}, {"pi", &pi_}, {"gain", &gains_}, {"loss", &losses_}, {"count", &counts_}};
  }
  std::vector<double>* Group(const std::string& name) { return Groups().at(name); }

  // model = start + step along -(scale last_); each element computed in double and rounded once.
  void Move(double scale, Parameters model) {
    if (options_.optimizer == "sgd") {
      for (size_t i = 0; i < model.size(); ++i) {
        model[i] = static_cast<float>(start_[i] - options_.learning_rate * scale * last_[i]);
      }
      return;
    }
    ++half_steps_;
    const double b1 = options_.beta1, b2 = options_.beta2;
    const double rate =
        options_.learning_rate * std::sqrt(1 - std::pow(b2, half_steps_)) / (1 - std::pow(b1, half_steps_));
    for (size_t i = 0; i < model.size(); ++i) {
      const double g = scale * static_cast<double>(last_[i]);
      const double m = b1 * first_[i] + (1 - b1) * g;
      const double v = b2 * second_[i] + (1 - b2) * g * g;
      first_[i] = static_cast<float>(m);
      second_[i] = static_cast<float>(v);
      model[i] = static_cast<float>(start_[i] - rate * m / (std::sqrt(v) + options_.epsilon));
    }
  }

  std::vector<double> HalfWeights() const {
    if (options_.mode != "optimistic" || gains_.empty()) return pi_;
    return MirrorStep(pi_, prior_, gains_, Rule());
  }
  MirrorRule Rule() const {
    return {.rate = options_.pi_learning_rate,
            .decay = options_.pi_decay,
            .epsilon = options_.epsilon,
            .temperature = 1};
  }

  void Weigh(const std::vector<ClientReport>& reports) {
    if (!(options_.groups == "client" ? GainsOfClients(reports) : GainsOfClasses(reports))) return;
    pi_ = MirrorStep(pi_, prior_, gains_, Rule());
  }

  bool GainsOfClients(const std::vector<ClientReport>& reports) {
    if (reports.empty()) return false;
    gains_.assign(pi_.size(), 0);
    losses_.resize(pi_.size());
    const double scale = static_cast<double>(pi_.size()) / static_cast<double>(reports.size());
    for (const ClientReport& report : reports) {
      const auto id = static_cast<size_t>(report.client.id);
      const double loss = Told(report, statistics::kLoss).value_or(report.train_loss);
      if (id >= pi_.size() || !std::isfinite(loss)) continue;
      gains_[id] = scale * loss;
      losses_[id] = loss;
    }
    return true;
  }

  bool GainsOfClasses(const std::vector<ClientReport>& reports) {
    std::vector<double> sums, samples;
    double all = 0;
    for (const ClientReport& report : reports) {
      const auto loss = report.numbers.find("group_loss");
      const auto count = report.numbers.find("group_samples");
      if (loss == report.numbers.end() || count == report.numbers.end() || loss->second.empty()) continue;
      if (loss->second.size() != count->second.size()) continue;
      if (sums.empty()) {
        sums.resize(pi_.empty() ? loss->second.size() : pi_.size());
        samples.resize(sums.size());
      }
      if (loss->second.size() != sums.size() || !Plausible(loss->second) || !Plausible(count->second))
        continue;
      for (size_t g = 0; g < sums.size(); ++g) {
        sums[g] += loss->second[g];
        samples[g] += count->second[g];
        all += count->second[g];
      }
    }
    if (!(all > 0)) return false;
    counts_.resize(sums.size());
    losses_.resize(sums.size());
    gains_.resize(sums.size());
    for (size_t g = 0; g < sums.size(); ++g) {
      counts_[g] += samples[g];
      if (samples[g] > 0) losses_[g] = sums[g] / samples[g];
      gains_[g] = static_cast<double>(sums.size()) / all * sums[g];
    }
    if (options_.prior == "inverse_size") {
      prior_ = counts_;
      double total = 0;
      for (double& value : prior_) total += value = 1 / (1 + value);
      for (double& value : prior_) value /= total;
    } else if (prior_.empty()) {
      prior_.assign(sums.size(), 1 / static_cast<double>(sums.size()));
    }
    if (pi_.empty()) pi_ = prior_;
    return true;
  }
  static bool Plausible(const std::vector<double>& values) {
    return std::all_of(values.begin(), values.end(),
                       [](double value) { return value >= 0 && value <= 1e15; });
  }

  const AlsoOptions options_;
  const int64_t size_;
  std::vector<float> start_;  // the model before it was extrapolated
  std::vector<float> last_;   // G of the last round
  std::vector<float> first_;  // Adam's moments
  std::vector<float> second_;
  double rounds_ = 0;
  double half_steps_ = 0;
  // By group; empty until the groups are known.
  std::vector<double> prior_;
  std::vector<double> pi_;
  std::vector<double> gains_;
  std::vector<double> losses_;  // mean loss when the group was last seen
  std::vector<double> counts_;  // samples told so far
};

MUSTER_REGISTER(
    ServerOptimizer,
    Plugin<AlsoOptions>("also", "Learns the weights of clients or of classes of samples while it trains",
                        "arXiv:2508.16734")
        .Option("groups", &AlsoOptions::groups, "what has a weight", OneOf({"class", "client"}))
        .Option("optimizer", &AlsoOptions::optimizer, "how the model steps along the aggregate",
                OneOf({"sgd", "adam"}))
        .Option("learning_rate", &AlsoOptions::learning_rate, "factor on the model's step", Above(0))
        .Option("mode", &AlsoOptions::mode,
                "extrapolate by the last aggregate and losses first, or not; after local epochs a whole "
                "round is too far",
                OneOf({"optimistic", "descent_ascent"}))
        .Option("alpha", &AlsoOptions::alpha, "how far to extrapolate: factor on the last aggregate",
                AtLeast(0))
        .Option("beta1", &AlsoOptions::beta1, "decay of the first moment, for optimizer: adam", Within(0, 1))
        .Option("beta2", &AlsoOptions::beta2, "decay of the second moment, for optimizer: adam", Within(0, 1))
        .Option("epsilon", &AlsoOptions::epsilon,
                "added to the root of the second moment and inside logarithms", Above(0))
        .Option("pi_learning_rate", &AlsoOptions::pi_learning_rate, "step size of the groups' weights",
                AtLeast(0))
        .Option("pi_decay", &AlsoOptions::pi_decay,
                "how strongly the groups' weights are pulled to the prior", AtLeast(0))
        .Option("prior", &AlsoOptions::prior,
                "where the groups' weights start and are pulled to; inverse_size is for classes",
                OneOf({"inverse_size", "uniform", "given"}))
        .Option("weights", &AlsoOptions::weights, "one for every group, for prior: given")
        .Make<Also>());

}  // namespace
}  // namespace muster
