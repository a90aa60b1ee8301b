#include "client/local_trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/batch_order.h"
#include "client/batcher.h"
#include "client/device_steps.h"
#include "client/optimizer_state.h"
#include "client/sample_groups.h"
#include "client/tensor_vector.h"
#include "client/torch_training.h"
#include "core/random.h"
#include "core/statistics.h"
#include "learning/models/forward_random.h"
#include "learning/plan.h"
#include "methods/method.h"
#include "optim/gradient_noise.h"
#include "optim/kernel.h"
#include "optim/norms.h"

namespace muster {
namespace {

constexpr int64_t kEvaluationBatch = 500;
constexpr int64_t kPlannedBatch = 50;  // evaluation by a static plan, whose batches fit a cache
// Name of the method's state in a client's memory.
const std::string kMethod = "method";

// out = a - b. Returns whether all of it is finite.
MUSTER_KERNEL bool Subtract(const float* __restrict a, const float* __restrict b, float* __restrict out,
                            int64_t size) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    out[i] = a[i] - b[i];
    bad |= static_cast<uint32_t>(optim::IsNotFinite(out[i]));
  }
  return bad == 0;
}

class ResidentTrainer final : public LocalTrainer, private Oracle {
 public:
  ResidentTrainer(std::unique_ptr<FlatModel> model, const Dataset& data, const TrainerOptions& options)
      : model_(std::move(model)),
        data_(data),
        options_(options),
        order_(options.batch_size, options.shuffle),
        groups_(data),
        batcher_(options.device),
        evaluation_(options.device) {
    if (options_.device != nullptr) {
      model_->MoveTo(options_.device);
      stream_ = options_.device->NewStream();
    } else if (options_.static_plan) {
      plan_ = FeedForwardPlan::Make(*model_, options_.loss, data_);
    }
  }

  absl::Status MakeOptimizer() {
    LocalOptimizer::Context context{.parameters = model_->parameters(), .names = {}};
    for (const Layout::Entry& entry : layout().entries) {
      if (entry.trainable) context.names.push_back(entry.name);
    }
    MUSTER_ASSIGN_OR_RETURN(optimizer_, Registry<LocalOptimizer>::Get().Create(options_.optimizer, context));
    if (options_.device != nullptr && optimizer_->AnyDevice()) {
      context.parameters = model_->module_parameters();
      context.by_tensors = true;
      MUSTER_ASSIGN_OR_RETURN(device_optimizer_,
                              Registry<LocalOptimizer>::Get().Create(options_.optimizer, context));
      device_steps_.emplace(options_.device->place(), kStepsPerProgress);
    }
    absl::StatusOr<std::unique_ptr<GradientNoise>> noise =
        Registry<GradientNoise>::Get().Create(options_.gradient_noise, {});
    if (!noise.ok()) return Annotate(noise.status(), "gradient noise");
    noise_ = *std::move(noise);
    return absl::OkStatus();
  }

  absl::Status MakeMethod() {
    MUSTER_ASSIGN_OR_RETURN(method_,
                            Registry<Method>::Get().Create(options_.method, {&layout(), options_.optimizer}));
    for (const Layout::Entry& entry : layout().entries) {
      if (entry.trainable) offsets_.push_back(entry.offset);
    }
    return absl::OkStatus();
  }

  const Layout& layout() const override { return model_->layout(); }

  absl::StatusOr<TrainingResult> Train(const TrainingJob& job, ConstParameters global,
                                       std::span<const uint32_t> samples, std::span<float> delta,
                                       State& memory) override {
    try {
      const c10::OptionalStreamGuard on_stream = OnStream(stream_);
      return TrainJob(job, global, samples, delta, memory);
    } catch (const std::exception& e) {
      return Annotate(FromException(e), Where(job));
    }
  }

  absl::StatusOr<EvaluationSums> Evaluate(ConstParameters model, const Dataset& evaluated,
                                          std::span<const uint32_t> samples) override {
    try {
      const c10::OptionalStreamGuard on_stream = OnStream(stream_);
      return EvaluateModel(model, evaluated, samples);
    } catch (const std::exception& e) {
      return Annotate(FromException(e), "evaluation");
    }
  }

