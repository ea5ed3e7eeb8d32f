# Installs the library, moves it elsewhere, and uses it from outside: the tests of the API in C and C++, the programs
# of engine/include/README.md, a project that finds it by CMake or pkg-config, and Python through ctypes. Variables:
# BUILD, WORK, SOURCE, ROOT, MODEL, CC, CXX, C_FLAGS, CXX_FLAGS, PYTHON.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "failed (${code}): ${ARGN}")
  endif()
endfunction()

# ---- what is installed -------------------------------------------------------------------------
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK}/files)
foreach(component runtime development)
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed --component ${component})
endforeach()
file(RENAME ${WORK}/installed ${WORK}/prefix)
file(GLOB_RECURSE config ${WORK}/prefix/*/klens.pc)
get_filename_component(pkgconfig ${config} DIRECTORY)
get_filename_component(lib ${pkgconfig} DIRECTORY)

# The functions of klens.h are what is exported, and what klens.hpp has; under a versioned name.
file(READ ${ROOT}/engine/include/klens/klens.h header)
string(REGEX MATCHALL "\nKLENS_API [^;(]*[( ]" declared "${header}")
list(TRANSFORM declared REPLACE ".*(klens_[a-z_]+)[( ]$" "\\1")
list(SORT declared)
execute_process(COMMAND nm -D --defined-only ${lib}/libklens.so OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]* [A-Zi] [^\n]*" exported "${symbols}")
list(TRANSFORM exported REPLACE ".* " "")
list(SORT exported)
if(NOT exported STREQUAL declared)
  message(FATAL_ERROR "exported is not what klens.h declares: ${exported}\nand\n${declared}")
endif()
file(READ ${ROOT}/engine/include/klens/klens.hpp wrapper)
string(REGEX REPLACE "//[^\n]*" "" wrapper "${wrapper}")
foreach(function ${declared})
  if(NOT wrapper MATCHES "[^a-z_]${function}[^a-z_]")
    message(FATAL_ERROR "${function} of klens.h has no counterpart in klens.hpp")
  endif()
endforeach()
execute_process(COMMAND readelf -d ${lib}/libklens.so OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "KLENS_VERSION_MAJOR ([0-9]+)" version "${header}")
if(NOT dynamic MATCHES "SONAME[^\n]*\\[libklens\\.so\\.${CMAKE_MATCH_1}\\]")
  message(FATAL_ERROR "the SONAME has not the major version ${CMAKE_MATCH_1} of klens.h: ${dynamic}")
endif()

# What calls could leave to one another in memory: constants, facts about the machine that are found once (fallbacks: what
# its drivers get wrong), threads' own scratch, the memory held back for when there is none, and the number in a temporary
# file's name.
execute_process(COMMAND nm -C ${lib}/libklens.so OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[0-9a-f]+ [bBdD] klens::[^\n]*" state "${symbols}")
list(FILTER state EXCLUDE REGEX "::k[A-Z][A-Za-z0-9]*$")
list(FILTER state EXCLUDE REGEX "::(kinds|kernel|features|api|alone|fallbacks|fallbacks_mutex)$|klens::thread_owned<|::(small_part|large_part|previous|installed)$|klens::AtomicFile::")
if(state)
  message(FATAL_ERROR "the library has state that its calls share: ${state}")
endif()

# ---- C and C++ ---------------------------------------------------------------------------------
separate_arguments(c_flags UNIX_COMMAND "${C_FLAGS}")
separate_arguments(cxx_flags UNIX_COMMAND "${CXX_FLAGS}")
set(warnings -Wall -Wextra -Wshadow -Werror)
set(link -I${WORK}/prefix/include -L${lib} -lklens -Wl,-rpath,${lib})
foreach(test c_api_test c_api_options_test)
  run(${CC} ${c_flags} -std=c99 -pedantic ${warnings} ${SOURCE}/${test}.c ${link} -o ${WORK}/${test})
endforeach()
run(${CXX} ${cxx_flags} -std=c++20 ${warnings} ${SOURCE}/cpp_api_test.cpp ${link} -o ${WORK}/cpp_api_test)
run(${WORK}/c_api_test ${MODEL} ${WORK}/files)
run(${WORK}/c_api_options_test ${MODEL})
run(${WORK}/cpp_api_test ${MODEL} ${WORK}/files)

# The programs of the page on embedding, in somebody else's project.
file(MAKE_DIRECTORY ${WORK}/programs)
foreach(language c cpp)
  execute_process(COMMAND awk "/^```${language}$/ { on = 1; next } /^```$/ { on = 0 } on" ${ROOT}/engine/include/README.md
                  OUTPUT_FILE ${WORK}/programs/page_${language}.${language} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
set(outside ${CMAKE_COMMAND} -S ${SOURCE}/outside -DCMAKE_PREFIX_PATH=${WORK}/prefix -DPROGRAMS=${WORK}/programs
    -DCMAKE_C_COMPILER=${CC} -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_C_FLAGS=${C_FLAGS} -DCMAKE_CXX_FLAGS=${CXX_FLAGS})
run(${outside} -B ${WORK}/outside -DWANTED=1.0)
run(${CMAKE_COMMAND} --build ${WORK}/outside)
run(${WORK}/outside/page_c ${MODEL} "The river")
run(${WORK}/outside/page_cpp ${MODEL})
execute_process(COMMAND ${outside} -B ${WORK}/older -DWANTED=0.9 RESULT_VARIABLE code OUTPUT_QUIET ERROR_QUIET)
if(code EQUAL 0)
  message(FATAL_ERROR "the CMake package says that it is compatible with another major version")
endif()
set(ENV{PKG_CONFIG_PATH} ${pkgconfig})
execute_process(COMMAND pkg-config --cflags --libs "klens >= 1.0" OUTPUT_VARIABLE flags COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(flags UNIX_COMMAND "${flags}")
run(${CC} ${c_flags} ${WORK}/programs/page_c.c ${flags} -o ${WORK}/by_pkg_config)

# ---- Python ------------------------------------------------------------------------------------
if(NOT EXISTS "${PYTHON}")
  message("ctypes: left out (no Python)")
else()
  run(${PYTHON} ${SOURCE}/ctypes_test.py ${lib}/libklens.so ${MODEL})
endif()
