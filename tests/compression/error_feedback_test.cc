// Error feedback: what each method promises, on problems whose answers are known.
#include "compression/error_feedback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "core/kernel.h"
#include "tests/compression/cases.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

Layout LayoutOf(int64_t size) {
  Layout layout;
  layout.Add("x", {size}, true);
  return layout;
}

// A federation in small: every client's message of a round, folded with equal weights, lost where `lost` says
// so.
class Federation {
 public:
  Federation(int clients, int64_t size, const PluginConfig& feedback, const PluginConfig& compressor)
      : layout_(LayoutOf(size)), compressor_(MakeCompressor(compressor)), memories_(clients) {
    auto made = Registry<ErrorFeedback>::Get().Create(feedback,
                                                      {.compressor = compressor_.get(), .layout = &layout_});
    EXPECT_TRUE(made.ok()) << made.status();
    if (made.ok()) feedback_ = *std::move(made);
  }

  // update(client) -> the client's update; takes(client): takes part; lost(client): its message is lost.
  std::vector<float> Round(const std::function<std::vector<float>(int)>& update,
                           const std::function<bool(int)>& takes = nullptr,
                           const std::function<bool(int)>& lost = nullptr) {
    const auto clients = static_cast<int>(memories_.size());
    ExactSum sum(layout_.size, clients);
    for (int i = 0; i < clients; ++i) {
      if (takes != nullptr && !takes(i)) continue;
      const std::vector<float> u = update(i);
      State next = memories_[i];
      const auto message = feedback_->Encode(
          u,
          {.seed = 3, .purpose = Purpose::kCompression, .round = round_, .client = static_cast<uint64_t>(i)},
          next);
      EXPECT_TRUE(message.ok()) << message.status();
      bytes_ += message->size();
      if (lost != nullptr && lost(i)) {
        EXPECT_TRUE(feedback_->Refused(u, memories_[i]).ok());
        continue;
      }
      memories_[i] = std::move(next);
      EXPECT_TRUE(FoldPayload(*message, 1, layout_, sum).ok());
      const std::vector<float> decoded = *DecodePayload(*message, layout_);
      applied_.resize(decoded.size());
      for (size_t j = 0; j < decoded.size(); ++j) applied_[j] += decoded[j];
    }
    ++round_;
    std::vector<float> mean(static_cast<size_t>(layout_.size));
    if (sum.terms() > 0) {
      EXPECT_TRUE(sum.Mean(mean).ok());
    }
    EXPECT_TRUE(feedback_->Combine(mean, static_cast<double>(sum.terms()) / clients, server_).ok());
    return mean;
  }

  const std::vector<double>& applied() const { return applied_; }
  const std::vector<State>& memories() const { return memories_; }
  const State& server() const { return server_; }
  int64_t bytes() const { return bytes_; }

 private:
  const Layout layout_;
  const std::unique_ptr<Compressor> compressor_;
  std::unique_ptr<ErrorFeedback> feedback_;
  std::vector<State> memories_;
  State server_;
  std::vector<double> applied_;
  uint64_t round_ = 0;
  int64_t bytes_ = 0;
};

double SquaredNorm(const std::vector<float>& x) {
  return std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
}
void Apply(std::vector<float>& x, const std::vector<float>& update) {
  for (size_t j = 0; j < x.size(); ++j) x[j] += update[j];
}

// Three clients f_i(x) = <a_i, x>^2 + |x|^2 / 4 on which Top-1 without memory runs away by 1 + 11 gamma / 6 a
// step (Beznosikov et al. 2020, arXiv:2002.12410, example 1).
class Runaway {
 public:
  std::vector<float> Update(const std::vector<float>& x, int client) const {
    constexpr float kA[3][3] = {{-3, 2, 2}, {2, -3, 2}, {2, 2, -3}};
    const float* a = kA[client];
    const float inner = a[0] * x[0] + a[1] * x[1] + a[2] * x[2];
    std::vector<float> update(3);
    for (int j = 0; j < 3; ++j) update[j] = -kGamma * (2 * inner * a[j] + x[j] / 2);
    return update;
  }
  static constexpr float kGamma = 0.01f;
};

