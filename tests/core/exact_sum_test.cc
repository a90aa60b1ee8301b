#include "core/exact_sum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "core/random.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> Mean(const ExactSum& sum) {
  std::vector<float> out(static_cast<size_t>(sum.size()));
  EXPECT_TRUE(sum.Mean(out).ok());
  return out;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Term {
  std::vector<float> x;
  double weight;
};

std::vector<Term> RandomTerms(int count, int size) {
  Random random({.seed = 1});
  std::vector<Term> terms(count);
  for (Term& term : terms) {
    term.weight = static_cast<double>(1 + random.Below(600));
    for (int i = 0; i < size; ++i) {
      // Magnitudes from 2^-20 to 2^19: a float sum would depend on the order.
      term.x.push_back(
          static_cast<float>(random.Normal() * std::exp2(static_cast<double>(random.Below(36)) - 20)));
    }
  }
  return terms;
}

double Total(const std::vector<Term>& terms) {
  return std::accumulate(terms.begin(), terms.end(), 0.0,
                         [](double s, const Term& t) { return s + t.weight; });
}

TEST(ExactSum, HandValues) {
  ExactSum sum(3, 4);
  ASSERT_TRUE(sum.Add(std::vector<float>{1, -2, 0.5f}, 1).ok());
  ASSERT_TRUE(sum.Add(std::vector<float>{5, 2, 0.25f}, 3).ok());
  EXPECT_EQ(sum.total_weight(), 4);
  EXPECT_EQ(sum.terms(), 2);
  EXPECT_EQ(sum.size(), 3);
  EXPECT_EQ(Mean(sum), (std::vector<float>{4, 1, 0.3125f}));
  std::vector<float> out(3);
  ASSERT_TRUE(sum.Quotient(2, out).ok());
  EXPECT_EQ(out, (std::vector<float>{8, 2, 0.625f}));
}

TEST(ExactSum, EveryOrderAndEveryWayToSpreadTheTermsGivesTheSameBits) {
  std::vector<Term> terms = RandomTerms(40, 50);
  const double bound = Total(terms);
  ExactSum in_order(50, bound);
  for (const Term& term : terms) ASSERT_TRUE(in_order.Add(term.x, term.weight).ok());
  const std::vector<float> expected = Mean(in_order);

  Random random({.seed = 2});
  for (int trial = 0; trial < 10; ++trial) {
    random.Shuffle(std::span<Term>(terms));
    std::vector<ExactSum> parts;
    for (int part = 0; part <= trial; ++part) parts.emplace_back(50, bound);
    for (const Term& term : terms)
      ASSERT_TRUE(parts[random.Below(parts.size())].Add(term.x, term.weight).ok());
    ExactSum whole(50, bound);
    for (ExactSum& part : parts) ASSERT_TRUE(whole.AddWords(part.words()).ok());
    EXPECT_TRUE(SameBits(Mean(whole), expected));
    EXPECT_EQ(whole.terms(), 40);
    EXPECT_EQ(whole.total_weight(), in_order.total_weight());

    std::vector<int64_t> words(52);  // as other processes add them, which see integers only
    for (ExactSum& part : parts) {
      for (size_t i = 0; i < words.size(); ++i) words[i] += part.words()[i];
    }
    ExactSum elsewhere(50, bound);
    ASSERT_TRUE(elsewhere.AddWords(words).ok());
    EXPECT_TRUE(SameBits(Mean(elsewhere), expected));
    EXPECT_EQ(elsewhere.terms(), 40);
    EXPECT_EQ(elsewhere.total_weight(), in_order.total_weight());
  }
}

TEST(ExactSum, IsCloseToAWideReference) {
  const std::vector<Term> terms = RandomTerms(100, 20);
  const double bound = Total(terms);
  ExactSum sum(20, bound);
  for (const Term& term : terms) ASSERT_TRUE(sum.Add(term.x, term.weight).ok());
  const std::vector<float> mean = Mean(sum);
  for (int i = 0; i < 20; ++i) {
    long double reference = 0;
    for (const Term& term : terms) reference += static_cast<long double>(term.x[i]) * term.weight;
    reference /= bound;
    // Half a unit of 2^-40 for each term, scaled by the power of two above the bound; then one float
    // rounding.
    const double fixed_point = 100 * 0x1.0p-41 * std::exp2(std::ceil(std::log2(bound))) / bound;
    const double rounding = std::fabs(static_cast<double>(reference)) * 0x1.0p-24;
    EXPECT_NEAR(mean[i], static_cast<double>(reference), fixed_point + rounding * 1.001);
  }
}

TEST(ExactSum, TheLargestValuesAndTheWholeWeightDoNotOverflow) {
  const std::vector<float> x = {0x1.0p20f, -0x1.0p20f};
  ExactSum sum(2, 8);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(sum.Add(x, 1).ok());
  EXPECT_EQ(Mean(sum), x);
}

TEST(ExactSum, RoundingOfWeightsMayPassTheBoundALittle) {
  ExactSum sum(1, 1.0);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(sum.Add(std::vector<float>{3}, 0.1).ok());
  EXPECT_FLOAT_EQ(Mean(sum)[0], 3);
  EXPECT_FALSE(sum.Add(std::vector<float>{3}, 1e-6).ok());
}