 private:
  void Load(ConstParameters values) {
    std::copy(values.begin(), values.end(), model_->values().begin());
    model_->PushValues();
  }

  absl::StatusOr<TrainingResult> TrainJob(const TrainingJob& job, ConstParameters global,
                                          std::span<const uint32_t> samples, std::span<float> delta,
                                          State& memory) {
    const auto start = std::chrono::steady_clock::now();
    PrepareThread();
    const std::string where = Where(job);
    MUSTER_RETURN_IF_ERROR(CheckJob(job, global, layout(), samples, data_, delta));

    std::map<std::string, std::vector<double>> told = Measure(job, global, samples);
    Load(global);
    model_->model().SetTraining(true);
    State remembered = TakeUnder(kMethod, memory);
    if (const absl::Status status = StartMethod(job, global, remembered); !status.ok())
      return Annotate(status, where);
    StartSteps();
    if (const absl::Status status = PrepareOptimizer(*stepper_, options_.optimizer_state, job, memory);
        !status.ok()) {
      return Annotate(status, where);
    }
    StartJob(job, samples);

    TrainingResult result;
    result.num_samples = static_cast<int64_t>(samples.size());
    const auto done = [&] { return job.steps > 0 ? result.steps >= job.steps : order_.Done(job.epochs); };
    double loss_sum = 0;
    while (!done()) {
      if (job.cancelled && job.cancelled()) return absl::CancelledError(absl::StrCat(where, ": cancelled"));
      DrawBatch();
      const absl::StatusOr<StepReport> report = stepper_->Step(*this);
      ++result.steps;
      if (!report.ok()) return Annotate(report.status(), absl::StrCat(where, ", step ", result.steps));
      if (!stays_) {
        loss_sum += report->loss;
      } else if (result.steps % kStepsPerProgress == 0 || done()) {
        MUSTER_RETURN_IF_ERROR(ReadLosses(where, result.steps, loss_sum));
      }
      if (job.progress && result.steps % kStepsPerProgress == 0) {
        job.progress(result.steps, loss_sum / static_cast<double>(result.steps));
      }
    }
    MUSTER_ASSIGN_OR_RETURN(const bool finite, TakeChange(job, global, delta, result.on_device));
    if (!finite) {
      return Diverged(absl::StrCat(where, ", step ", result.steps, ": the update is not finite"));
    }
    result.train_loss = loss_sum / static_cast<double>(result.steps);
    result.numbers = stepper_->Report();
    result.numbers.merge(told);
    RememberOptimizer(*stepper_, options_.optimizer_state, result, memory);
    if (const absl::Status status = FinishMethod(delta, remembered, result); !status.ok())
      return Annotate(status, where);
    PutUnder(kMethod, std::move(remembered), memory);
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  }

  // What the job's statistics are at `global`. Training does not notice: it sets the model and every
  // generator anew. Numbers that are not finite are left out.
  std::map<std::string, std::vector<double>> Measure(const TrainingJob& job, ConstParameters global,
                                                     std::span<const uint32_t> samples) {
    std::map<std::string, std::vector<double>> told;
    const auto asked = [&job](const char* name) {
      return std::find(job.statistics.begin(), job.statistics.end(), name) != job.statistics.end();
    };
    const auto tell = [&told](const char* name, double value) {
      if (std::isfinite(value)) told[name] = {value};
    };
    const auto count = static_cast<double>(samples.size());
    if (asked(statistics::kLoss) || asked(statistics::kLossRms)) {
      double sum = 0, squares = 0;
      AddLosses(global, samples, sum, squares);
      if (asked(statistics::kLoss)) tell(statistics::kLoss, sum / count);
      if (asked(statistics::kLossRms)) tell(statistics::kLossRms, std::sqrt(squares / count));
    }
    if (asked(statistics::kGradientDeviation)) {
      tell(statistics::kGradientDeviation, GradientDeviation(global, samples));
    }
    return told;
  }

