// Randomness by key. Every random draw in Muster comes from a generator made for one purpose, one round and
// one client, never from a generator that is shared: results do not depend on scheduling, on the number of
// workers or on what else is random. The distributions are our own, so that bits do not depend on the
// standard library.
#ifndef MUSTER_CORE_RANDOM_H_
#define MUSTER_CORE_RANDOM_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace muster {

// What a stream of random numbers is for. Values are part of every recorded run: append, never renumber.
enum class Purpose : uint32_t {
  kModelInit = 1,
  kPartition = 2,
  kValidationSplit = 3,
  kTrustSet = 4,
  kTrainLimit = 5,
  kSelection = 6,
  kBatchOrder = 7,
  kDropout = 8,
  kCandidates = 9,
  kCompression = 10,
  kFaults = 11,
  kDownlink = 12,
  kBackoff = 13,
  kGradientNoise = 14,
  kAdversaries = 15,
  kLies = 16,
  kDisclosure = 17,
  kAvailability = 18,
  kTest = 1000,
};

struct RandomKey {
  uint64_t seed = 0;
  Purpose purpose = Purpose::kTest;
  uint64_t round = 0;
  uint64_t client = 0;
};

// xoshiro256** seeded by SplitMix64 over the key (Blackman and Vigna). Not thread-safe; cheap to make.
// Satisfies std::uniform_random_bit_generator.
class Random {
 public:
  using result_type = uint64_t;

  explicit Random(const RandomKey& key);

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }
  uint64_t operator()();

  // Uniform in [0, n), without modulo bias. n > 0.
  uint64_t Below(uint64_t n);
  // Uniform in [0, 1), 53 bits.
  double Uniform();
  // Standard normal (polar method).
  double Normal();
  // Gamma(shape, 1), shape > 0 (Marsaglia and Tsang; boosted for shape < 1).
  double Gamma(double shape);
  // A point of the symmetric Dirichlet(alpha) on the simplex of `n` parts, computed in log space so that a
  // small alpha gives a valid point (a one-hot one in the limit), never NaN.
  std::vector<double> Dirichlet(double alpha, int n);

  template <typename T>
  void Shuffle(std::span<T> values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[Below(i)]);
  }
  // `count` distinct values of [0, n) in random order; count <= n. Memory O(count).
  std::vector<int64_t> Sample(int64_t n, int64_t count);

 private:
  uint64_t state_[4];
  double spare_normal_ = 0;
  bool has_spare_normal_ = false;
};

}  // namespace muster

#endif  // MUSTER_CORE_RANDOM_H_