TEST(ErrorFeedbackTest, TopOneWithoutMemoryRunsAwayAtTheKnownRate) {
  const Runaway problem;
  Federation federation(3, 3, {"none", {}}, {"top_k", {{"count", int64_t{1}}}});
  std::vector<float> x(3, 1);
  for (int round = 0; round < 100; ++round) {
    const std::vector<float> before = x;
    Apply(x, federation.Round([&](int i) { return problem.Update(before, i); }));
    EXPECT_NEAR(x[0] / before[0], 1 + 11 * Runaway::kGamma / 6, 1e-6);
  }
  EXPECT_NEAR(x[0], 6.15, 0.01);
}

class Remembers : public ::testing::TestWithParam<const char*> {};

TEST_P(Remembers, AndTopOneConverges) {
  const Runaway problem;
  Federation federation(3, 3, {GetParam(), {}}, {"top_k", {{"count", int64_t{1}}}});
  std::vector<float> x(3, 1);
  for (int round = 0; round < 3000; ++round) {
    const std::vector<float> at = x;
    Apply(x, federation.Round([&](int i) { return problem.Update(at, i); }));
  }
  // In float32 the server's estimate and the mean of the clients' part by roundings of what they began with.
  EXPECT_LT(std::sqrt(SquaredNorm(x)), GetParam() == std::string("ef14") ? 1e-10 : 1e-6) << GetParam();
}
INSTANTIATE_TEST_SUITE_P(Methods, Remembers, ::testing::Values("ef14", "ef21", "ef21_sgdm"));

// Ten clients f_i(x) = 1/2 sum_j h_ij (x_j - b_ij)^2 that disagree about the optimum.
struct Quadratics {
  static constexpr int kClients = 10, kSize = 50;
  float h[kClients][kSize], b[kClients][kSize];
  std::vector<float> optimum = std::vector<float>(kSize);

  Quadratics() {
    Random random({.seed = 11});
    for (int j = 0; j < kSize; ++j) {
      double weighted = 0, total = 0;
      for (int i = 0; i < kClients; ++i) {
        h[i][j] = static_cast<float>(1 + random.Uniform());
        b[i][j] = static_cast<float>(5 * random.Normal());
        weighted += static_cast<double>(h[i][j]) * b[i][j];
        total += h[i][j];
      }
      optimum[j] = static_cast<float>(weighted / total);
    }
  }
  std::vector<float> Gradient(const std::vector<float>& x, int i) const {
    std::vector<float> g(kSize);
    for (int j = 0; j < kSize; ++j) g[j] = h[i][j] * (x[j] - b[i][j]);
    return g;
  }
  double SquaredError(const std::vector<float>& x) const {
    double sum = 0;
    for (int j = 0; j < kSize; ++j) sum += std::pow(static_cast<double>(x[j]) - optimum[j], 2);
    return sum;
  }
  // Final squared error after gradient steps of length gamma.
  double Solve(const PluginConfig& feedback, const PluginConfig& compressor, float gamma,
               int rounds = 3000) const {
    Federation federation(kClients, kSize, feedback, compressor);
    std::vector<float> x(kSize);
    for (int round = 0; round < rounds; ++round) {
      const std::vector<float> at = x;
      Apply(x, federation.Round([&](int i) {
        std::vector<float> update = Gradient(at, i);
        for (float& value : update) value *= -gamma;
        return update;
      }));
    }
    return SquaredError(x);
  }
};

