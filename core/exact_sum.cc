#include "core/exact_sum.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/kernel.h"
#include "core/magnitude.h"

namespace muster {
namespace {

constexpr double kUnit = 0x1.0p40;        // fixed-point units in 1.0
constexpr double kWeightUnit = 0x1.0p60;  // weight units in the bound
// Weights such as ten times 0.1 sum to a little more than 1. The 64-bit sum has room for three bits more.
constexpr int64_t kMostWeight = (int64_t{1} << 60) + (int64_t{1} << 20);

// Adding 1.5 * 2^52 rounds to an integer, to even, and leaves it in the low bits: as llrint, but vectorised.
// Needs |x * scale| < 2^51.
MUSTER_KERNEL void AddSmall(int64_t* sum, const float* x, size_t n, double scale) {
  constexpr double kShift = 0x1.8p52;
  constexpr size_t kBlock = 32;
  size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    PrefetchPage(sum + i);
    for (size_t j = i; j < i + kBlock; ++j) {
      sum[j] += std::bit_cast<int64_t>(x[j] * scale + kShift) - std::bit_cast<int64_t>(kShift);
    }
  }
  for (; i < n; ++i) sum[i] += std::bit_cast<int64_t>(x[i] * scale + kShift) - std::bit_cast<int64_t>(kShift);
}

MUSTER_KERNEL void AddSigned(int64_t* sum, const uint8_t* signs, size_t n, int64_t units) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    if (i % 32 == 0) PrefetchPage(sum + i);
    const int64_t byte = signs[i / 8];
    for (int64_t bit = 0; bit < 8; ++bit) {
      const int64_t minus = -(byte >> bit & 1);  // all ones or zero
      sum[i + bit] += (units ^ minus) - minus;
    }
  }
  for (; i < n; ++i) sum[i] += (signs[i / 8] >> i % 8 & 1) != 0 ? -units : units;
}

}  // namespace

ExactSum::ExactSum(int64_t size, double total_weight_bound)
    : words_(static_cast<size_t>(size + kCounts), 0),
      bound_(std::exp2(std::ceil(std::log2(total_weight_bound)))) {}

absl::StatusOr<ExactSum::Term> ExactSum::StartTerm(double weight, float largest) {
  here_ = true;
  return CountTerm(weight, largest);
}

absl::StatusOr<ExactSum::Term> ExactSum::CountTerm(double weight, float largest) {
  if (!(weight >= 0 && weight <= bound_)) {
    return InvalidInput(absl::StrCat("weight ", weight, " is outside 0 to ", bound_));
  }
  const int64_t weight_units = std::llrint(weight / bound_ * kWeightUnit);
  if (weight_units > kMostWeight - weights()) {
    return InvalidInput(absl::StrCat("weights sum to more than their bound ", bound_));
  }
  if (!(largest >= 0 && largest <= kLargest)) {
    return InvalidInput(absl::StrCat("elements of up to ", largest, " are beyond 2^20"));
  }
  Count(weight_units, 1);
  const double scale = weight / bound_ * kUnit;
  return Term(elements(), weight_units, scale, largest * scale < 0x1.0p51);
}

void ExactSum::TakeBack(const Term& term) { Count(-term.weight_, -1); }

absl::Status ExactSum::Add(std::span<const float> x, double weight) {
  if (static_cast<int64_t>(x.size()) != size()) {
    return InvalidInput(absl::StrCat("update has ", x.size(), " elements, the model has ", size()));
  }
  // One pass to check, so that a refused term leaves no trace.
  const float largest = LargestMagnitude(x);
  if (!(largest <= kLargest)) {
    for (size_t i = 0; i < x.size(); ++i) {
      if (!(std::fabs(x[i]) <= kLargest)) {
        return InvalidInput(absl::StrCat("element ", i, " of the update is ", x[i],
                                         std::isfinite(x[i]) ? ", beyond 2^20" : ", not a finite number"));
      }
    }
  }
  MUSTER_ASSIGN_OR_RETURN(const Term term, StartTerm(weight, largest));
  term.Add(0, x);
  return absl::OkStatus();
}

void ExactSum::Term::Add(int64_t offset, std::span<const float> x) const {
  int64_t* const sum = sum_.data() + offset;
  if (small_) {
    AddSmall(sum, x.data(), x.size(), scale_);
  } else {
    for (size_t i = 0; i < x.size(); ++i) sum[i] += std::llrint(x[i] * scale_);
  }
}

