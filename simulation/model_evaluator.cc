#include "simulation/model_evaluator.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace muster {
namespace {

constexpr size_t kChunk = 500;

}  // namespace

Evaluation ToEvaluation(const EvaluationSums& sums) {
  Evaluation result;
  result.samples = sums.samples;
  if (sums.samples == 0) return result;
  result.loss = sums.loss / static_cast<double>(sums.samples);
  int64_t correct = 0;
  int classes = 0;
  for (size_t k = 0; k < sums.class_samples.size(); ++k) {
    correct += sums.class_correct[k];
    const auto hits = static_cast<double>(sums.class_correct[k]);
    const auto actual = static_cast<double>(sums.class_samples[k]);
    const auto predicted = static_cast<double>(sums.class_predicted[k]);
    result.class_recall.push_back(actual > 0 ? hits / actual : std::numeric_limits<double>::quiet_NaN());
    if (actual > 0) {
      ++classes;
      result.macro_f1 += 2 * hits / (actual + predicted);
    }
  }
  if (classes > 0) result.macro_f1 /= classes;
  result.accuracy = static_cast<double>(correct) / static_cast<double>(sums.samples);
  return result;
}

ModelEvaluator::ModelEvaluator(const FederatedData& data, WorkerThreads& workers)
    : data_(data), workers_(workers), test_samples_(static_cast<size_t>(data.test().size())) {
  std::iota(test_samples_.begin(), test_samples_.end(), 0U);
}

absl::StatusOr<EvaluationSums> ModelEvaluator::Evaluate(ConstParameters model, const Dataset& data,
                                                        std::span<const uint32_t> samples) {
  const size_t chunks = (samples.size() + kChunk - 1) / kChunk;
  std::vector<absl::StatusOr<EvaluationSums>> parts(chunks, EvaluationSums());
  workers_.ForEach(static_cast<int64_t>(chunks), [&](LocalTrainer& trainer, int64_t i) {
    const size_t begin = static_cast<size_t>(i) * kChunk;
    parts[i] =
        trainer.Evaluate(model, data, samples.subspan(begin, std::min(kChunk, samples.size() - begin)));
  });
  EvaluationSums sums;
  for (const auto& part : parts) {
    MUSTER_RETURN_IF_ERROR(part.status());
    sums.Merge(*part);
  }
  return sums;
}

absl::StatusOr<Evaluation> ModelEvaluator::EvaluateTest(ConstParameters model) {
  MUSTER_ASSIGN_OR_RETURN(const EvaluationSums sums, Evaluate(model, data_.test(), test_samples_));
  return ToEvaluation(sums);
}

absl::StatusOr<double> ModelEvaluator::TrustLoss(ConstParameters model) {
  if (data_.trust.empty()) return absl::FailedPreconditionError("there is no trust set");
  MUSTER_ASSIGN_OR_RETURN(const EvaluationSums sums, Evaluate(model, data_.train(), data_.trust));
  return sums.loss / static_cast<double>(sums.samples);
}

absl::StatusOr<std::vector<ClientEvaluation>> ModelEvaluator::EvaluateClients(ConstParameters model) {
  const Partition& lists = data_.validation.clients() > 0 ? data_.validation : data_.training;
  std::vector<absl::StatusOr<EvaluationSums>> parts(static_cast<size_t>(data_.clients()), EvaluationSums());
  workers_.ForEach(data_.clients(), [&](LocalTrainer& trainer, int64_t client) {
    // A validation part can be empty; such a client is judged on what it trains on.
    const std::span<const uint32_t> own = lists.samples(client);
    parts[client] =
        trainer.Evaluate(model, data_.train(), own.empty() ? data_.training.samples(client) : own);
  });
  std::vector<ClientEvaluation> result;
  result.reserve(parts.size());
  for (size_t c = 0; c < parts.size(); ++c) {
    MUSTER_RETURN_IF_ERROR(parts[c].status());
    result.push_back({static_cast<ClientId>(c), ToEvaluation(*parts[c])});
  }
  return result;
}

}  // namespace muster