// Updates are float32, so the floor of a method that converges is about 1e-13 of the squared scale, not 0.
TEST(ErrorFeedbackTest, MethodsWithMemoryFindTheOptimumOfClientsThatDisagree) {
  const Quadratics problem;
  const PluginConfig rand5{"rand_k", {{"count", int64_t{5}}}}, top5{"top_k", {{"count", int64_t{5}}}};
  EXPECT_GT(problem.Solve({"none", {}}, rand5, 0.1f), 1);
  EXPECT_LT(problem.Solve({"diana", {}}, rand5, 0.1f), 1e-9);
  EXPECT_LT(problem.Solve({"marina", {}}, rand5, 0.1f), 1e-9);
  EXPECT_LT(problem.Solve({"ef21", {}}, top5, 0.02f), 1e-9);
  EXPECT_LT(problem.Solve({"diana", {}}, {"quantize", {{"bits", int64_t{3}}}}, 0.3f, 500), 1e-9);
  EXPECT_LT(problem.Solve({"ef21_sgdm", {{"eta", 0.5}}}, top5, 0.02f), 1e-9);
}

TEST(ErrorFeedbackTest, MomentumLowersTheNoiseFloorOfEf21TenTimes) {
  const Quadratics problem;
  const auto floor_of = [&](double eta) {
    Federation federation(Quadratics::kClients, Quadratics::kSize, {"ef21_sgdm", {{"eta", eta}}},
                          {"top_k", {{"count", int64_t{2}}}});
    Random noise({.seed = 5});
    std::vector<float> x(Quadratics::kSize);
    double sum = 0;
    constexpr int kRounds = 6000, kTail = 2000;
    for (int round = 0; round < kRounds; ++round) {
      const std::vector<float> at = x;
      Apply(x, federation.Round([&](int i) {
        std::vector<float> update = problem.Gradient(at, i);
        for (float& value : update) value = -0.01f * (value + 3 * static_cast<float>(noise.Normal()));
        return update;
      }));
      if (round < kRounds - kTail) continue;
      std::vector<float> mean(Quadratics::kSize);
      for (int i = 0; i < Quadratics::kClients; ++i) {
        const std::vector<float> g = problem.Gradient(x, i);
        for (size_t j = 0; j < g.size(); ++j) mean[j] += g[j] / Quadratics::kClients;
      }
      sum += SquaredNorm(mean) / kTail;
    }
    return sum;
  };
  const double without = floor_of(1), with = floor_of(0.1);
  EXPECT_LE(with, without / 10);
}

// Multiples of 2^-10: their sums are exact in float32.
std::vector<float> Dyadic(Random& random, int64_t size) {
  std::vector<float> x(static_cast<size_t>(size));
  for (float& value : x) value = static_cast<float>(std::floor(random.Normal() * 300)) / 1024;
  return x;
}

TEST(ErrorFeedbackTest, NothingAClientProducedIsLostThoughAThirdOfTheMessagesAre) {
  constexpr int kClients = 6, kSize = 200;
  for (const PluginConfig& compressor :
       {PluginConfig{"top_k", {{"ratio", 0.05}}}, PluginConfig{"threshold", {{"value", 1.5}}},
        PluginConfig{"rand_k", {{"ratio", 0.1}, {"scaled", false}}}}) {
    Federation federation(kClients, kSize, {"ef14", {}}, compressor);
    Random random({.seed = 21}), fate({.seed = 22});
    std::vector<double> produced(kSize);
    int lost = 0;
    for (int round = 0; round < 200; ++round) {
      federation.Round(
          [&](int) {
            const std::vector<float> update = Dyadic(random, kSize);
            for (int j = 0; j < kSize; ++j) produced[j] += update[j];
            return update;
          },
          [&](int) { return fate.Uniform() < 0.7; },
          [&](int) {
            const bool is_lost = fate.Uniform() < 0.3;
            lost += is_lost;
            return is_lost;
          });
    }
    EXPECT_GT(lost, 200);
    for (int j = 0; j < kSize; ++j) {
      double accounted = federation.applied()[j];
      for (const State& memory : federation.memories()) {
        if (memory.vectors.contains("residual")) accounted += memory.vectors.at("residual")[j];
      }
      ASSERT_EQ(accounted, produced[j]) << compressor.name << " element " << j;
    }
  }
}

