#include "optim/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "optim/norms.h"

namespace muster::optim {
namespace {

constexpr char kSteps[] = "steps";

}  // namespace

Optimizer::Optimizer(std::vector<torch::optim::OptimizerParamGroup> groups,
                     std::unique_ptr<torch::optim::OptimizerOptions> defaults, std::vector<std::string> slots,
                     size_t scratch)
    : torch::optim::Optimizer(std::move(groups), std::move(defaults)),
      slot_names_(std::move(slots)),
      slots_(slot_names_.size() + scratch) {
  TORCH_CHECK(slots_ <= kMaxSlots, "too many slots");
  const std::vector<at::Tensor> all = AllParameters();
  by_tensors_ =
      std::any_of(all.begin(), all.end(), [](const at::Tensor& tensor) { return !tensor.is_cpu(); });
}

std::vector<at::Tensor> Optimizer::AllParameters() const {
  std::vector<at::Tensor> all;
  for (const auto& group : param_groups_) {
    all.insert(all.end(), group.params().begin(), group.params().end());
  }
  return all;
}

std::vector<size_t> Optimizer::NeededSlots() const {
  std::vector<size_t> needed;
  for (size_t slot = 0; slot < slot_names_.size(); ++slot) {
    if (std::any_of(param_groups_.begin(), param_groups_.end(),
                    [&](const auto& group) { return Needs(slot, group.options()); })) {
      needed.push_back(slot);
    }
  }
  return needed;
}

int64_t Optimizer::elements() const {
  int64_t sum = 0;
  for (const at::Tensor& parameter : AllParameters()) sum += parameter.numel();
  return sum;
}

at::Tensor Optimizer::NewSlot(size_t slot, size_t index, const at::Tensor& parameter) {
  if (!by_tensors_) return at::zeros(parameter.sizes(), at::kFloat);
  at::Tensor& row = slot_rows_[slot];
  const std::vector<at::Tensor> parameters = AllParameters();
  if (!row.defined()) row = at::zeros({elements()}, parameter.options().requires_grad(false));
  int64_t place = 0;
  for (size_t i = 0; i < index; ++i) place += parameters[i].numel();
  return row.narrow(0, place, parameter.numel()).view(parameter.sizes());
}

Optimizer::Parameter Optimizer::View(size_t index, const at::Tensor& tensor,
                                     const torch::optim::OptimizerOptions& options) {
  Kept& kept = kept_[index];
  Parameter parameter{
      .index = index, .size = tensor.numel(), .step = ++kept.steps, .options = &options, .tensor = tensor};
  parameter.values = tensor.data_ptr<float>();
  for (size_t slot = 0; slot < slots_; ++slot) {
    if (!Needs(slot, options)) continue;
    if (!kept.slots[slot].defined()) kept.slots[slot] = NewSlot(slot, index, tensor);
    parameter.slots[slot] = kept.slots[slot].data_ptr<float>();
  }
  return parameter;
}

absl::StatusOr<std::vector<Optimizer::Parameter>> Optimizer::Gather() {
  std::vector<Parameter> gathered;
  size_t index = 0;
  for (const auto& group : param_groups_) {
    for (const at::Tensor& tensor : group.params()) {
      const size_t i = index++;
      if (kept_.size() <= i) kept_.resize(i + 1);
      if (!tensor.grad().defined()) continue;
      if (!tensor.is_contiguous() || tensor.scalar_type() != at::kFloat ||
          (by_tensors_ ? !AnyDevice() : !tensor.is_cpu()) || tensor.grad().layout() != at::kStrided ||
          tensor.grad().scalar_type() != at::kFloat) {
        return InvalidInput(
            absl::StrCat("parameter ", i, " or its gradient is not a dense float32 tensor on the CPU"));
      }
      Parameter parameter = View(i, tensor, group.options());
      parameter.held_gradient = tensor.grad().contiguous();
      parameter.gradient = parameter.held_gradient.data_ptr<float>();
      gathered.push_back(std::move(parameter));
    }
  }
  return gathered;
}

absl::StatusOr<std::vector<Optimizer::Run>> Optimizer::GatherRuns() {
  MUSTER_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, Gather());
  // Whether `next` lies behind the `size` elements that begin with `first`.
  const auto follows = [](const Parameter& first, int64_t size, const Parameter& next) {
    if (next.values != first.values + size || next.gradient != first.gradient + size ||
        next.step != first.step || next.options != first.options || !next.tensor.is_alias_of(first.tensor) ||
        !next.held_gradient.is_alias_of(first.held_gradient)) {
      return false;
    }
    for (size_t slot = 0; slot < kMaxSlots; ++slot) {
      if (first.slots[slot] != nullptr && next.slots[slot] != first.slots[slot] + size) return false;
    }
    return true;
  };
  std::vector<Run> runs;
  for (size_t begin = 0, end = 0; begin < parameters.size(); begin = end) {
    const Parameter& first = parameters[begin];
    int64_t size = first.size;
    for (end = begin + 1; end < parameters.size() && follows(first, size, parameters[end]); ++end) {
      size += parameters[end].size;
    }
    const auto flat = [size](const at::Tensor& tensor) { return tensor.detach().as_strided({size}, {1}); };
    Run& run = runs.emplace_back();
    run.values = flat(first.tensor);
    run.gradient = flat(first.held_gradient);
    for (size_t slot = 0; slot < slots_; ++slot) {
      if (first.slots[slot] != nullptr) run.slots[slot] = flat(kept_[first.index].slots[slot]);
    }
    run.step = first.step;
    run.options = first.options;
  }
  return runs;
}