TEST(ExactSum, RefusalNamesTheCauseAndLeavesTheSumAsItWas) {
  ExactSum sum(3, 4);
  ASSERT_TRUE(sum.Add(std::vector<float>{1, 2, 3}, 1).ok());
  const auto refuse = [&sum](const std::vector<float>& x, double weight, const char* cause) {
    const absl::Status status = sum.Add(x, weight);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(status), HasSubstr(cause));
    EXPECT_EQ(sum.terms(), 1);
    EXPECT_EQ(sum.total_weight(), 1);
    EXPECT_EQ(Mean(sum), (std::vector<float>{1, 2, 3}));
  };
  refuse({1, 2}, 1, "has 2 elements, the model has 3");
  refuse({1, 2, 3, 4}, 1, "has 4 elements, the model has 3");
  refuse({1, kNan, 3}, 1, "element 1 of the update is nan, not a finite number");
  refuse({1, 2, kInfinity}, 1, "element 2");
  refuse({-kInfinity, 2, 3}, 1, "element 0");
  refuse({1, 2, 1.1e6f}, 1, "beyond 2^20");
  refuse({1, kNan, 3}, 0, "element 1");  // no weight is no excuse
  refuse({1, 2, 3}, -1, "weight -1 is outside");
  refuse({1, 2, 3}, kNan, "weight nan");
  refuse({1, 2, 3}, kInfinity, "weight inf");
  refuse({1, 2, 3}, 5, "weight 5 is outside");
  refuse({1, 2, 3}, 3.5, "weights sum to more than their bound");
}

TEST(ExactSum, WordsThatDoNotFitAreRefused) {
  ExactSum sum(2, 4), other_size(3, 4), heavy(2, 4);
  EXPECT_FALSE(sum.AddWords(other_size.words()).ok());
  ASSERT_TRUE(sum.Add(std::vector<float>{1, 1}, 3).ok());
  ASSERT_TRUE(heavy.Add(std::vector<float>{1, 1}, 3).ok());
  EXPECT_FALSE(sum.AddWords(heavy.words()).ok());
  for (const std::vector<int64_t>& counts : {std::vector<int64_t>{-1, 1}, {1, -1}}) {
    EXPECT_FALSE(sum.AddWords(std::vector<int64_t>{0, 0, counts[0], counts[1]}).ok());
  }
  EXPECT_EQ(sum.total_weight(), 3);
  EXPECT_EQ(sum.terms(), 1);
  EXPECT_EQ(Mean(sum), (std::vector<float>{1, 1}));
}

