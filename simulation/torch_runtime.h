// What there is to know about the LibTorch this program runs on.
#ifndef MUSTER_SIMULATION_TORCH_RUNTIME_H_
#define MUSTER_SIMULATION_TORCH_RUNTIME_H_

#include <string>

namespace muster {

// "1.13.0", as the library was compiled.
std::string TorchVersion();

// One line on standard error if matrix products will crawl: the reference BLAS is 12 times slower than
// OpenBLAS, and OpenBLAS's pthread flavour ignores LibTorch's thread limit, so that workers fight for cores.
void WarnAboutSlowBlas();

}  // namespace muster

#endif  // MUSTER_SIMULATION_TORCH_RUNTIME_H_
