#include "learning/models/forward_random.h"

namespace muster {

Random& ForwardRandom() {
  thread_local Random random(RandomKey{.purpose = Purpose::kDropout});
  return random;
}

void SeedForwardRandom(const RandomKey& key) { ForwardRandom() = Random(key); }

Mutex& LibTorchGeneratorMutex() {
  static Mutex* const mutex = new Mutex;
  return *mutex;
}

}  // namespace muster