void ExactSum::Term::AddAt(std::span<const uint32_t> places, std::span<const float> x) const {
  for (size_t i = 0; i < places.size(); ++i) sum_[places[i]] += std::llrint(x[i] * scale_);
}

void ExactSum::Term::TakeBackAt(std::span<const uint32_t> places, std::span<const float> x) const {
  for (size_t i = 0; i < places.size(); ++i) sum_[places[i]] -= std::llrint(x[i] * scale_);
}

void ExactSum::Term::AddSigns(int64_t offset, std::span<const uint8_t> signs, int64_t count,
                              float magnitude) const {
  AddSigned(sum_.data() + offset, signs.data(), static_cast<size_t>(count), std::llrint(magnitude * scale_));
}

absl::Status ExactSum::AddOnDevice(double weight, float largest, Adder add) {
  MUSTER_ASSIGN_OR_RETURN(const Term term, CountTerm(weight, largest));
  absl::Status added = add(term.scale_, on_device_);
  if (!added.ok()) TakeBack(term);
  return added;
}

absl::Status ExactSum::Settle() const {
  if (on_device_ == nullptr) return absl::OkStatus();
  MUSTER_RETURN_IF_ERROR(on_device_->MoveTo(std::span(words_).first(words_.size() - kCounts)));
  on_device_.reset();
  here_ = true;
  return absl::OkStatus();
}

std::span<const int64_t> ExactSum::words() {
  return Settle().ok() ? std::span<const int64_t>(words_) : std::span<const int64_t>();
}

absl::StatusOr<ExactSum::Words> ExactSum::WordsInPlace() {
  if (here_) MUSTER_RETURN_IF_ERROR(Settle());
  const std::span<int64_t> counts = std::span<int64_t>(words_).last(kCounts);
  if (on_device_ != nullptr) {
    return Words{.elements = on_device_->elements(), .on_device = true, .counts = counts};
  }
  return Words{.elements = elements(), .on_device = false, .counts = counts};
}

absl::Status ExactSum::AddWords(std::span<const int64_t> words) {
  if (words.size() != words_.size()) {
    return InvalidInput(absl::StrCat(words.size(), " words of a sum that has ", words_.size()));
  }
  const std::span<const int64_t> counts = words.last(kCounts);
  if (counts[0] < 0 || counts[0] > kMostWeight - weights() || counts[1] < 0) {
    return InvalidInput(absl::StrCat("weights sum to more than their bound ", bound_));
  }
  here_ = true;
  for (size_t i = 0; i < words.size(); ++i) {
    words_[i] = static_cast<int64_t>(static_cast<uint64_t>(words_[i]) + static_cast<uint64_t>(words[i]));
  }
  return absl::OkStatus();
}

double ExactSum::total_weight() const { return static_cast<double>(weights()) / kWeightUnit * bound_; }

absl::Status ExactSum::Mean(std::span<float> out) const { return Quotient(total_weight(), out); }

absl::StatusOr<std::vector<float>> ExactSum::TakeMean() && {
  MUSTER_RETURN_IF_ERROR(Settle());
  constexpr size_t kBlock = size_t{1} << 22;  // elements
  const std::span<int64_t> sum = elements();
  std::vector<float> mean;
  mean.reserve(sum.size());
  const double divisor = total_weight();
  if (!(divisor > 0)) return absl::FailedPreconditionError("no update with a positive weight was added");
  const double scale = bound_ / kUnit / divisor;
  for (size_t begin = 0; begin < sum.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, sum.size());
    mean.resize(end);
    for (size_t i = begin; i < end; ++i) mean[i] = static_cast<float>(static_cast<double>(sum[i]) * scale);
    // Large sums lie on pages of their own, so whole blocks are whole pages.
    if (end - begin == kBlock) ::madvise(&sum[begin], kBlock * sizeof(int64_t), MADV_DONTNEED);
  }
  return mean;
}

absl::Status ExactSum::Quotient(double divisor, std::span<float> out) const {
  MUSTER_RETURN_IF_ERROR(Settle());
  if (!(divisor > 0)) return absl::FailedPreconditionError("no update with a positive weight was added");
  const std::span<const int64_t> sum = elements();
  if (out.size() != sum.size()) return InvalidInput("output size does not match the sum");
  const double scale = bound_ / kUnit / divisor;
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(static_cast<double>(sum[i]) * scale);
  return absl::OkStatus();
}

}  // namespace muster
