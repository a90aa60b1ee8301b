// ALSO: Adam on the model, mirror ascent on the weights of groups of data (arXiv:2508.16734).
#ifndef MUSTER_OPTIM_ALSO_H_
#define MUSTER_OPTIM_ALSO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/mirror.h"
#include "core/random.h"
#include "optim/local_optimizer.h"
#include "optim/optimizer.h"
#include "optim/options.h"

namespace muster::optim {

struct AlsoOptions : public OptionsOf<AlsoOptions> {
  AlsoOptions(double learning_rate = 0.001) : lr_(learning_rate) {}  // NOLINT: implicit, as in torch::optim
  MUSTER_ARG(double, lr);
  MUSTER_ARG(std::string, mode) = "optimistic";
  MUSTER_ARG(double, alpha) = 1;
  MUSTER_ARG(double, loss_scale) = 0;
  MUSTER_ARG(double, beta1) = 0.9;
  MUSTER_ARG(double, beta2) = 0.999;
  MUSTER_ARG(double, eps) = 1.19e-7;
  MUSTER_ARG(double, weight_decay) = 1e-3;
  MUSTER_ARG(double, pi_lr) = 1e-3;
  MUSTER_ARG(double, pi_decay) = 1e-2;
  MUSTER_ARG(double, temperature) = 1;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("learning_rate", &AlsoOptions::lr_, "step size of the model", Above(0));
    option("mode", &AlsoOptions::mode_, "extrapolate by the last gradients first, or not",
           OneOf({"optimistic", "descent_ascent"}));
    option("alpha", &AlsoOptions::alpha_, "how far to extrapolate: factor on the last gradient", AtLeast(0));
    option("loss_scale", &AlsoOptions::loss_scale_, "factor on every sample's loss; 0: groups / batch size",
           AtLeast(0));
    option("beta1", &AlsoOptions::beta1_, "decay of the first moment", Within(0, 1));
    option("beta2", &AlsoOptions::beta2_, "decay of the second moment", Within(0, 1));
    option("epsilon", &AlsoOptions::eps_,
           "added to the root of the second moment and inside the logarithm of weights", Above(0));
    option("weight_decay", &AlsoOptions::weight_decay_, "L2 penalty's factor", AtLeast(0));
    option("pi_learning_rate", &AlsoOptions::pi_lr_, "step size of the groups' weights", AtLeast(0));
    option("pi_decay", &AlsoOptions::pi_decay_, "how strongly the groups' weights are pulled to the prior",
           AtLeast(0));
    option("temperature", &AlsoOptions::temperature_, "of the softmax over groups", Above(0));
  }
};

// min over x, max over pi of c mean_j pi[g(j)] loss_j(x) + weight_decay / 2 ||x||^2 - pi_decay KL(pi ||
// prior).
//
// One step, optimistic (the authors' implementation; ADAM's moments and step count are shared by both
// half-steps, its epsilon is outside the bias correction, its weight decay coupled):
//   x_0 = x;  x = x_0 + ADAM(alpha G_last, x_0);  pi_half = MIRROR(pi, P_last)       not in the first step
//   G = gradient of sum_j pi_half[g(j)] kappa loss_j at x;  x = x_0 + ADAM(G, x_0)
//   P[i] = kappa sum of loss_j in group i;  pi = MIRROR(pi, P)
// descent_ascent leaves the first line out and takes pi for pi_half. kappa = groups / (size of the first
// batch).
//
// With a uniform prior and classes of unequal sizes the weights move to the majority, whose summed loss is
// larger: prefer a prior of inverse sizes.
//
// In a LibTorch program:
//   Also also(model->parameters(), prior);
//   also.step([&] { return torch::nll_loss(model(x), y, {}, at::Reduction::None); }, groups);   // no
//   backward
// All parameter groups share the options of the first but for lr and weight_decay.
class Also : public Optimizer {
 public:
  using Evaluate = absl::FunctionRef<absl::StatusOr<at::Tensor>(Oracle::Weighting)>;

  // `prior`: one weight a group, not negative; a group of weight 0 is left out.
  Also(std::vector<torch::optim::OptimizerParamGroup> groups, std::vector<double> prior,
       AlsoOptions defaults = {});
  Also(std::vector<at::Tensor> parameters, std::vector<double> prior, AlsoOptions defaults = {})
      : Also({torch::optim::OptimizerParamGroup(std::move(parameters))}, std::move(prior), defaults) {}

  // One step on a batch: `evaluate` gives Oracle::WeightedGradient on it, `groups()` the batch's groups,
  // [batch] int64; it is asked once the batch is known, before or while evaluating. Returns the mean loss.
  absl::StatusOr<double> Step(Evaluate evaluate, absl::FunctionRef<absl::StatusOr<at::Tensor>()> groups);
  // `losses` gives the per-sample losses [batch] at the parameters' values, with their graph. Returns them.
  torch::Tensor step(const LossClosure& losses, const at::Tensor& groups);

  // A new prior. The weights start from it unless steps were made with as many groups. INVALID_ARGUMENT as
  // Normalized.
  absl::Status SetPrior(const std::vector<double>& prior);
  const std::vector<double>& prior() const { return prior_; }
  // pi, on the simplex.
  const std::vector<float>& weights() const { return weights_; }

  // Every sample is one of a group: the one-loss form of the base does not apply, both throw or refuse.
  absl::StatusOr<double> Step(Optimizer::Evaluate evaluate) override;
  torch::Tensor step(LossClosure closure = nullptr) override;

 protected:
  bool Needs(size_t slot, const torch::optim::OptimizerOptions& options) const override;
  Fields fields() override;
  void ResetFields() override;

 private:
  enum Slot : size_t { kFirstMoment, kSecondMoment, kLastGradient, kStart };

  const AlsoOptions& shared() const;
  std::vector<Parameter> Extrapolate();
  static void PutBack(const std::vector<Parameter>& parameters);
  std::vector<double> Mirror(const std::vector<float>& gains) const;

  std::vector<double> prior_;
  std::vector<float> weights_;     // pi, rounded so that a saved state has the same bits
  std::vector<float> last_gains_;  // P_last, empty before the first step
  double scale_ = 0;               // kappa, once known
};

// The next batch by the weights of groups that are single samples: as many as lie outside the fewest groups
// that together hold `mass` of the weight (at least one), drawn without replacement, by weight or uniformly.
std::vector<int64_t> SelectBatch(const std::vector<float>& weights, double mass, bool by_weight,
                                 Random& random);

}  // namespace muster::optim

#endif  // MUSTER_OPTIM_ALSO_H_