TEST(ErrorFeedbackTest, TheServersEstimateIsTheMeanOfAllClientsWhoeverIsAwayOrLost) {
  constexpr int kClients = 6, kSize = 200;
  for (const auto& [method, compressor] :
       {std::pair<PluginConfig, PluginConfig>{{"ef21", {}}, {"top_k", {{"ratio", 0.05}}}},
        {{"ef21_sgdm", {}}, {"stc", {{"ratio", 0.1}}}},
        {{"diana", {}}, {"rand_k", {{"ratio", 0.2}}}},
        {{"marina", {}}, {"quantize", {{"bits", int64_t{4}}}}}}) {
    Federation federation(kClients, kSize, method, compressor);
    Random random({.seed = 31}), fate({.seed = 32});
    for (int round = 0; round < 100; ++round) {
      federation.Round([&](int) { return Dyadic(random, kSize); }, [&](int) { return fate.Uniform() < 0.6; },
                       [&](int) { return fate.Uniform() < 0.3; });
    }
    const std::vector<float>& estimate = federation.server().vectors.at("estimate");
    for (int j = 0; j < kSize; ++j) {
      double mean = 0;
      for (const State& memory : federation.memories()) {
        if (memory.vectors.contains("estimate")) mean += memory.vectors.at("estimate")[j] / kClients;
      }
      ASSERT_NEAR(estimate[j], mean, 2e-5) << method.name;
    }
  }
}

// Softmax regression, labels dealt unevenly to 20 clients, Top-K 1 %: with memory as good as without
// compression.
class SoftmaxFederation {
 public:
  static constexpr int kClasses = 10, kLanes = 16, kFeatures = 100, kTrain = 1200, kTest = 1000,
                       kClients = 20;
  static constexpr int kSize = kClasses * (kFeatures + 1);

  explicit SoftmaxFederation(uint64_t seed) : inputs_((kTrain + kTest) * kFeatures), labels_(kTrain + kTest) {
    Random random({.seed = seed});
    std::vector<float> means(kClasses * kFeatures);
    for (float& value : means) value = static_cast<float>(0.2 * random.Normal());
    for (int n = 0; n < kTrain + kTest; ++n) {
      labels_[n] = static_cast<int>(random.Below(kClasses));
      for (int f = 0; f < kFeatures; ++f) {
        inputs_[n * kFeatures + f] = means[labels_[n] * kFeatures + f] + static_cast<float>(random.Normal());
      }
    }
    std::vector<std::vector<double>> shares(kClasses);
    for (auto& share : shares) share = random.Dirichlet(0.3, kClients);
    owner_.resize(kTrain);
    for (int n = 0; n < kTrain; ++n) {
      double u = random.Uniform();
      int client = 0;
      while (client + 1 < kClients && (u -= shares[labels_[n]][client]) > 0) ++client;
      owner_[n] = client;
    }
  }

  // n w_i grad f_i: the mean over clients of these is the gradient of the whole.
  std::vector<float> Gradient(const std::vector<float>& x, int client) const {
    std::vector<float> wide((kFeatures + 1) * kLanes), weights = Wide(x);
    for (int n = 0; n < kTrain; ++n) {
      if (owner_[n] == client) AddGradient(&inputs_[n * kFeatures], labels_[n], weights.data(), wide.data());
    }
    std::vector<float> g(kSize);
    for (int f = 0; f <= kFeatures; ++f) {
      for (int c = 0; c < kClasses; ++c) {
        const int at = f * kClasses + c;
        g[at] = wide[f * kLanes + c] * kClients / kTrain + 1e-3f * x[at];
      }
    }
    return g;
  }

  double Accuracy(const std::vector<float>& x) const {
    const std::vector<float> weights = Wide(x);
    int right = 0;
    for (int n = kTrain; n < kTrain + kTest; ++n) {
      float logits[kLanes];
      Logits(&inputs_[n * kFeatures], weights.data(), logits);
      right += std::max_element(logits, logits + kClasses) - logits == labels_[n];
    }
    return 100.0 * right / kTest;
  }

