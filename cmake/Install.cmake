# `cmake --install`: the libraries with their headers for find_package(Muster), and the muster command.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(libraries)
foreach(name proto federation_proto core transport config compression methods data federated_data optim learning edge client server service simulation)
  list(APPEND libraries muster_${name})
endforeach()
install(TARGETS ${libraries} muster EXPORT MusterTargets
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT MusterTargets NAMESPACE Muster:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Muster)

foreach(room core compression methods optim learning client server simulation)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/muster
          FILES_MATCHING PATTERN "*.h")
endforeach()
install(DIRECTORY ${PROJECT_BINARY_DIR}/proto/muster DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/muster
        FILES_MATCHING PATTERN "*.pb.h")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/proto/muster DESTINATION ${CMAKE_INSTALL_DATADIR}/muster/proto
        FILES_MATCHING PATTERN "*.proto")

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/MusterConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/MusterConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Muster)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/MusterConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/MusterConfig.cmake ${PROJECT_BINARY_DIR}/MusterConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Muster)
