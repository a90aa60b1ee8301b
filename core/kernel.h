// Marks a plain loop over raw numbers as a kernel: vectorised whatever the optimisation level of the build,
// compiled once for CPUs with AVX2 and FMA and once for any other, chosen when the program starts. Such a
// loop uses std::fma where it means one, so that both versions give the same bits.
#ifndef MUSTER_CORE_KERNEL_H_
#define MUSTER_CORE_KERNEL_H_

// Sanitizers cannot run the resolver that picks a version.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define MUSTER_KERNEL __attribute__((optimize("O3"), target_clones("arch=x86-64-v3", "default")))
#else
#define MUSTER_KERNEL
#endif

#endif  // MUSTER_CORE_KERNEL_H_