  struct Result {
    double accuracy = 0;
    int64_t bytes = 0;
  };
  Result Train(const std::string& feedback, const PluginConfig& compressor, double lost = 0) const {
    Federation federation(kClients, kSize, {feedback, {}}, compressor);
    Random fate({.seed = 77});
    std::vector<float> x(kSize);
    for (int round = 0; round < 200; ++round) {
      const std::vector<float> at = x;
      Apply(x, federation.Round(
                   [&](int i) {
                     std::vector<float> update = Gradient(at, i);
                     for (float& value : update) value *= -0.5f;
                     return update;
                   },
                   nullptr, [&](int) { return fate.Uniform() < lost; }));
    }
    return {Accuracy(x), federation.bytes()};
  }

 private:
  static std::vector<float> Wide(const std::vector<float>& x) {
    std::vector<float> wide((kFeatures + 1) * kLanes);
    for (int f = 0; f <= kFeatures; ++f) std::copy_n(&x[f * kClasses], kClasses, &wide[f * kLanes]);
    return wide;
  }
  MUSTER_KERNEL static void Logits(const float* input, const float* weights, float* logits) {
    float sums[kLanes];
    for (int c = 0; c < kLanes; ++c) sums[c] = weights[kFeatures * kLanes + c];
    for (int f = 0; f < kFeatures; ++f) {
      for (int c = 0; c < kLanes; ++c) sums[c] += input[f] * weights[f * kLanes + c];
    }
    for (int c = 0; c < kLanes; ++c) logits[c] = sums[c];
  }
  MUSTER_KERNEL static void AddOuter(const float* input, const float* slope, float* __restrict gradient) {
    float slopes[kLanes];
    for (int c = 0; c < kLanes; ++c) slopes[c] = slope[c];
    for (int f = 0; f < kFeatures; ++f) {
      for (int c = 0; c < kLanes; ++c) gradient[f * kLanes + c] += input[f] * slopes[c];
    }
    for (int c = 0; c < kLanes; ++c) gradient[kFeatures * kLanes + c] += slopes[c];
  }
  static void AddGradient(const float* input, int label, const float* weights, float* gradient) {
    float slope[kLanes] = {}, total = 0;
    Logits(input, weights, slope);
    const float largest = *std::max_element(slope, slope + kClasses);
    for (int c = 0; c < kClasses; ++c) total += slope[c] = std::exp(slope[c] - largest);
    for (int c = 0; c < kLanes; ++c) slope[c] = c < kClasses ? slope[c] / total : 0;
    slope[label] -= 1;
    AddOuter(input, slope, gradient);
  }

  std::vector<float> inputs_;
  std::vector<int> labels_, owner_;
};

TEST(ErrorFeedbackTest, TopOnePercentWithMemoryIsAsGoodAsNoCompression) {
  const PluginConfig top{"top_k", {{"ratio", 0.01}}};
  const SoftmaxFederation federation(1);
  const auto dense = federation.Train("none", {"identity", {}}), naive = federation.Train("none", top);
  const auto ef14 = federation.Train("ef14", top), ef21 = federation.Train("ef21", top);
  EXPECT_GE(ef14.accuracy, dense.accuracy - 2);
  EXPECT_GE(ef21.accuracy, dense.accuracy - 2);
  EXPECT_LE(naive.accuracy, dense.accuracy - 5);
  EXPECT_LE(ef14.bytes * 30, dense.bytes);
  // And with 30 % of the messages lost.
  EXPECT_GE(federation.Train("ef14", top, 0.3).accuracy, ef14.accuracy - 3);
  EXPECT_GE(federation.Train("ef21", top, 0.3).accuracy, ef21.accuracy - 3);
}

// What holds of every method.
class EveryErrorFeedback : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr RandomKey kKey{.seed = 5, .purpose = Purpose::kCompression, .round = 2, .client = 3};
  EveryErrorFeedback() : layout_(LayoutOf(100)), compressor_(MakeCompressor({"quantize", {}})) {
    feedback_ = *Registry<ErrorFeedback>::Get().Create({GetParam(), {}},
                                                       {.compressor = compressor_.get(), .layout = &layout_});
  }
  const Layout layout_;
  const std::unique_ptr<Compressor> compressor_;
  std::unique_ptr<ErrorFeedback> feedback_;
};

