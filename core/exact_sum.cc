#include "core/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr double kUnit = 0x1.0p40;        // fixed-point units in 1.0
constexpr double kWeightUnit = 0x1.0p60;  // weight units in the bound
constexpr float kLargest = 0x1.0p20f;
// Weights such as ten times 0.1 sum to a little more than 1. The 64-bit sum has room for three bits more.
constexpr int64_t kMostWeight = (int64_t{1} << 60) + (int64_t{1} << 20);

}  // namespace

ExactSum::ExactSum(int64_t size, double total_weight_bound)
    : sum_(size, 0), bound_(std::exp2(std::ceil(std::log2(total_weight_bound)))) {}

absl::Status ExactSum::Add(std::span<const float> x, double weight) {
  if (x.size() != sum_.size()) {
    return InvalidInput(absl::StrCat("update has ", x.size(), " elements, the model has ", sum_.size()));
  }
  if (!(weight >= 0 && weight <= bound_)) {
    return InvalidInput(absl::StrCat("weight ", weight, " is outside 0 to ", bound_));
  }
  const int64_t weight_units = std::llrint(weight / bound_ * kWeightUnit);
  if (weight_units > kMostWeight - weights_) {
    return InvalidInput(absl::StrCat("weights sum to more than their bound ", bound_));
  }
  // One pass to check, so that a refused term leaves no trace. Magnitudes are compared as integers, whose
  // order is the same, and NaN comes out beyond infinity.
  constexpr uint32_t kMagnitude = 0x7fffffff;
  uint32_t largest = 0;
  for (const float value : x) largest = std::max(largest, std::bit_cast<uint32_t>(value) & kMagnitude);
  if (largest > std::bit_cast<uint32_t>(kLargest)) {
    for (size_t i = 0; i < x.size(); ++i) {
      if (!(std::fabs(x[i]) <= kLargest)) {
        return InvalidInput(absl::StrCat("element ", i, " of the update is ", x[i],
                                         std::isfinite(x[i]) ? ", beyond 2^20" : ", not a finite number"));
      }
    }
  }
  const double scale = weight / bound_ * kUnit;
  if (std::bit_cast<float>(largest) * scale < 0x1.0p51) {
    // Adding 1.5 * 2^52 rounds to an integer, to even, and leaves it in the low bits: as llrint, but
    // vectorised.
    constexpr double kShift = 0x1.8p52;
    for (size_t i = 0; i < x.size(); ++i) {
      sum_[i] += std::bit_cast<int64_t>(x[i] * scale + kShift) - std::bit_cast<int64_t>(kShift);
    }
  } else {
    for (size_t i = 0; i < x.size(); ++i) sum_[i] += std::llrint(x[i] * scale);
  }
  weights_ += weight_units;
  ++terms_;
  return absl::OkStatus();
}

absl::Status ExactSum::Merge(const ExactSum& other) {
  if (other.sum_.size() != sum_.size() || other.bound_ != bound_) {
    return InvalidInput("partial sums of different sizes or weight bounds cannot be merged");
  }
  if (other.weights_ > kMostWeight - weights_) {
    return InvalidInput(absl::StrCat("weights sum to more than their bound ", bound_));
  }
  for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += other.sum_[i];
  weights_ += other.weights_;
  terms_ += other.terms_;
  return absl::OkStatus();
}

double ExactSum::total_weight() const { return static_cast<double>(weights_) / kWeightUnit * bound_; }

absl::Status ExactSum::Mean(std::span<float> out) const { return Quotient(total_weight(), out); }

absl::Status ExactSum::Quotient(double divisor, std::span<float> out) const {
  if (!(divisor > 0)) return absl::FailedPreconditionError("no update with a positive weight was added");
  if (out.size() != sum_.size()) return InvalidInput("output size does not match the sum");
  const double scale = bound_ / kUnit / divisor;
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(static_cast<double>(sum_[i]) * scale);
  return absl::OkStatus();
}

}  // namespace muster