std::vector<Optimizer::Parameter> Optimizer::GatherStepped() {
  std::vector<Parameter> gathered;
  size_t index = 0;
  for (const auto& group : param_groups_) {
    for (const at::Tensor& tensor : group.params()) {
      const size_t i = index++;
      if (i < kept_.size() && kept_[i].steps > 0) gathered.push_back(View(i, tensor, group.options()));
    }
  }
  return gathered;
}

absl::Status Optimizer::NotFinite(size_t index) const {
  const std::string name = index < names_.size() ? absl::StrCat(" (", names_[index], ")") : "";
  return InvalidInput(absl::StrCat("the gradient of parameter ", index, name,
                                   " holds a NaN or an infinity; a lower learning rate may help"));
}

absl::Status Optimizer::CheckFinite(const std::vector<Parameter>& parameters) const {
  for (const Parameter& parameter : parameters) {
    if (!AllFinite(parameter.gradient, parameter.size)) return NotFinite(parameter.index);
  }
  return absl::OkStatus();
}

absl::StatusOr<double> Optimizer::GradientChange(std::vector<Parameter>& parameters, Evaluate evaluate,
                                                 absl::FunctionRef<void(const Parameter&)> move) {
  std::vector<std::vector<float>> values;
  for (Parameter& p : parameters) {
    values.emplace_back(p.values, p.values + p.size);
    // The evaluation to come may reuse the memory of the gradients.
    p.held_gradient = p.held_gradient.clone();
    p.gradient = p.held_gradient.data_ptr<float>();
    move(p);
  }
  const absl::Status evaluated = evaluate().status();
  for (size_t i = 0; i < parameters.size(); ++i) {
    std::copy(values[i].begin(), values[i].end(), parameters[i].values);
  }
  MUSTER_RETURN_IF_ERROR(evaluated);
  double change = 0;
  for (const Parameter& p : parameters) {
    if (!p.tensor.grad().defined()) return InvalidInput("a second evaluation gave other gradients");
    const at::Tensor there = p.tensor.grad().contiguous();
    if (!AllFinite(there.data_ptr<float>(), p.size)) return NotFinite(p.index);
    change += L1Distance(p.gradient, there.data_ptr<float>(), p.size);
    p.tensor.mutable_grad() = p.held_gradient;
  }
  return change;
}

