// Methods that weigh the samples' losses by groups and leave the step to any other method.
#ifndef MUSTER_OPTIM_WEIGHTED_METHOD_H_
#define MUSTER_OPTIM_WEIGHTED_METHOD_H_

#include <memory>
#include <string>
#include <vector>

#include "optim/groups.h"
#include "optim/local_optimizer.h"

namespace muster {

struct WeightedOptions : public GroupOptions {
  std::string optimizer = "sgd";
  double learning_rate = 0.1;
  double weight_decay = 0;

  template <typename Visitor>
  static void Describe(Visitor&& option) {
    option("optimizer", &WeightedOptions::optimizer,
           "the method that makes the steps (muster list optimizers)");
    option("learning_rate", &WeightedOptions::learning_rate, "its step size", Above(0));
    option("weight_decay", &WeightedOptions::weight_decay, "its weight decay, where it has one", AtLeast(0));
    GroupOptions::Describe(option);
  }
};

// The inner method sees an oracle whose gradient is that of sum_j w_j loss_j with w_j = Factor(group of j,
// samples of that group in the batch) for every sample of a batch.
class WeightedMethod : public LocalOptimizer {
 public:
  WeightedMethod(const WeightedOptions& options, std::unique_ptr<LocalOptimizer> inner)
      : options_(options), inner_(std::move(inner)) {}

  absl::StatusOr<StepReport> Step(Oracle& oracle) override;
  void SetLearningRateFactor(double factor) override { inner_->SetLearningRateFactor(factor); }
  void Reset() override;
  void Save(State& state) const override;
  absl::Status Load(const State& state) override;
  // group_weights; and group_loss, group_samples: sums of the losses met in the steps of this job, and their
  // numbers.
  Numbers Report() const override;

 protected:
  // INVALID_ARGUMENT for an inner method that there is not.
  static absl::StatusOr<std::unique_ptr<LocalOptimizer>> MakeInner(const WeightedOptions& options,
                                                                   const Context& context);
  // What a batch tells of a group.
  struct Group {
    double loss = 0;  // sum over its samples
    int64_t samples = 0;
  };
  // May move weights() by what the batch tells.
  virtual void Observe(const std::vector<Group>& /*batch*/) {}
  // w_j of a sample of that group in a batch of `batch_size` samples.
  virtual double Factor(size_t group, const Group& in_batch, int64_t batch_size) const = 0;

  // One weight a group, of sum 1; rounded, so that a saved state has the same bits.
  std::vector<float>& weights() { return weights_; }
  const std::vector<float>& weights() const { return weights_; }

 private:
  class WeightedOracle;

  // Fills in the weights of the batch with these losses.
  absl::StatusOr<at::Tensor> Weigh(Oracle& oracle, const at::Tensor& losses);

  const WeightedOptions options_;
  const std::unique_ptr<LocalOptimizer> inner_;
  std::vector<float> weights_;  // empty until the first step
  std::vector<Group> met_;      // in this job
  bool count_ = false;          // this evaluation is the step's first
};

}  // namespace muster

#endif  // MUSTER_OPTIM_WEIGHTED_METHOD_H_
