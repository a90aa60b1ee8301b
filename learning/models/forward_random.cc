#include "learning/models/forward_random.h"

namespace muster {

Random& ForwardRandom() {
  thread_local Random random(RandomKey{.purpose = Purpose::kDropout});
  return random;
}

void SeedForwardRandom(const RandomKey& key) { ForwardRandom() = Random(key); }

void DrawDropout(double rate, std::span<float> mask) {
  Random& random = ForwardRandom();
  const auto scale = static_cast<float>(1 / (1 - rate));
  for (float& value : mask) value = random.Uniform() < rate ? 0.0F : scale;
}

Mutex& LibTorchGeneratorMutex() {
  static Mutex* const mutex = new Mutex;
  return *mutex;
}

}  // namespace muster
