#include "simulation/collectives/nccl_api.h"

#include <dlfcn.h>

#include <initializer_list>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr char kInstead[] = "or use --collective gloo";

// The first of `files` that can be loaded; it stays. The error is the one of the first.
absl::StatusOr<void*> Open(const char* what, std::initializer_list<std::string> files) {
  std::string error;
  for (const std::string& file : files) {
    if (void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL); library != nullptr) return library;
    const std::string why = ::dlerror();
    if (error.empty()) error = why;
  }
  return InvalidInput(absl::StrCat("nccl: cannot load ", what, " (", error,
                                   "); install it and name its folder in LD_LIBRARY_PATH, ", kInstead));
}

template <typename Call>
absl::Status Find(void* library, const char* name, Call** call) {
  *call = reinterpret_cast<Call*>(::dlsym(library, name));
  if (*call != nullptr) return absl::OkStatus();
  return InvalidInput(absl::StrCat("nccl: ", name, " is missing: NCCL 2.14 or newer is needed, ", kInstead));
}

absl::StatusOr<NcclApi> Load() {
  const std::string cuda = "/usr/local/cuda/lib64/";
  MUSTER_ASSIGN_OR_RETURN(void* const nccl, Open("NCCL", {"libnccl.so.2", cuda + "libnccl.so.2"}));
  const std::string runtime = absl::StrCat("libcudart.so.", CUDART_VERSION / 1000);
  MUSTER_ASSIGN_OR_RETURN(void* const cudart, Open("CUDA's runtime", {runtime, "libcudart.so", cuda + runtime,
                                                                      cuda + "libcudart.so"}));
  NcclApi api;
  absl::Status found;
  found.Update(Find(nccl, "ncclGetVersion", &api.ncclGetVersion));
  found.Update(Find(nccl, "ncclGetUniqueId", &api.ncclGetUniqueId));
  found.Update(Find(nccl, "ncclCommInitRankConfig", &api.ncclCommInitRankConfig));
  found.Update(Find(nccl, "ncclCommGetAsyncError", &api.ncclCommGetAsyncError));
  found.Update(Find(nccl, "ncclCommAbort", &api.ncclCommAbort));
  found.Update(Find(nccl, "ncclBroadcast", &api.ncclBroadcast));
  found.Update(Find(nccl, "ncclReduce", &api.ncclReduce));
  found.Update(Find(nccl, "ncclGetErrorString", &api.ncclGetErrorString));
  found.Update(Find(nccl, "ncclGetLastError", &api.ncclGetLastError));
  found.Update(Find(cudart, "cudaGetDeviceCount", &api.cudaGetDeviceCount));
  found.Update(Find(cudart, "cudaSetDevice", &api.cudaSetDevice));
  found.Update(Find(cudart, "cudaStreamCreateWithFlags", &api.cudaStreamCreateWithFlags));
  found.Update(Find(cudart, "cudaStreamQuery", &api.cudaStreamQuery));
  found.Update(Find(cudart, "cudaStreamDestroy", &api.cudaStreamDestroy));
  found.Update(Find(cudart, "cudaMalloc", &api.cudaMalloc));
  found.Update(Find(cudart, "cudaFree", &api.cudaFree));
  found.Update(Find(cudart, "cudaHostAlloc", &api.cudaHostAlloc));
  found.Update(Find(cudart, "cudaFreeHost", &api.cudaFreeHost));
  found.Update(Find(cudart, "cudaMemcpyAsync", &api.cudaMemcpyAsync));
  found.Update(Find(cudart, "cudaGetErrorString", &api.cudaGetErrorString));
  MUSTER_RETURN_IF_ERROR(found);
  return api;
}

}  // namespace

absl::StatusOr<const NcclApi*> LoadNccl() {
  static const absl::StatusOr<NcclApi>* const api = new absl::StatusOr<NcclApi>(Load());
  MUSTER_RETURN_IF_ERROR(api->status());
  return &**api;
}

}  // namespace muster
