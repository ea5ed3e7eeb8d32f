# `cpack -G DEB` and `cpack -G TGZ` in a build folder: Debian packages libklens1, libklens-dev and klens; and a folder
# for other distributions that is run from wherever it is unpacked. `cmake --install` has components of the same
# contents: runtime, development, tools; portable is what the folder has beside them.
set(CPACK_PACKAGE_NAME klens)
set(CPACK_PACKAGE_VENDOR klens)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")  # each package has its own
set(CPACK_PACKAGE_CONTACT "The klens maintainers <maintainers@klens.invalid>" CACHE STRING "Maintainer of the Debian packages")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_THREADS 0)
set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_SOURCE_DIR}/cmake/packages/generator.cmake)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/packages/finish.cmake)
set(CPACK_POST_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/packages/repack.cmake)
set(CPACK_KLENS_SOURCE ${PROJECT_SOURCE_DIR})

set(library libklens${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS ON)
# `klens` is linked with the library of the first package, which dpkg does not know yet.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/engine)
set(about "klens runs Mamba, Mamba-2, Gated DeltaNet, attention-hybrid and plain attention
language models on the CPU and makes them smaller: it measures how much each
weight matrix suffers in each number format and finds the best mix of formats
for the size that is asked for.")

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME ${library})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "runs and quantises language models (shared library)
${about}

This package has the shared library.")

file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/packages/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_BINARY_DIR}/packages/triggers)

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libklens-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "${library} (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "runs and quantises language models (development files)
${about}

This package has the headers for C and C++, and files for CMake and pkg-config.")

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME klens)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION science)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "${library} (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "runs and quantises language models
${about}

This package has the program.")

# What Debian asks of every package is put into it by finish.cmake.
set(CPACK_KLENS_DEBIAN_NAMES runtime=${library} development=libklens-dev tools=klens)

# The tarball says what it needs.
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION . COMPONENT portable)
install(CODE "set(LIBRARY $<TARGET_FILE:klens>)
set(VERSION ${PROJECT_VERSION})
include(${PROJECT_SOURCE_DIR}/cmake/packages/readme.cmake)" COMPONENT portable)

include(CPack)
