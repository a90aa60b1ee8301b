#include "client/batched_trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/batch_order.h"
#include "client/batcher.h"
#include "client/tensor_vector.h"
#include "client/torch_training.h"
#include "optim/norms.h"

namespace muster {
namespace {

// A group has no more clients than that: a device has enough to do with them in every step.
constexpr int64_t kMaxGroup = 64;
// Nor have its models, with what their batches take on the way through them, more elements: 64 MiB of them.
constexpr int64_t kMaxGroupElements = int64_t{1} << 24;
// Updates of so many elements may stay where they are. Encoding or folding one there is a dozen operations
// and more, asked for one by one; in that time, by estimate, 256 KB are copied. What is smaller comes down
// with the whole group's.
constexpr int64_t kStayingElements = int64_t{1} << 16;

// This thread's queue on the device.
const std::optional<c10::Stream>& OwnStream(const ComputeDevice& device) {
  thread_local std::optional<c10::Stream> stream;
  if (!stream || stream->device() != device.place()) stream = device.NewStream();
  return stream;
}

// A group in training. In its tensors those with the most steps come first, so that those who still train are
// always the first ones.
class Group final : private Oracle {
 public:
  using Client = BatchedTrainer::Client;

  // All outlive the group.
  Group(const BatchedLayers& layers, const Dataset& data, const TrainerOptions& options)
      : layers_(layers), data_(data), options_(options), batcher_(options.device) {}

  // A client whose job can be begun (CheckJob). It and its result, which is OK, outlive the group.
  void Add(const Client& client, absl::StatusOr<TrainingResult>& result) {
    BatchOrder order(options_.batch_size, options_.shuffle);
    order.Start(client.job, client.samples);
    result->num_samples = static_cast<int64_t>(client.samples.size());
    result->steps = order.Steps(client.job, client.samples.size());
    rows_.push_back(std::make_unique<Row>(
        Row{.client = client, .result = result, .steps = result->steps, .order = std::move(order)}));
  }
  bool empty() const { return rows_.empty(); }

  // Completes deltas and results, but for the seconds.
  absl::Status Train(ConstParameters global) {
    const at::NoGradGuard no_grad;
    std::stable_sort(rows_.begin(), rows_.end(),
                     [](const auto& a, const auto& b) { return a->steps > b->steps; });
    MakeModels(global);
    MUSTER_RETURN_IF_ERROR(MakeOptimizer());
    MakeRelabelling();
    const int64_t steps = row(0).steps;
    for (int64_t first = 0; first < steps; first += kStepsPerProgress) {
      Draw(first, std::min(kStepsPerProgress, steps - first));
      for (step_ = 0; step_ < drawn_.steps; ++step_) {
        for (Block& block : blocks_) {
          if (block.steps == first + step_) block.parameters.mutable_grad().reset();
        }
        MUSTER_RETURN_IF_ERROR(optimizer_->Step(*this).status());
      }
      ReadLosses();
    }
    TakeDeltas();
    return absl::OkStatus();
  }

 private:
  struct Row {
    const Client& client;
    absl::StatusOr<TrainingResult>& result;
    int64_t steps = 0;
    BatchOrder order;
    double loss_sum = 0;
  };
  // Rows with equally many steps: one parameter to the optimiser, [rows, elements of the model].
  struct Block {
    int64_t steps = 0;
    at::Tensor parameters;
  };
  // The batches of some steps of the rows that train in the first of them.
  struct Drawn {
    int64_t first = 0, steps = 0, rows = 0;
    int64_t width = 0;             // samples in the longest
    std::vector<uint32_t> places;  // [steps, rows, width]
    at::Tensor on_device;          // the same, flat
    at::Tensor weights;            // [steps, rows, width]: of the samples in their batch's mean
    at::Tensor losses;             // [steps, rows]: means
  };