TEST_P(EveryErrorFeedback, SaysTheSameTwice) {
  Random random({.seed = 1});
  const std::vector<float> update = Dyadic(random, 100), more = Dyadic(random, 100);
  State a, b;
  EXPECT_EQ(feedback_->Encode(update, kKey, a)->bytes, feedback_->Encode(update, kKey, b)->bytes);
  EXPECT_EQ(feedback_->Encode(more, kKey, a)->bytes, feedback_->Encode(more, kKey, b)->bytes);
  EXPECT_EQ(a.vectors, b.vectors);
  EXPECT_EQ(a.numbers, b.numbers);
}

TEST_P(EveryErrorFeedback, AConstantUpdateComesThrough) {
  Federation federation(4, 100, {GetParam(), {}}, {"quantize", {}});
  Random random({.seed = 1});
  const std::vector<float> update = Dyadic(random, 100);
  std::vector<double> sum(100);
  constexpr int kRounds = 300;
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<float> mean = federation.Round([&](int) { return update; });
    for (int j = 0; j < 100; ++j) sum[j] += mean[j];
  }
  for (int j = 0; j < 100; ++j) EXPECT_NEAR(sum[j] / kRounds, update[j], 2e-3);
}

TEST_P(EveryErrorFeedback, RefusesWhatIsNotFiniteOrOfAnotherSizeAndRemembersWhatItDid) {
  Random random({.seed = 1});
  State memory;
  ASSERT_TRUE(feedback_->Encode(Dyadic(random, 100), kKey, memory).ok());
  const State before = memory;
  std::vector<float> bad = Dyadic(random, 100);
  bad[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(feedback_->Encode(bad, kKey, memory).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(feedback_->Encode(Dyadic(random, 99), kKey, memory).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(memory.vectors, before.vectors);
}

TEST_P(EveryErrorFeedback, RefusesAMemoryOfAnotherModel) {
  Random random({.seed = 1});
  const std::vector<float> update = Dyadic(random, 100);
  State memory;
  ASSERT_TRUE(feedback_->Encode(update, kKey, memory).ok());
  for (auto& [name, values] : memory.vectors) values.resize(99);
  const auto encoded = feedback_->Encode(update, kKey, memory);
  if (memory.vectors.empty()) {
    EXPECT_TRUE(encoded.ok());
  } else {
    EXPECT_THAT(Message(encoded.status()), HasSubstr("of 99 elements, the model has 100"));
  }
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryErrorFeedback,
                         ::testing::ValuesIn(Registry<ErrorFeedback>::Get().Names()),
                         [](const auto& info) { return info.param; });

TEST(ErrorFeedbackTest, CompressorsThatDoNotSuitAreRefused) {
  const Layout layout = LayoutOf(100);
  const auto error = [&](const std::string& method, const PluginConfig& config) {
    const auto compressor = MakeCompressor(config);
    return Message(Registry<ErrorFeedback>::Get()
                       .Create({method, {}}, {.compressor = compressor.get(), .layout = &layout})
                       .status());
  };
  EXPECT_THAT(error("ef14", {"rand_k", {}}), HasSubstr("ef14: needs a contractive compressor"));
  EXPECT_THAT(error("ef21", {"rand_k", {}}), HasSubstr("set scaled=false"));
  EXPECT_THAT(error("diana", {"top_k", {}}), HasSubstr("diana: needs an unbiased compressor"));
  EXPECT_THAT(error("marina", {"sign", {}}), HasSubstr("marina: needs an unbiased compressor"));
  EXPECT_EQ(error("ef14", {"rand_k", {{"scaled", false}}}), "");
  EXPECT_EQ(error("ef14", {"quantize", {}}), "");
}

}  // namespace
}  // namespace muster
