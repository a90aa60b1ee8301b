# Installs the build tree into a scratch prefix, then configures, builds and runs two strangers' projects against it.
foreach(step
    "${CMAKE_COMMAND}|--install|${BUILD_DIR}|--prefix|${SCRATCH}/prefix"
    "${CMAKE_COMMAND}|-S|${SOURCE_DIR}|-B|${SCRATCH}/build|-G|Ninja|-DCMAKE_BUILD_TYPE=Release|-DCMAKE_PREFIX_PATH=${SCRATCH}/prefix|-DCMAKE_CXX_FLAGS=${CXX_FLAGS}|-DTorch_DIR=${TORCH_DIR}"
    "${CMAKE_COMMAND}|--build|${SCRATCH}/build"
    "${SCRATCH}/build/stranger"
    "${SCRATCH}/build/groups"
    "${SCRATCH}/prefix/bin/muster|list|compressors"
    "${CMAKE_COMMAND}|-S|${EXAMPLE_DIR}|-B|${SCRATCH}/edge-application|-G|Ninja|-DCMAKE_BUILD_TYPE=Release|-DCMAKE_PREFIX_PATH=${SCRATCH}/prefix|-DCMAKE_CXX_FLAGS=${CXX_FLAGS}"
    "${CMAKE_COMMAND}|--build|${SCRATCH}/edge-application"
    "${SOURCE_DIR}/edge_application.sh|${SCRATCH}/prefix|${SCRATCH}/edge-application/valve_client|${EXAMPLE_DIR}|${SCRATCH}/federation")
  string(REPLACE "|" ";" command "${step}")
  execute_process(COMMAND ${command} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${step} failed with ${code}:\n${output}")
  endif()
endforeach()
message("${output}")
