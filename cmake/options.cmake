# What every target of ours is compiled with. Contraction is off so that a scalar reference means
# what it says; instruction sets are set per file in kernels/, never globally.
add_library(klens_options INTERFACE)
target_include_directories(klens_options INTERFACE ${PROJECT_SOURCE_DIR})
# In files that are compiled several as one (klens_unity), GCC would warn of locals that have the name of something in
# another file, and take hidden classes for a header's: that is looked at file by file (tests/includes.sh).
target_compile_options(klens_options INTERFACE -Wall -Wextra
  "$<IF:$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:$<TARGET_PROPERTY:UNITY_BUILD>>>,-Wshadow=local;-Wno-subobject-linkage,-Wshadow>"
  -ffp-contract=off
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

# klens_precompile(TARGET header...) and klens_precompile(TARGET REUSE other): the standard library and the given
# headers are parsed once for all files of a target, which saves a fifth of what they take to build; REUSE takes what
# another target has parsed that is compiled with the same flags and that this one links. A file that does not
# include what it uses is found by tests/includes.sh, which parses what has changed without these.
function(klens_precompile target)
  cmake_parse_arguments(arg "" "REUSE" "" ${ARGN})
  if(arg_REUSE)
    target_precompile_headers(${target} REUSE_FROM ${arg_REUSE})
  else()
    target_precompile_headers(${target} PRIVATE
      <algorithm> <chrono> <cmath> <cstdint> <cstring> <filesystem> <functional> <map> <memory> <optional> <set>
      <span> <string> <string_view> <vector> ${arg_UNPARSED_ARGUMENTS})
  endif()
  # The first, so that ccache knows what a precompiled header holds. The others, as GCC 12 then warns of copies beyond
  # all memory inside std::string's own operator+ (as above).
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>
    $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow> $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds>)
endfunction()

# klens_unity(TARGET): some files of a target are compiled as one, which parses headers and instantiates templates of
# the standard library once for all of them. So no two files of a target may give one name to two things, in anonymous
# namespaces neither. Not for kernels: each of their files is read and tested by itself. -DKLENS_UNITY_BUILD=OFF
# compiles files one by one.
function(klens_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${KLENS_UNITY_BUILD} UNITY_BUILD_BATCH_SIZE 12)
endfunction()
