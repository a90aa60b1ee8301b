// Randomness inside a forward pass (dropout).
//
// LibTorch's CPU generator is one for all threads, so what it gives to one depends on the others. Muster's
// own layers draw from a generator of their thread instead, which the trainer seeds for every job.
#ifndef MUSTER_LEARNING_MODELS_FORWARD_RANDOM_H_
#define MUSTER_LEARNING_MODELS_FORWARD_RANDOM_H_

#include <span>

#include "core/mutex.h"
#include "core/random.h"

namespace muster {

// This thread's generator.
Random& ForwardRandom();
// Starts it anew.
void SeedForwardRandom(const RandomKey& key);
// Draws what dropout multiplies elements with, in their order: 0 with probability `rate`, else 1 / (1 -
// rate).
void DrawDropout(double rate, std::span<float> mask);

// Held by whoever must seed and use LibTorch's global generator: weight initialisation, foreign modules.
Mutex& LibTorchGeneratorMutex();

}  // namespace muster

#endif  // MUSTER_LEARNING_MODELS_FORWARD_RANDOM_H_
