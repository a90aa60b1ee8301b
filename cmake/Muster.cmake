# Compiler settings and the two helpers that every folder's CMakeLists uses.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()
if(CMAKE_CXX_FLAGS_RELEASE STREQUAL "-O3 -DNDEBUG")
  set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
endif()

find_program(CCACHE ccache)
if(CCACHE)
  # Precompiled headers and generated files change their times, not their content.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()
# A room registers its plug-ins when its library is loaded, so a library must be loaded even if no
# symbol of it is named.
add_link_options(-Wl,--no-as-needed)

if(MUSTER_SANITIZE)
  add_compile_options(-fsanitize=${MUSTER_SANITIZE} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${MUSTER_SANITIZE})
endif()
# Bits must not depend on which instructions the compiler picks: no fused multiply-add behind our back.
add_compile_options(-ffp-contract=off -fno-math-errno)
# One flag for libraries and programs alike, so that they share one precompiled header.
add_compile_options(-fPIC)

add_library(muster_warnings INTERFACE)
target_compile_options(muster_warnings INTERFACE -Wall -Wextra -Wpedantic -Werror
                       # GCC 12 sees uninitialised values in every inlined StatusOr.
                       $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)

# muster_library(NAME core SRCS a.cc ... DEPS Muster::x ... [PRIVATE_DEPS ...] [TORCH])
# A folder's shared library `muster_NAME`, alias Muster::NAME. TORCH: its files see LibTorch, through the
# shared precompiled header.
function(muster_library)
  cmake_parse_arguments(A "TORCH" "NAME" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target muster_${A_NAME})
  add_library(${target} SHARED ${A_SRCS})
  add_library(Muster::${A_NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${A_NAME} VERSION ${PROJECT_VERSION}
                        SOVERSION ${PROJECT_VERSION_MAJOR} DEFINE_SYMBOL "" POSITION_INDEPENDENT_CODE OFF
                        INSTALL_RPATH "$ORIGIN")
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                             $<INSTALL_INTERFACE:include/muster>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${A_DEPS} PRIVATE ${A_PRIVATE_DEPS} $<BUILD_INTERFACE:muster_warnings>)
  if(A_TORCH)
    target_link_libraries(${target} PUBLIC $<BUILD_INTERFACE:muster_torch> $<INSTALL_INTERFACE:Muster::torch>)
    target_precompile_headers(${target} REUSE_FROM muster_torch_pch)
  endif()
endfunction()

# muster_test(NAME x SRCS ... DEPS ... [TORCH] [LABELS ...]): one test program, one CTest entry (a torch-linked
# program needs about a second to start, so cases are not run one by one).
function(muster_test)
  cmake_parse_arguments(A "TORCH" "NAME;TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  set(target ${A_NAME}_test)
  add_executable(${target} ${A_SRCS})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE ${A_DEPS} GTest::gmock_main muster_warnings)
  if(A_TORCH)
    target_link_libraries(${target} PRIVATE muster_torch)
    target_precompile_headers(${target} REUSE_FROM muster_torch_pch)
  endif()
  add_test(NAME ${A_NAME} COMMAND ${target})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  set_tests_properties(${A_NAME} PROPERTIES TIMEOUT ${A_TIMEOUT} LABELS "${A_LABELS}")
endfunction()

# muster_uses_nccl(a.cc ...): these files see the headers of NCCL and CUDA, and not LibTorch's, which may be another
# CUDA's.
function(muster_uses_nccl)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_PRECOMPILE_HEADERS ON
                              COMPILE_OPTIONS "-isystem;${NCCL_INCLUDE_DIR};-isystem;${CUDA_INCLUDE_DIR}")
endfunction()
