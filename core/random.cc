#include "core/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <unordered_map>

namespace muster {
namespace {

uint64_t SplitMix(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ULL);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

}  // namespace

Random::Random(const RandomKey& key) {
  // Absorb the parts one by one: two keys that differ anywhere give unrelated streams.
  uint64_t state = key.seed;
  for (const uint64_t part : {static_cast<uint64_t>(key.purpose), key.round, key.client}) {
    state = SplitMix(state) ^ (part * 0xD6E8FEB86659FD93ULL);
  }
  for (uint64_t& word : state_) word = SplitMix(state);
}

uint64_t Random::operator()() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::Below(uint64_t n) {
  // Lemire's method: the product's high half is uniform once the biased low part is rejected.
  __extension__ using uint128 = unsigned __int128;
  uint128 product = static_cast<uint128>((*this)()) * n;
  if (static_cast<uint64_t>(product) < n) {
    const uint64_t threshold = (0 - n) % n;
    while (static_cast<uint64_t>(product) < threshold) product = static_cast<uint128>((*this)()) * n;
  }
  return static_cast<uint64_t>(product >> 64);
}

double Random::Uniform() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }

double Random::Normal() {
  if (has_spare_normal_) {
    has_spare_normal_ = false;
    return spare_normal_;
  }
  double u = 0, v = 0, s = 0;
  do {
    u = 2 * Uniform() - 1;
    v = 2 * Uniform() - 1;
    s = u * u + v * v;
  } while (s >= 1 || s == 0);
  const double scale = std::sqrt(-2 * std::log(s) / s);
  spare_normal_ = v * scale;
  has_spare_normal_ = true;
  return u * scale;
}

double Random::Gamma(double shape) {
  if (shape < 1) return Gamma(shape + 1) * std::pow(1 - Uniform(), 1 / shape);
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    double x = 0, v = 0;
    do {
      x = Normal();
      v = 1 + c * x;
    } while (v <= 0);
    v = v * v * v;
    const double u = 1 - Uniform();
    if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

std::vector<double> Random::Dirichlet(double alpha, int n) {
  // log Gamma(alpha) = log Gamma(alpha + 1) + log(U) / alpha keeps tiny values apart where Gamma underflows.
  alpha = std::max(alpha, 1e-300);  // below, the logarithm itself overflows
  std::vector<double> point(n);
  for (double& value : point) value = std::log(Gamma(alpha + 1)) + std::log(1 - Uniform()) / alpha;
  const double largest = *std::max_element(point.begin(), point.end());
  double sum = 0;
  for (double& value : point) sum += value = std::exp(value - largest);
  for (double& value : point) value /= sum;
  return point;
}

std::vector<int64_t> Random::Sample(int64_t n, int64_t count) {
  // A Fisher-Yates prefix over a virtual identity permutation.
  std::unordered_map<int64_t, int64_t> moved;
  moved.reserve(static_cast<size_t>(count) * 2);
  const auto at = [&moved](int64_t i) {
    const auto found = moved.find(i);
    return found == moved.end() ? i : found->second;
  };
  std::vector<int64_t> result(count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t j = i + static_cast<int64_t>(Below(static_cast<uint64_t>(n - i)));
    result[i] = at(j);
    moved[j] = at(i);
  }
  return result;
}

}  // namespace muster
