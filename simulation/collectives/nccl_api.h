// NCCL and CUDA's runtime as they are found when the program runs, so that one binary starts on machines with
// and without them.
#ifndef MUSTER_SIMULATION_COLLECTIVES_NCCL_API_H_
#define MUSTER_SIMULATION_COLLECTIVES_NCCL_API_H_

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <memory>
#include <string>

#include "core/status.h"
#include "simulation/collective.h"

namespace muster {

// The calls that are used, under the names by which NVIDIA documents them (NCCL User Guide, "Communicator
// Creation and Management Functions", "Collective Communication Functions"; CUDA Runtime API).
struct NcclApi {
  decltype(::ncclGetVersion)* ncclGetVersion = nullptr;
  decltype(::ncclGetUniqueId)* ncclGetUniqueId = nullptr;
  decltype(::ncclCommInitRankConfig)* ncclCommInitRankConfig = nullptr;
  decltype(::ncclCommGetAsyncError)* ncclCommGetAsyncError = nullptr;
  decltype(::ncclCommAbort)* ncclCommAbort = nullptr;
  decltype(::ncclBroadcast)* ncclBroadcast = nullptr;
  decltype(::ncclReduce)* ncclReduce = nullptr;
  decltype(::ncclGetErrorString)* ncclGetErrorString = nullptr;
  decltype(::ncclGetLastError)* ncclGetLastError = nullptr;

  decltype(::cudaGetDeviceCount)* cudaGetDeviceCount = nullptr;
  decltype(::cudaSetDevice)* cudaSetDevice = nullptr;
  decltype(::cudaStreamCreateWithFlags)* cudaStreamCreateWithFlags = nullptr;
  decltype(::cudaStreamQuery)* cudaStreamQuery = nullptr;
  decltype(::cudaStreamDestroy)* cudaStreamDestroy = nullptr;
  cudaError_t (*cudaMalloc)(void** memory, size_t bytes) = nullptr;
  decltype(::cudaFree)* cudaFree = nullptr;
  cudaError_t (*cudaHostAlloc)(void** memory, size_t bytes, unsigned flags) = nullptr;
  decltype(::cudaFreeHost)* cudaFreeHost = nullptr;
  decltype(::cudaMemcpyAsync)* cudaMemcpyAsync = nullptr;
  decltype(::cudaGetErrorString)* cudaGetErrorString = nullptr;
};

// Loads the libraries, once, from where the dynamic linker looks (LD_LIBRARY_PATH) or from /usr/local/cuda.
// INVALID_ARGUMENT, with what to do, where they are missing or too old. Thread-safe.
absl::StatusOr<const NcclApi*> LoadNccl();

// Process 0's new id, for all of the group. DEADLINE_EXCEEDED if process 0 does not come.
absl::StatusOr<ncclUniqueId> ExchangeUniqueId(const NcclApi& api, const Collective::Context& context);

// The collective `nccl` on these libraries, which outlive it. INVALID_ARGUMENT where there is no GPU, or not
// one for each process.
absl::StatusOr<std::unique_ptr<Collective>> MakeNcclCollective(const NcclApi& api,
                                                               const Collective::Context& context);

}  // namespace muster

#endif  // MUSTER_SIMULATION_COLLECTIVES_NCCL_API_H_