  void AddLosses(ConstParameters global, std::span<const uint32_t> samples, double& sum, double& squares) {
    Load(global);
    const at::NoGradGuard no_grad;
    model_->model().SetTraining(false);
    SeedForwardRandom({.purpose = Purpose::kDropout});
    for (size_t begin = 0; begin < samples.size(); begin += kEvaluationBatch) {
      const size_t size = std::min<size_t>(kEvaluationBatch, samples.size() - begin);
      evaluation_.Gather(data_, options_.loss, samples.subspan(begin, size), kEvaluationBatch);
      const at::Tensor losses =
          muster::SampleLosses(options_.loss, model_->model().Forward(evaluation_.inputs()),
                               evaluation_.targets())
              .to(at::kDouble);
      sum += losses.sum().item<double>();
      squares += losses.square().sum().item<double>();
    }
  }

  // sqrt(mean_b ||g_b||^2 - ||mean_b g_b||^2), in double.
  double GradientDeviation(ConstParameters global, std::span<const uint32_t> samples) {
    Load(global);
    model_->model().SetTraining(true);
    SeedForwardRandom({.purpose = Purpose::kDropout});
    const auto batch = static_cast<size_t>(options_.batch_size);
    std::vector<at::Tensor> sums;
    for (const at::Tensor& parameter : model_->parameters()) {
      sums.push_back(at::zeros({parameter.numel()}, at::kDouble));
    }
    double squares = 0, batches = 0;
    for (size_t begin = 0; begin < samples.size(); begin += batch) {
      evaluation_.Gather(data_, options_.loss,
                         samples.subspan(begin, std::min(batch, samples.size() - begin)),
                         std::max<int64_t>(kEvaluationBatch, options_.batch_size));
      model_->ClearGradients();
      MeanLoss(options_.loss, model_->model().Forward(evaluation_.inputs()), evaluation_.targets())
          .backward();
      model_->PullGradients();
      for (size_t i = 0; i < sums.size(); ++i) {
        const at::Tensor& gradient = model_->parameters()[i].grad();
        if (!gradient.defined()) continue;
        const at::Tensor flat = gradient.reshape({-1}).to(at::kDouble);
        sums[i] += flat;
        squares += flat.square().sum().item<double>();
      }
      ++batches;
    }
    double mean_square = 0;
    for (const at::Tensor& sum : sums) mean_square += (sum / batches).square().sum().item<double>();
    return std::sqrt(std::max(squares / batches - mean_square, 0.0));
  }

  absl::Status StartMethod(const TrainingJob& job, ConstParameters global, const State& remembered) {
    MUSTER_ASSIGN_OR_RETURN(local_method_, method_->Start({.model = global,
                                                           .vectors = job.vectors,
                                                           .learning_rate_factor = job.learning_rate_factor},
                                                          remembered));
    corrects_ = local_method_ != nullptr && local_method_->corrects();
    gradients_ = 0;
    return absl::OkStatus();
  }

  // Steps stay on the device where nobody needs to see a gradient with the host.
  void StartSteps() {
    stays_ = device_optimizer_ != nullptr && noise_->IsNone() && !corrects_;
    stepper_ = stays_ ? device_optimizer_.get() : optimizer_.get();
    if (stays_) device_steps_->Start(model_->device_values());
  }

  // Of the steps since the last time, up to step `steps`: what waits for the device at last.
  absl::Status ReadLosses(const std::string& where, int64_t steps, double& sum) {
    const std::vector<float> losses = device_steps_->TakeLosses();
    int64_t step = steps - static_cast<int64_t>(losses.size());
    for (const float loss : losses) {
      ++step;
      if (!std::isfinite(loss)) return Diverged(absl::StrCat(where, ", step ", step, ": the loss is ", loss));
      sum += loss;
    }
    return absl::OkStatus();
  }

  // The model's values now - global, where the update goes. Returns whether all of it is finite.
  absl::StatusOr<bool> TakeChange(const TrainingJob& job, ConstParameters global, std::span<float> delta,
                                  std::shared_ptr<const DeviceVector>& on_device) {
    if (!stays_) {
      model_->PullBuffers();
      return Subtract(model_->values().data(), global.data(), delta.data(), layout().size);
    }
    const at::Tensor change = device_steps_->Change(model_->device_values());
    if (job.may_stay && local_method_ == nullptr) {
      on_device = MakeDeviceVector(change, stream_);
      MUSTER_ASSIGN_OR_RETURN(const std::vector<float> largest, on_device->LargestMagnitudes(layout().size));
      return std::isfinite(largest.front());
    }
    model_->Pull(change);
    std::copy(model_->values().begin(), model_->values().end(), delta.begin());
    return optim::AllFinite(delta.data(), layout().size);
  }

