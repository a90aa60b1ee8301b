// What loops that are written for a processor need to know about it.
#ifndef MUSTER_LEARNING_PROCESSOR_H_
#define MUSTER_LEARNING_PROCESSOR_H_

#if defined(__x86_64__)
#include <immintrin.h>
#define MUSTER_X86 1
#else
#define MUSTER_X86 0
#endif

#if MUSTER_X86

#define MUSTER_FMA __attribute__((optimize("O3"), target("avx2,fma")))
#define MUSTER_AVX512 __attribute__((optimize("O3"), target("avx512f,avx512vl,avx2,fma")))

namespace muster {

inline bool HasFma() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}
inline bool HasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
  return has;
}

}  // namespace muster

#endif  // MUSTER_X86

#endif  // MUSTER_LEARNING_PROCESSOR_H_