torch::Tensor Optimizer::step(LossClosure closure) {
  torch::Tensor loss;
  int64_t evaluations = 0;
  const absl::StatusOr<double> done = Step([&]() -> absl::StatusOr<double> {
    if (closure == nullptr) {
      if (++evaluations == 1) return std::numeric_limits<double>::quiet_NaN();
      return InvalidInput("this method evaluates the gradient more than once a step and needs a closure");
    }
    const at::AutoGradMode with_grad(true);
    torch::Tensor value = closure();
    if (!loss.defined()) loss = value;
    return value.item<double>();
  });
  TORCH_CHECK(done.ok(), Message(done.status()));
  return loss;
}

void Optimizer::Reset() {
  for (Kept& kept : kept_) {
    kept.steps = 0;
    for (at::Tensor& slot : kept.slots) {
      if (slot.defined() && !by_tensors_) slot.zero_();
    }
  }
  for (at::Tensor& row : slot_rows_) {
    if (row.defined()) row.zero_();
  }
  ResetFields();
}

State Optimizer::Save() const {
  State state;
  if (std::none_of(kept_.begin(), kept_.end(), [](const Kept& kept) { return kept.steps > 0; })) return state;
  const std::vector<at::Tensor> parameters = AllParameters();
  std::vector<float>& steps = state.vectors[kSteps];
  for (size_t i = 0; i < parameters.size(); ++i) {
    steps.push_back(i < kept_.size() ? static_cast<float>(kept_[i].steps) : 0.0F);
  }
  for (const size_t slot : NeededSlots()) {
    std::vector<float>& flat = state.vectors[slot_names_[slot]];
    flat.reserve(static_cast<size_t>(elements()));
    for (size_t i = 0; i < parameters.size(); ++i) {
      const size_t end = flat.size() + static_cast<size_t>(parameters[i].numel());
      if (i < kept_.size() && kept_[i].slots[slot].defined()) {
        const at::Tensor kept = kept_[i].slots[slot].cpu();
        const float* const from = kept.data_ptr<float>();
        flat.insert(flat.end(), from, from + parameters[i].numel());
      }
      flat.resize(end);
    }
  }
  // fields() hands out pointers for Load to write to; here they are only read.
  const Fields kept =
      const_cast<Optimizer*>(this)->fields();  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  for (const auto& [name, number] : kept.numbers) state.numbers[name] = *number;
  for (const auto& [name, vector] : kept.vectors) state.vectors[name] = *vector;
  return state;
}

absl::Status Optimizer::Load(const State& state) {
  Reset();
  if (state.vectors.empty() && state.numbers.empty()) return absl::OkStatus();
  const absl::Status status = TryLoad(state);
  if (!status.ok()) Reset();
  return status;
}

absl::Status Optimizer::TryLoad(const State& state) {
  const Fields kept = fields();
  const std::vector<size_t> needed = NeededSlots();
  const auto foreign = [](const std::string& what) {
    return InvalidInput(absl::StrCat("the state of another optimizer: ", what));
  };
  if (state.vectors.size() != needed.size() + 1 + kept.vectors.size() ||
      state.numbers.size() != kept.numbers.size()) {
    return foreign("it has other entries");
  }
  const std::vector<at::Tensor> parameters = AllParameters();
  kept_.resize(parameters.size());
  const auto steps = state.vectors.find(kSteps);
  if (steps == state.vectors.end() || steps->second.size() != parameters.size()) {
    return foreign(absl::StrCat("'", kSteps, "' does not fit"));
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const float count = steps->second[i];
    // The mean of several clients' counts need not be whole.
    if (!(count >= 0 && count <= 0x1p24F)) {
      return InvalidInput(absl::StrCat("'", kSteps, "' holds ", count, ", which is no count"));
    }
    kept_[i].steps = std::llround(count);
  }
  for (const size_t slot : needed) {
    const auto found = state.vectors.find(slot_names_[slot]);
    if (found == state.vectors.end() || static_cast<int64_t>(found->second.size()) != elements()) {
      return foreign(absl::StrCat("'", slot_names_[slot], "' does not fit"));
    }
    const float* from = found->second.data();
    for (size_t i = 0; i < parameters.size(); ++i) {
      at::Tensor& kept_slot = kept_[i].slots[slot];
      if (!kept_slot.defined()) kept_slot = NewSlot(slot, i, parameters[i]);
      // Only read.
      kept_slot.copy_(
          at::from_blob(const_cast<float*>(from),  // NOLINT(cppcoreguidelines-pro-type-const-cast)
                        parameters[i].sizes(), at::kFloat));
      from += parameters[i].numel();
    }
  }
  for (const auto& [name, number] : kept.numbers) {
    const auto found = state.numbers.find(name);
    if (found == state.numbers.end()) return foreign(absl::StrCat("'", name, "' is missing"));
    *number = found->second;
  }
  for (const auto& [name, vector] : kept.vectors) {
    const auto found = state.vectors.find(name);
    if (found == state.vectors.end()) return foreign(absl::StrCat("'", name, "' is missing"));
    *vector = found->second;
  }
  return absl::OkStatus();
}