  absl::Status FinishMethod(std::span<float> delta, State& remembered, TrainingResult& result) {
    if (local_method_ == nullptr) return absl::OkStatus();
    if (corrects_ && gradients_ == 0) {
      return InvalidInput(absl::StrCat("training.method ", options_.method.name,
                                       " corrects gradients, and the optimizer ", options_.optimizer.name,
                                       " asks for none"));
    }
    LocalMethod::Work work{result.steps, gradients_, delta, result.extras, result.numbers};
    const absl::Status finished = local_method_->Finish(work, remembered);
    local_method_.reset();
    return finished;
  }

  // At the parameters' current values, wherever a method that evaluates more than once has put them.
  void CorrectGradients() {
    const std::vector<at::Tensor>& parameters = model_->parameters();
    for (size_t i = 0; i < parameters.size(); ++i) {
      at::Tensor& gradient = parameters[i].mutable_grad();
      if (!gradient.defined()) continue;
      gradient = gradient.contiguous();
      const auto size = static_cast<size_t>(gradient.numel());
      local_method_->Correct(offsets_[i], model_->values().subspan(static_cast<size_t>(offsets_[i]), size),
                             {gradient.data_ptr<float>(), size});
    }
  }

  // With the host. evaluation_ has the batch's targets then.
  at::Tensor EvaluationOutputs(const Dataset& evaluated, std::span<const uint32_t> batch) {
    if (plan_ != nullptr) {
      evaluation_.GatherTargets(evaluated, options_.loss, batch, kPlannedBatch);
      return plan_->Outputs(evaluated, batch);
    }
    evaluation_.Gather(evaluated, options_.loss, batch, kEvaluationBatch);
    return model_->model().Forward(evaluation_.inputs()).cpu();
  }

  absl::StatusOr<EvaluationSums> EvaluateModel(ConstParameters parameters, const Dataset& evaluated,
                                               std::span<const uint32_t> samples) {
    PrepareThread();
    MUSTER_RETURN_IF_ERROR(CheckModel(parameters, layout()));
    if (evaluated.sample_shape != data_.sample_shape) {
      return InvalidInput(absl::StrCat("samples are {", absl::StrJoin(evaluated.sample_shape, ", "),
                                       "}, those trained on are {", absl::StrJoin(data_.sample_shape, ", "),
                                       "}"));
    }
    MUSTER_RETURN_IF_ERROR(CheckSamples(samples, evaluated));
    Load(parameters);
    const at::NoGradGuard no_grad;
    model_->model().SetTraining(false);
    SeedForwardRandom({.purpose = Purpose::kDropout});  // for models that draw in evaluation, too
    EvaluationSums sums;
    for (auto* counts : {&sums.class_samples, &sums.class_correct, &sums.class_predicted}) {
      counts->resize(static_cast<size_t>(evaluated.num_classes));
    }
    const auto batch_size = static_cast<size_t>(plan_ != nullptr ? kPlannedBatch : kEvaluationBatch);
    for (size_t begin = 0; begin < samples.size(); begin += batch_size) {
      const auto batch = samples.subspan(begin, std::min(batch_size, samples.size() - begin));
      const at::Tensor outputs = EvaluationOutputs(evaluated, batch);
      AddBatch(options_.loss, outputs, evaluation_.targets().cpu(), evaluated.num_classes, sums);
    }
    return sums;
  }

  // --- Batches ---

  void StartJob(const TrainingJob& job, std::span<const uint32_t> samples) {
    const auto round = static_cast<uint64_t>(job.round);
    const auto client = static_cast<uint64_t>(job.client);
    order_.Start(job, samples);
    SeedForwardRandom({.seed = job.seed, .purpose = Purpose::kDropout, .round = round, .client = client});
    noise_random_ =
        Random({.seed = job.seed, .purpose = Purpose::kGradientNoise, .round = round, .client = client});
    relabel_ = job.relabel;
    groups_.StartJob();
    placed_epoch_ = 0;
  }

