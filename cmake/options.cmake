# What every target of ours is compiled with. Contraction is off so that a scalar reference means
# what it says; instruction sets are set per file in kernels/, never globally.
add_library(klens_options INTERFACE)
target_include_directories(klens_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(klens_options INTERFACE -Wall -Wextra -Wshadow -ffp-contract=off
  # GCC 12 warns of overlapping copies inside std::string's own operator+ (GCC bug 105651).
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<COMPILE_LANGUAGE:CXX>>:-Wno-restrict>)
if(CMAKE_CXX_FLAGS MATCHES "sanitize" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Instrumented, GCC 12 takes std::function and std::optional of the standard headers for uninitialised.
  target_compile_options(klens_options INTERFACE -Wno-maybe-uninitialized)
endif()

# klens_library(NAME [LINKS library...] SOURCES file...): one static library per top-level folder.
# LINKS is the folder's row of the dependency table in README.md.
function(klens_library name)
  cmake_parse_arguments(arg "" "" "LINKS;PRIVATE_LINKS;SOURCES" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC klens_options ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS})
endfunction()

# Sanitizers instrument every line of what kernels unroll: those then unroll less.
if(CMAKE_CXX_FLAGS MATCHES "sanitize")
  target_compile_definitions(klens_options INTERFACE KLENS_SANITIZED)
endif()

# klens_precompile(TARGET [header...]): under sanitizers, whose builds take longest, the standard library, JSON
# and the given headers are parsed once for all files of a target. Other builds parse them for each file, and
# so find the file that does not include what it uses.
function(klens_precompile target)
  if(CMAKE_CXX_FLAGS MATCHES "sanitize")
    target_precompile_headers(${target} PRIVATE
      <algorithm> <cmath> <cstdint> <cstring> <filesystem> <functional> <map> <memory> <nlohmann/json.hpp>
      <optional> <set> <span> <string> <string_view> <vector> ${ARGN})
  endif()
endfunction()