  int64_t rows() const { return static_cast<int64_t>(rows_.size()); }
  Row& row(int64_t i) const { return *rows_[static_cast<size_t>(i)]; }
  // Rows that make this step.
  int64_t Active(int64_t step) const {
    return std::partition_point(rows_.begin(), rows_.end(),
                                [step](const auto& row) { return row->steps > step; }) -
           rows_.begin();
  }
  at::Device place() const { return options_.device->place(); }

  void MakeModels(ConstParameters global) {
    // Only read.
    auto* const values = const_cast<float*>(global.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
    start_ = at::from_blob(values, {1, static_cast<int64_t>(global.size())}, at::kFloat).to(place());
    models_ = start_.repeat({rows(), 1});
    gradients_ = at::zeros_like(models_);
  }

  absl::Status MakeOptimizer() {
    LocalOptimizer::Context context{.parameters = {}, .names = {}, .by_tensors = true};
    for (int64_t first = 0, end = 0; first < rows(); first = end) {
      end = Active(row(first).steps - 1);
      blocks_.push_back({.steps = row(first).steps, .parameters = models_.narrow(0, first, end - first)});
      blocks_.back().parameters.mutable_grad() = gradients_.narrow(0, first, end - first);
      context.parameters.push_back(blocks_.back().parameters);
    }
    MUSTER_ASSIGN_OR_RETURN(optimizer_, Registry<LocalOptimizer>::Get().Create(options_.optimizer, context));
    optimizer_->SetLearningRateFactor(row(0).client.job.learning_rate_factor);
    return absl::OkStatus();
  }

  void MakeRelabelling() {
    const bool any = std::any_of(rows_.begin(), rows_.end(),
                                 [](const auto& row) { return !row->client.job.relabel.empty(); });
    if (!any || options_.loss == LossKind::kMse) return;
    const int64_t classes = data_.num_classes;
    const at::Tensor table = at::arange(classes, at::kLong).repeat({rows(), 1});
    for (int64_t i = 0; i < rows(); ++i) {
      const std::span<const int64_t> relabel = row(i).client.job.relabel;
      std::copy(relabel.begin(), relabel.end(), table.data_ptr<int64_t>() + i * classes);
    }
    relabelling_ = table.to(place());
  }

  // All batches go to the device at once. One that is shorter than others is filled up with its own first
  // sample, which weighs nothing: what is wrong with another client's is not its business.
  void Draw(int64_t first, int64_t steps) {
    drawn_ = {.first = first,
              .steps = steps,
              .rows = Active(first),
              .width = 0,
              .places = {},
              .on_device = {},
              .weights = {},
              .losses = {}};
    for (int64_t i = 0; i < drawn_.rows; ++i) {
      const auto samples = static_cast<int64_t>(row(i).client.samples.size());
      drawn_.width = std::max(drawn_.width, std::min(options_.batch_size, samples));
    }
    drawn_.places.resize(static_cast<size_t>(steps * drawn_.rows * drawn_.width));
    const at::Tensor sizes = at::ones({steps, drawn_.rows, 1}, at::kFloat);
    for (int64_t i = 0; i < drawn_.rows; ++i) {
      for (int64_t step = 0; step < std::min(steps, row(i).steps - first); ++step) {
        row(i).order.Draw();
        const std::span<const uint32_t> batch = row(i).order.batch();
        const int64_t number = step * drawn_.rows + i;
        const auto begin = drawn_.places.begin() + number * drawn_.width;
        std::fill(std::copy(batch.begin(), batch.end(), begin), begin + drawn_.width, batch.front());
        sizes.data_ptr<float>()[number] = static_cast<float>(batch.size());
      }
    }
    drawn_.on_device = Batcher::Places(drawn_.places, place());
    const at::Tensor counts = sizes.to(place());
    drawn_.weights = at::lt(at::arange(drawn_.width, counts.options()), counts).to(at::kFloat).div_(counts);
    drawn_.losses = at::empty({steps, drawn_.rows}, counts.options());
  }

  // What waits for the device at last.
  void ReadLosses() {
    const at::Tensor losses = drawn_.losses.cpu();
    for (int64_t i = 0; i < drawn_.rows; ++i) {
      Row& client = row(i);
      for (int64_t step = 0; step < std::min(drawn_.steps, client.steps - drawn_.first); ++step) {
        const float loss = losses.data_ptr<float>()[step * drawn_.rows + i];
        client.loss_sum += loss;
        if (!std::isfinite(loss))
          SayDiverged(client, drawn_.first + step + 1, absl::StrCat("the loss is ", loss));
      }
    }
  }

  void TakeDeltas() {
    const at::Tensor deltas = models_.sub_(start_);
    const bool stay =
        deltas.size(1) >= kStayingElements &&
        std::all_of(rows_.begin(), rows_.end(), [](const auto& row) { return row->client.job.may_stay; });
    if (stay) {
      LeaveDeltas(deltas);
    } else {
      BringDeltas(deltas);
    }
    for (const auto& row : rows_) {
      if (row->result.ok()) row->result->train_loss = row->loss_sum / static_cast<double>(row->steps);
    }
  }

  void BringDeltas(const at::Tensor& deltas) {
    const at::Tensor here = deltas.cpu();
    const int64_t size = here.size(1);
    for (int64_t i = 0; i < rows(); ++i) {
      const float* const delta = here.data_ptr<float>() + i * size;
      if (!optim::AllFinite(delta, size)) SayNotFinite(row(i));
      std::copy_n(delta, size, row(i).client.delta.begin());
    }
  }

  // Each in memory of its own, which goes when it is done with, whatever becomes of the others.
  void LeaveDeltas(const at::Tensor& deltas) {
    constexpr double kMaximum = std::numeric_limits<double>::infinity();
    const at::Tensor largest = at::linalg_vector_norm(deltas, kMaximum, at::IntArrayRef{1}).cpu();
    for (int64_t i = 0; i < rows(); ++i) {
      if (!std::isfinite(largest.data_ptr<float>()[i])) SayNotFinite(row(i));
      if (row(i).result.ok())
        row(i).result->on_device = MakeDeviceVector(deltas[i].clone(), OwnStream(*options_.device));
    }
  }

  static void SayNotFinite(Row& row) { SayDiverged(row, row.steps, "the update is not finite"); }
  // What was said first counts.
  static void SayDiverged(Row& row, int64_t step, const std::string& what) {
    if (row.result.ok())
      row.result = Diverged(absl::StrCat(Where(row.client.job), ", step ", step, ": ", what));
  }

  // --- Oracle ---

  // Of all rows that make this step. Their losses are not known yet.
  absl::StatusOr<double> Gradient(Batch /*batch*/) override {
    const int64_t active = Active(drawn_.first + step_);
    const int64_t first = step_ * drawn_.rows * drawn_.width, count = active * drawn_.width;
    batcher_.Gather(data_, options_.loss,
                    std::span(drawn_.places).subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
                    rows() * options_.batch_size, {}, drawn_.on_device.narrow(0, first, count));
    const at::Tensor losses =
        layers_.Gradient(options_.loss, models_,
                         {.inputs = batcher_.inputs().view({active, drawn_.width, -1}),
                          .targets = Targets(active),
                          .weights = drawn_.weights.select(0, step_).narrow(0, 0, active)},
                         gradients_);
    drawn_.losses.select(0, step_).narrow(0, 0, active).copy_(losses);
    return std::numeric_limits<double>::quiet_NaN();
  }

  at::Tensor Targets(int64_t active) const {
    const at::Tensor& told = batcher_.targets();
    if (!relabelling_.defined()) return told;
    return relabelling_.narrow(0, 0, active)
        .gather(1, told.to(at::kLong).view({active, -1}))
        .flatten()
        .to(told.scalar_type());
  }

  // Those that step by tensors ask for gradients alone (LocalOptimizer::AnyDevice).
  static absl::Status Unexpected() { return InternalError("an optimizer by tensors asks for more"); }
  absl::StatusOr<double> Loss(Batch /*batch*/) override { return Unexpected(); }
  absl::StatusOr<at::Tensor> SampleLosses(Batch /*batch*/) override { return Unexpected(); }
  absl::StatusOr<at::Tensor> WeightedGradient(Batch /*batch*/, Weighting /*weighting*/) override {
    return Unexpected();
  }
  absl::StatusOr<at::Tensor> Groups(const std::string& /*by*/) override { return Unexpected(); }
  absl::StatusOr<std::vector<int64_t>> GroupSizes(const std::string& /*by*/) override { return Unexpected(); }

  const BatchedLayers& layers_;
  const Dataset& data_;
  const TrainerOptions& options_;
  std::vector<std::unique_ptr<Row>> rows_;  // longest first
  at::Tensor start_;                        // [1, elements of the model]: the global one
  at::Tensor models_;                       // [rows, elements of the model]
  at::Tensor gradients_;                    // [rows, elements of the model]
  std::vector<Block> blocks_;
  std::unique_ptr<LocalOptimizer> optimizer_;
  at::Tensor relabelling_;  // [rows, classes]: what each takes each class for; undefined: for itself
  Batcher batcher_;
  Drawn drawn_;
  int64_t step_ = 0;  // of drawn_
};

}  // namespace

absl::StatusOr<std::unique_ptr<BatchedTrainer>> BatchedTrainer::Make(FlatModel& model, const Dataset& data,
                                                                     const TrainerOptions& options) {
  constexpr char kNone[] = "none";
  if (options.device == nullptr || !options.static_plan || options.method.name != kNone ||
      options.gradient_noise.name != kNone || options.optimizer_state != OptimizerState::kReset) {
    return nullptr;
  }
  std::optional<BatchedLayers> layers =
      BatchedLayers::Of(model, data.sample_size(), ModelOutputs(options.loss, data));
  if (!layers) return nullptr;
  absl::StatusOr<std::unique_ptr<LocalOptimizer>> optimizer =
      Registry<LocalOptimizer>::Get().Create(options.optimizer, {.parameters = model.parameters()});
  if (!optimizer.ok()) return Annotate(optimizer.status(), "training.optimizer");
  if (!(*optimizer)->AnyDevice()) return nullptr;
  const int64_t elements = model.layout().size + options.batch_size * layers->width();
  const int64_t group = std::min(kMaxGroup, kMaxGroupElements / elements);
  if (group < 2) return nullptr;
  return std::unique_ptr<BatchedTrainer>(
      new BatchedTrainer(model.layout(), *std::move(layers), data, options, group));
}

bool BatchedTrainer::Knows(const TrainingJob& job) {
  return job.statistics.empty() && job.vectors.empty() && !job.cancelled && !job.progress;
}

std::vector<absl::StatusOr<TrainingResult>> BatchedTrainer::Train(std::span<const Client> clients,
                                                                  ConstParameters global) const {
  const auto start = std::chrono::steady_clock::now();
  PrepareThread();
  std::vector<absl::StatusOr<TrainingResult>> results(clients.size(), TrainingResult());
  absl::Status status;
  try {
    const c10::OptionalStreamGuard on_stream = OnStream(OwnStream(*options_.device));
    Group group(layers_, data_, options_);
    for (size_t i = 0; i < clients.size(); ++i) {
      const absl::Status refused =
          CheckJob(clients[i].job, global, layout_, clients[i].samples, data_, clients[i].delta);
      if (refused.ok()) {
        group.Add(clients[i], results[i]);
      } else {
        results[i] = refused;
      }
    }
    if (!group.empty()) status = group.Train(global);
  } catch (const std::exception& e) {
    status = FromException(e);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (size_t i = 0; i < clients.size(); ++i) {
    if (!results[i].ok()) continue;
    results[i]->seconds = seconds / static_cast<double>(clients.size());
    if (!status.ok()) results[i] = Annotate(status, Where(clients[i].job));
  }
  return results;
}

}  // namespace muster