void Optimizer::save(torch::serialize::OutputArchive& archive) const {
  const State state = Save();
  c10::List<std::string> vector_names;
  c10::List<std::string> number_names;
  c10::List<at::Tensor> vectors;
  c10::List<double> numbers;
  for (const auto& [name, values] : state.vectors) {
    vector_names.push_back(name);
    vectors.push_back(at::tensor(at::ArrayRef<float>(values)));
  }
  for (const auto& [name, number] : state.numbers) {
    number_names.push_back(name);
    numbers.push_back(number);
  }
  archive.write("vector_names", c10::IValue(vector_names));
  archive.write("vectors", c10::IValue(vectors));
  archive.write("number_names", c10::IValue(number_names));
  archive.write("numbers", c10::IValue(numbers));
  for (size_t i = 0; i < param_groups_.size(); ++i) {
    torch::serialize::OutputArchive group(archive.compilation_unit());
    param_groups_[i].options().serialize(group);
    archive.write(absl::StrCat("group", i), group);
  }
}

void Optimizer::load(torch::serialize::InputArchive& archive) {
  const auto read = [&](const std::string& key) {
    c10::IValue value;
    archive.read(key, value);
    return value;
  };
  const auto vector_names = read("vector_names").toList();
  const auto vectors = read("vectors").toTensorList();
  const auto number_names = read("number_names").toList();
  const auto numbers = read("numbers").toDoubleList();
  State state;
  for (size_t i = 0; i < vectors.size(); ++i) {
    const at::Tensor values = vectors.get(i).contiguous();
    const auto* const data = values.data_ptr<float>();
    state.vectors[vector_names.get(i).toStringRef()] = std::vector<float>(data, data + values.numel());
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    state.numbers[number_names.get(i).toStringRef()] = numbers.get(i);
  }
  for (size_t i = 0; i < param_groups_.size(); ++i) {
    torch::serialize::InputArchive group;
    archive.read(absl::StrCat("group", i), group);
    param_groups_[i].options().serialize(group);
  }
  const absl::Status status = Load(state);
  TORCH_CHECK(status.ok(), Message(status));
}

absl::StatusOr<double> ElementwiseOptimizer::Step(Evaluate evaluate) {
  MUSTER_ASSIGN_OR_RETURN(const double loss, evaluate());
  if (by_tensors()) {
    const torch::NoGradGuard no_grad;
    MUSTER_ASSIGN_OR_RETURN(const std::vector<Run> runs, GatherRuns());
    for (const Run& run : runs) UpdateRun(run);
    return loss;
  }
  MUSTER_ASSIGN_OR_RETURN(const std::vector<Parameter> parameters, Gather());
  for (const Parameter& parameter : parameters) {
    if (!Update(parameter)) return NotFinite(parameter.index);
  }
  return loss;
}

void ElementwiseOptimizer::UpdateRun(const Run& /*run*/) {
  TORCH_CHECK(false, "this method steps on the CPU only");
}

}  // namespace muster::optim