  void DrawBatch() {
    order_.Draw();
    gathered_ = false;
  }
  void Prepare(Batch batch) {
    if (batch == Batch::kNext) DrawBatch();
  }

  // --- Oracle ---

  // The batch as tensors; a plan reads samples where they lie.
  const Batcher& Gathered() {
    if (!gathered_)
      batcher_.Gather(data_, options_.loss, order_.batch(), options_.batch_size, relabel_, Places());
    gathered_ = true;
    return batcher_;
  }
  // The batch's place on the device, where an epoch's order goes at once; undefined without a device, and for
  // a batch of two epochs.
  at::Tensor Places() {
    if (options_.device == nullptr || !order_.first()) return {};
    if (placed_epoch_ != order_.epoch()) {
      placed_ = Batcher::Places(order_.samples(), options_.device->place());
      placed_epoch_ = order_.epoch();
    }
    return placed_.narrow(0, *order_.first(), static_cast<int64_t>(order_.batch().size()));
  }
  // At the parameters' current values.
  at::Tensor Outputs() {
    if (!stays_) model_->PushParameters();
    return model_->model().Forward(Gathered().inputs());
  }
  const at::Tensor& Targets() { return Gathered().targets(); }

  static absl::StatusOr<double> FiniteLoss(const at::Tensor& loss) {
    const double value = loss.item<float>();
    if (!std::isfinite(value)) return Diverged(absl::StrCat("the loss is ", value));
    return value;
  }

  absl::StatusOr<double> Loss(Batch batch) override {
    Prepare(batch);
    const at::NoGradGuard no_grad;
    return FiniteLoss(MeanLoss(options_.loss, Outputs(), Targets()));
  }

  absl::StatusOr<double> Gradient(Batch batch) override {
    Prepare(batch);
    if (plan_ == nullptr) return Backward(MeanLoss(options_.loss, Outputs(), Targets()));
    const double loss = plan_->Gradient(data_, order_.batch(), relabel_);
    if (!std::isfinite(loss)) return Diverged(absl::StrCat("the loss is ", loss));
    ChangeGradients();
    return loss;
  }

  absl::StatusOr<at::Tensor> SampleLosses(Batch batch) override {
    Prepare(batch);
    const at::NoGradGuard no_grad;
    return muster::SampleLosses(options_.loss, Outputs(), Targets()).cpu();
  }

  absl::StatusOr<at::Tensor> WeightedGradient(Batch batch, Weighting weighting) override {
    Prepare(batch);
    const at::Tensor losses = muster::SampleLosses(options_.loss, Outputs(), Targets());
    at::Tensor values = losses.detach().cpu();
    MUSTER_RETURN_IF_ERROR(FiniteLoss(values.mean()).status());
    MUSTER_RETURN_IF_ERROR(Backward((losses * weighting(values).to(losses.device())).sum()).status());
    return values;
  }

  absl::StatusOr<at::Tensor> Groups(const std::string& by) override {
    MUSTER_RETURN_IF_ERROR(groups_.Find(by, order_.samples()));
    const std::span<const uint32_t> batch = order_.batch();
    at::Tensor groups = at::empty({static_cast<int64_t>(batch.size())}, at::kLong);
    for (size_t i = 0; i < batch.size(); ++i) groups.data_ptr<int64_t>()[i] = groups_.of(batch[i]);
    return groups;
  }
  absl::StatusOr<std::vector<int64_t>> GroupSizes(const std::string& by) override {
    MUSTER_RETURN_IF_ERROR(groups_.Find(by, order_.samples()));
    std::vector<int64_t> sizes(static_cast<size_t>(groups_.count()));
    for (const uint32_t sample : order_.samples()) ++sizes[static_cast<size_t>(groups_.of(sample))];
    return sizes;
  }