TEST(ExactSum, AMeanNeedsWeight) {
  ExactSum sum(1, 4);
  std::vector<float> out(1), wrong(2);
  EXPECT_EQ(sum.Mean(out).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(sum.Add(std::vector<float>{7}, 0).ok());
  EXPECT_EQ(sum.Mean(out).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(sum.Quotient(0, out).ok());
  EXPECT_FALSE(sum.Quotient(1, wrong).ok());
  EXPECT_TRUE(ExactSum(0, 1).Quotient(1, {}).ok());
}

// What pieces add up to is what one Add() of the whole gives, for small and for large terms.
class ExactSumPieces : public ::testing::TestWithParam<float> {};

TEST_P(ExactSumPieces, GiveTheBitsOfTheWhole) {
  constexpr int kSize = 1003;
  Random random({.seed = 7});
  std::vector<float> x(kSize), sparse(kSize), signs(kSize);
  std::vector<uint32_t> places;
  std::vector<float> values;
  std::vector<uint8_t> bits(kSize / 8 + 1);
  for (int i = 0; i < kSize; ++i) {
    x[i] = GetParam() * static_cast<float>(2 * random.Uniform() - 1);
    if (i % 7 == 3) {
      places.push_back(static_cast<uint32_t>(i));
      values.push_back(x[i]);
      sparse[i] = x[i];
    }
    signs[i] = x[i] < 0 ? -GetParam() / 3 : GetParam() / 3;
    if (x[i] < 0) bits[i / 8] |= static_cast<uint8_t>(1 << i % 8);
  }
  ExactSum whole(kSize, 8), pieces(kSize, 8);
  for (const std::vector<float>* term : {&x, &sparse, &signs}) ASSERT_TRUE(whole.Add(*term, 0.7).ok());
  const auto dense = pieces.StartTerm(0.7, GetParam());
  ASSERT_TRUE(dense.ok());
  dense->Add(500, std::span(x).subspan(500));
  dense->Add(0, std::span(x).first(500));
  pieces.StartTerm(0.7, GetParam())->AddAt(places, values);
  const auto votes = pieces.StartTerm(0.7, GetParam());
  votes->AddSigns(8, std::span(bits).subspan(1), kSize - 8, GetParam() / 3);
  votes->AddSigns(0, bits, 8, GetParam() / 3);
  EXPECT_TRUE(SameBits(Mean(pieces), Mean(whole)));
  EXPECT_EQ(pieces.terms(), 3);
  EXPECT_EQ(pieces.total_weight(), whole.total_weight());
}
INSTANTIATE_TEST_SUITE_P(Magnitudes, ExactSumPieces, ::testing::Values(0x1.0p-30f, 0.01f, 3.0f, 0x1.0p20f));

// Three times 2^40 in both elements, or nothing at all.
class FakeDevice final : public DeviceSum {
 public:
  explicit FakeDevice(bool fails) : fails_(fails) {}
  absl::Status MoveTo(std::span<int64_t> sum) override {
    if (fails_) return InternalError("the device is lost");
    for (int64_t& value : sum) value += int64_t{3} << 40;
    return absl::OkStatus();
  }
  std::span<int64_t> elements() override { return elements_; }

 private:
  const bool fails_;
  std::vector<int64_t> elements_ = {int64_t{3} << 40, int64_t{3} << 40};
};

TEST(ExactSum, WhatLiesOnADeviceIsPartOfTheSumOnce) {
  ExactSum sum(2, 4);
  ASSERT_TRUE(sum.Add(std::vector<float>{1, 2}, 2).ok());
  const auto add = [](double scale, std::unique_ptr<DeviceSum>& on_device) {
    EXPECT_EQ(scale, 0x1.0p39);
    on_device = std::make_unique<FakeDevice>(/*fails=*/false);
    return absl::OkStatus();
  };
  ASSERT_TRUE(sum.AddOnDevice(2, 6, add).ok());
  EXPECT_EQ(sum.terms(), 2);
  for (int time = 0; time < 2; ++time) EXPECT_EQ(Mean(sum), (std::vector<float>{3.5, 4}));
}

TEST(ExactSum, ALostDeviceIsAnErrorForWhoeverReadsTheSum) {
  ExactSum sum(2, 4);
  const auto add = [](double /*scale*/, std::unique_ptr<DeviceSum>& on_device) {
    on_device = std::make_unique<FakeDevice>(/*fails=*/true);
    return absl::OkStatus();
  };
  ASSERT_TRUE(sum.AddOnDevice(1, 1, add).ok());
  std::vector<float> out(2);
  EXPECT_EQ(sum.Mean(out).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(sum.Quotient(1, out).code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(sum.words().empty());
  EXPECT_EQ(std::move(sum).TakeMean().status().code(), absl::StatusCode::kInternal);
}

TEST(ExactSum, WordsLieWhereAllTermsWereAdded) {
  const auto add = [](double /*scale*/, std::unique_ptr<DeviceSum>& on_device) {
    on_device = std::make_unique<FakeDevice>(/*fails=*/false);
    return absl::OkStatus();
  };
  ExactSum there(2, 4), here(2, 4), mixed(2, 4);
  ASSERT_TRUE(there.AddOnDevice(1, 3, add).ok());
  ASSERT_TRUE(here.Add(std::vector<float>{12, 12}, 1).ok());
  ASSERT_TRUE(mixed.Add(std::vector<float>{1, 1}, 1).ok());
  ASSERT_TRUE(mixed.AddOnDevice(1, 3, add).ok());
  for (ExactSum* sum : {&there, &here, &mixed}) {
    const auto words = sum->WordsInPlace();
    ASSERT_TRUE(words.ok());
    EXPECT_EQ(words->on_device, sum == &there);
    ASSERT_EQ(words->elements.size(), 2U);
    EXPECT_THAT(words->elements, testing::Each((sum == &mixed ? int64_t{13} << 38 : int64_t{3} << 40)));
    ASSERT_EQ(words->counts.size(), 2U);
    EXPECT_EQ(words->counts[1], sum == &mixed ? 2 : 1);
  }
  // Who has read the sum has it here.
  EXPECT_EQ(there.words().front(), int64_t{3} << 40);
  EXPECT_FALSE(there.WordsInPlace()->on_device);
}

TEST(ExactSum, ATermThatADeviceCouldNotAddLeavesNoTrace) {
  ExactSum sum(2, 4);
  const auto fail = [](double, std::unique_ptr<DeviceSum>&) -> absl::Status {
    return InternalError("out of memory");
  };
  EXPECT_EQ(sum.AddOnDevice(1, 1, fail).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(sum.AddOnDevice(1, 0x1.1p20f, fail).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sum.AddOnDevice(5, 1, fail).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sum.terms(), 0);
  EXPECT_EQ(sum.total_weight(), 0);
}

TEST(ExactSum, ATermThatCannotBeStartedLeavesNoTrace) {
  ExactSum sum(1, 4);
  EXPECT_THAT(Message(sum.StartTerm(1, 0x1.1p20f).status()), HasSubstr("beyond 2^20"));
  EXPECT_FALSE(sum.StartTerm(1, kNan).ok());
  EXPECT_FALSE(sum.StartTerm(1, -1).ok());
  EXPECT_FALSE(sum.StartTerm(5, 1).ok());
  EXPECT_FALSE(sum.StartTerm(kNan, 1).ok());
  EXPECT_EQ(sum.terms(), 0);
  EXPECT_EQ(sum.total_weight(), 0);
}

}  // namespace
}  // namespace muster
