// Marks a plain loop over raw numbers as a kernel: vectorised whatever the optimisation level of the build,
// compiled once for x86 CPUs with AVX2 and FMA and once for any other, chosen when the program starts. Such a
// loop uses std::fma where it means one, so that both versions give the same bits.
#ifndef MUSTER_CORE_KERNEL_H_
#define MUSTER_CORE_KERNEL_H_

#include <cstddef>

// Sanitizers cannot run the resolver that picks a version.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define MUSTER_KERNEL __attribute__((optimize("O3"), target_clones("arch=x86-64-v3", "default")))
#elif defined(__aarch64__) && defined(__GNUC__) && !defined(__clang__)
#define MUSTER_KERNEL __attribute__((optimize("O3")))  // NEON is part of the architecture
#else
#define MUSTER_KERNEL
#endif

namespace muster {

// For loops that stream through memory in steps of 256 bytes: asks for what comes a page later, which the
// hardware, stopping at page borders, does not. Past the end of an array it does nothing.
template <typename T>
inline void PrefetchPage(const T* at) {
  constexpr size_t kLine = 64 / sizeof(T), kPage = 4096 / sizeof(T);
  for (size_t line = 0; line < 4; ++line) __builtin_prefetch(at + kPage + line * kLine);
}

}  // namespace muster

#endif  // MUSTER_CORE_KERNEL_H_
