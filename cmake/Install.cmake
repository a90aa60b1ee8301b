# `cmake --install`: libraries with their headers for find_package(Muster), and the muster command.