  absl::StatusOr<double> Backward(const at::Tensor& loss) {
    if (stays_) return BackwardThere(loss);
    MUSTER_ASSIGN_OR_RETURN(const double value, FiniteLoss(loss));
    model_->ClearGradients();
    loss.backward();
    model_->PullGradients();
    ChangeGradients();
    return value;
  }
  // Nothing waits for it: the loss, not known yet, is read with others.
  double BackwardThere(const at::Tensor& loss) {
    model_->ClearGradients();
    loss.backward();
    model_->CollectGradients();
    device_steps_->AddLoss(loss);
    ++gradients_;
    return std::numeric_limits<double>::quiet_NaN();
  }

  // What is done to every gradient, however it was computed.
  void ChangeGradients() {
    if (!noise_->IsNone()) AddNoise();
    if (corrects_) CorrectGradients();
    ++gradients_;
  }

  void AddNoise() {
    for (const at::Tensor& parameter : model_->parameters()) {
      at::Tensor& gradient = parameter.mutable_grad();
      if (!gradient.defined()) continue;
      gradient = gradient.contiguous();
      auto* values = gradient.data_ptr<float>();
      for (int64_t i = 0; i < gradient.numel(); ++i) {
        values[i] += static_cast<float>(noise_->Draw(noise_random_));
      }
    }
  }

  std::unique_ptr<FlatModel> model_;
  std::unique_ptr<FeedForwardPlan> plan_;  // nullptr: by autograd
  const Dataset& data_;
  TrainerOptions options_;
  std::unique_ptr<LocalOptimizer> optimizer_;
  std::unique_ptr<GradientNoise> noise_;
  Random noise_random_{RandomKey{}};
  std::unique_ptr<Method> method_;
  std::vector<int64_t> offsets_;               // of the trainable parameters in the flat model
  std::unique_ptr<LocalMethod> local_method_;  // of the job at hand; nullptr: none
  bool corrects_ = false;
  int64_t gradients_ = 0;  // computed in this job

  BatchOrder order_;
  SampleGroups groups_;
  std::span<const int64_t> relabel_;
  Batcher batcher_;
  bool gathered_ = false;  // batcher_ holds the batch
  Batcher evaluation_;

  LocalOptimizer* stepper_ = nullptr;                 // of the job at hand: this or that
  std::unique_ptr<LocalOptimizer> device_optimizer_;  // nullptr: there is none
  bool stays_ = false;                                // it steps
  std::optional<DeviceSteps> device_steps_;           // where it is
  std::optional<c10::Stream> stream_;                 // on a device with streams
  at::Tensor placed_;                                 // an epoch's order on the device
  int64_t placed_epoch_ = 0;
};

}  // namespace

std::vector<int64_t> SliceTrainer::label_histogram() const {
  if (withhold_) return {};
  std::vector<int64_t> histogram(static_cast<size_t>(data_.num_classes));
  for (const uint32_t sample : samples_) ++histogram[static_cast<size_t>(data_.labels[sample])];
  return histogram;
}

absl::StatusOr<TrainingResult> SliceTrainer::Train(const TrainingJob& job, ConstParameters global,
                                                   std::span<float> delta, State& memory) {
  if (!withhold_ || job.statistics.empty()) return trainer_.Train(job, global, samples_, delta, memory);
  TrainingJob silent = job;
  silent.statistics.clear();
  return trainer_.Train(silent, global, samples_, delta, memory);
}

absl::StatusOr<std::unique_ptr<LocalTrainer>> LocalTrainer::Create(std::unique_ptr<FlatModel> model,
                                                                   const Dataset& data,
                                                                   const TrainerOptions& options) {
  if (options.batch_size < 1) {
    return InvalidInput(
        absl::StrCat("training.batch_size: ", options.batch_size, " is out of range, at least 1"));
  }
  try {
    auto trainer = std::make_unique<ResidentTrainer>(std::move(model), data, options);
    if (const absl::Status status = trainer->MakeOptimizer(); !status.ok()) {
      return Annotate(status, "training.optimizer");
    }
    if (const absl::Status status = trainer->MakeMethod(); !status.ok()) {
      return Annotate(status, "training.method");
    }
    return trainer;
  } catch (const std::exception& e) {
    return FromException(e);
  }
}

}  // namespace muster
