// A weighted sum of vectors whose bits do not depend on the order of the terms.
//
// Every term is rounded once to 64-bit fixed point and added as an integer; integer addition commutes, so
// arrival order, threads, workers and merges cannot show in the result.
#ifndef MUSTER_CORE_EXACT_SUM_H_
#define MUSTER_CORE_EXACT_SUM_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/huge_pages.h"
#include "core/status.h"

namespace muster {

// What was added to a sum in the memory of a device. One thread at a time.
class DeviceSum {
 public:
  virtual ~DeviceSum() = default;
  // sum += it, element by element and modulo 2^64; it is 0 then. INTERNAL for an error of the device.
  virtual absl::Status MoveTo(std::span<int64_t> sum) = 0;
  // Its elements, in the device's memory: for what moves them there, not to be read here. No work on them is
  // under way.
  virtual std::span<int64_t> elements() = 0;
};

// sum_i w_i * x_i for float32 vectors x_i and weights 0 <= w_i with sum_i w_i <= `total_weight_bound`.
//
// Resolution: 2^-40 of a term whose weight is the whole bound. Range: |x| <= 2^20 per element; the bound on
// the weights then makes overflow impossible. Memory: 8 bytes an element. Not thread-safe.
class ExactSum {
 public:
  // total_weight_bound > 0 must be the same wherever the same sum is formed (it sets the fixed point).
  ExactSum(int64_t size, double total_weight_bound);

  // Adds weight * x. Refuses, leaving the sum as it was: INVALID_ARGUMENT for a wrong size, a weight that is
  // negative, not finite or over the bound, an element that is NaN, infinite or beyond 2^20 (the message
  // names the element).
  absl::Status Add(std::span<const float> x, double weight);

  // The same for a vector on a device whose LargestMagnitude is `largest`, as StartTerm for what is refused.
  // `add` rounds every x_i * scale to the nearest integer, ties to even, and adds it to the device's sum,
  // which it makes where there is none yet. Whatever reads the sum brings that here first; it fails as the
  // device does.
  using Adder = absl::FunctionRef<absl::Status(double scale, std::unique_ptr<DeviceSum>& on_device)>;
  absl::Status AddOnDevice(double weight, float largest, Adder add);

  // One weighted term that comes in pieces, for decoders that never hold the whole vector. Elements that are
  // not mentioned are 0. Adding the pieces gives the bits of Add() on the whole. The caller has checked what
  // Add() would have: places are inside the sum, and no |x| is above the `largest` of StartTerm. Lives no
  // longer than the sum.
  class Term {
   public:
    // x are the elements from `offset` on.
    void Add(int64_t offset, std::span<const float> x) const;
    // x[i] is element places[i]; places are distinct.
    void AddAt(std::span<const uint32_t> places, std::span<const float> x) const;
    // Undoes AddAt with the same arguments, to the bit.
    void TakeBackAt(std::span<const uint32_t> places, std::span<const float> x) const;
    // What is added to, for those who know places ahead of AddAt and ask for their memory: they are far
    // apart.
    const int64_t* words() const { return sum_.data(); }
    // Bit i of `signs` (the lowest bit of a byte first) says that element offset + i is -magnitude, else
    // +magnitude, for i < count.
    void AddSigns(int64_t offset, std::span<const uint8_t> signs, int64_t count, float magnitude) const;

   private:
    friend class ExactSum;
    Term(std::span<int64_t> sum, int64_t weight, double scale, bool small)
        : sum_(sum), weight_(weight), scale_(scale), small_(small) {}

    std::span<int64_t> sum_;
    int64_t weight_;  // in units of 2^-60 of the bound
    double scale_;    // fixed-point units in 1.0, times the weight
    bool small_;      // every |x| * scale_ is below 2^51
  };
  // Counts the term and its weight at once. Refuses, leaving the sum as it was: INVALID_ARGUMENT for a bad
  // weight as Add(), or if not 0 <= largest <= kLargest.
  absl::StatusOr<Term> StartTerm(double weight, float largest);
  // For a decoder that meets an error on its way and has taken back the pieces: as if the term had never been
  // started.
  void TakeBack(const Term& term);

  static constexpr float kLargest = 0x1.0p20f;

  // The whole sum as integers, for other processes: those of several sums of the same size and bound, added
  // one by one and modulo 2^64, are the words of the sum of all their terms. size() + 2 of them, none where a
  // device fails; they belong to the sum.
  std::span<const int64_t> words();
  // The same where they lie: the elements in the memory of a device if all terms were added there.
  struct Words {
    std::span<int64_t> elements;
    bool on_device = false;
    std::span<int64_t> counts;  // what follows the elements
  };
  absl::StatusOr<Words> WordsInPlace();
  // Adds the terms of other sums of the same size and bound by their words. Refuses, leaving the sum as it
  // was: INVALID_ARGUMENT for another number of words, or weights that sum to more than the bound.
  absl::Status AddWords(std::span<const int64_t> words);

  int64_t size() const { return static_cast<int64_t>(words_.size()) - kCounts; }
  // Sum of the weights added so far, exact to 2^-60 of the bound.
  double total_weight() const;
  int64_t terms() const { return words_.back(); }
  // out = sum / total_weight(). FAILED_PRECONDITION where total_weight() is 0.
  absl::Status Mean(std::span<float> out) const;
  // Mean() into a new vector, giving the sum's memory back on the way: a large sum and its mean are never
  // both there whole. The sum is of no use afterwards.
  absl::StatusOr<std::vector<float>> TakeMean() &&;
  // out = sum / divisor, for rules that divide by something else than the weights.
  absl::Status Quotient(double divisor, std::span<float> out) const;

 private:
  static constexpr int64_t kCounts = 2;
  std::span<int64_t> elements() { return std::span(words_).first(words_.size() - kCounts); }
  std::span<const int64_t> elements() const { return std::span(words_).first(words_.size() - kCounts); }
  int64_t weights() const { return words_[words_.size() - kCounts]; }
  void Count(int64_t weight_units, int64_t terms) {
    words_[words_.size() - kCounts] += weight_units;
    words_.back() += terms;
  }

  absl::StatusOr<Term> CountTerm(double weight, float largest);
  // Brings what lies on a device to words_: for readers, who cannot tell where terms were added.
  absl::Status Settle() const;

  // The elements, then the sum of w / bound_ in units of 2^-60, then the number of terms.
  mutable std::vector<int64_t, HugePages<int64_t>> words_;
  mutable std::unique_ptr<DeviceSum> on_device_;
  mutable bool here_ = false;  // words_ may have elements that are not 0
  double bound_;               // power of two, >= total_weight_bound
};

}  // namespace muster

#endif  // MUSTER_CORE_EXACT_SUM_H_
