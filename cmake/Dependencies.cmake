# Every package the project uses, and the one target that stands for LibTorch.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)          # module mode: Debian ships no config package
find_package(absl REQUIRED)
find_package(gRPC CONFIG REQUIRED)       # after Protobuf
# RE2, which it brings, asks for -pthread; glibc needs no such flag, and it would part files from the precompiled header.
if(TARGET re2::re2)
  set_target_properties(re2::re2 PROPERTIES INTERFACE_COMPILE_OPTIONS "")
endif()
find_package(OpenSSL REQUIRED)           # SHA-256
find_package(ZLIB REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(prometheus-cpp REQUIRED COMPONENTS core)
find_package(PkgConfig REQUIRED)
# Its flags decide the layout of its classes, so they come from where the library was built.
pkg_check_modules(httplib REQUIRED IMPORTED_TARGET cpp-httplib)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)   # CRC-32C
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)   # Debian ships no config package

if(NOT MUSTER_TORCH_DIR AND DEFINED ENV{MUSTER_TORCH_DIR})
  set(MUSTER_TORCH_DIR "$ENV{MUSTER_TORCH_DIR}")
endif()
if(MUSTER_TORCH_DIR)
  list(PREPEND CMAKE_PREFIX_PATH "${MUSTER_TORCH_DIR}")
endif()
find_package(Torch REQUIRED)
message(STATUS "LibTorch ${Torch_VERSION} (${TORCH_LIBRARY})")
# Torch's own targets bring flags that are not ours to pass on; headers are the system's, not warned about.
add_library(muster_torch INTERFACE)
target_include_directories(muster_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
# They also end in --as-needed, under which rooms named later, whose plug-ins only register themselves, would be dropped.
target_link_libraries(muster_torch INTERFACE ${TORCH_LIBRARIES} Threads::Threads -Wl,--no-as-needed)

# torch/torch.h costs half a minute of compile time, once.
add_library(muster_torch_pch OBJECT "${PROJECT_SOURCE_DIR}/cmake/torch_pch.cc")
target_link_libraries(muster_torch_pch PRIVATE muster_torch muster_warnings)  # same flags as its users
target_precompile_headers(muster_torch_pch PRIVATE <torch/torch.h> <torch/script.h>)

# Headers alone: the libraries are loaded when they are asked for, by a program that runs without them, too.
set(MUSTER_NCCL_FOUND OFF)
if(MUSTER_NCCL)
  find_path(CUDA_INCLUDE_DIR cuda_runtime_api.h HINTS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES include)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ENV NCCL_HOME "${CUDA_INCLUDE_DIR}" PATH_SUFFIXES include)
  if(CUDA_INCLUDE_DIR AND NCCL_INCLUDE_DIR)
    set(MUSTER_NCCL_FOUND ON)
  endif()
endif()
message(STATUS "NCCL: ${MUSTER_NCCL_FOUND}")

if(MUSTER_TESTS)
  find_package(GTest REQUIRED)
endif()
if(MUSTER_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
