#include "simulation/torch_runtime.h"

#include <ATen/Context.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <cstdio>

namespace muster {

std::string TorchVersion() { return TORCH_VERSION; }

void WarnAboutSlowBlas() {
  if (at::hasMKL()) return;
  // 0 single-threaded, 1 pthreads, 2 OpenMP (openblas: cblas.h)
  using GetParallel = int (*)();
  const auto get_parallel = reinterpret_cast<GetParallel>(dlsym(RTLD_DEFAULT, "openblas_get_parallel"));
  if (get_parallel == nullptr) {
    std::fprintf(stderr,
                 "muster: warning: no OpenBLAS behind LibTorch, training may be 12 times slower; install "
                 "libopenblas-openmp-dev\n");
  } else if (get_parallel() == 1) {
    std::fprintf(
        stderr,
        "muster: warning: OpenBLAS's pthread flavour ignores thread limits, workers will slow each other "
        "down; install libopenblas-openmp-dev or set OPENBLAS_NUM_THREADS=1\n");
  }
}

}  // namespace muster
