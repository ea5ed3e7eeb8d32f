# Installs the build, compiles c_api_test.c against nothing but what was installed, and runs it: as C99, and the
# header as C++20 too. Variables: BUILD, WORK, SOURCE, MODEL, CC, CXX, C_FLAGS, CXX_FLAGS.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "failed (${code}): ${ARGN}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK}/files)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
file(GLOB_RECURSE config ${WORK}/prefix/*/klens.pc)
get_filename_component(pkgconfig ${config} DIRECTORY)
get_filename_component(lib ${pkgconfig} DIRECTORY)
separate_arguments(c_flags UNIX_COMMAND "${C_FLAGS}")
separate_arguments(cxx_flags UNIX_COMMAND "${CXX_FLAGS}")
run(${CC} ${c_flags} -std=c99 -pedantic -Wall -Wextra -Werror ${SOURCE}/c_api_test.c -I${WORK}/prefix/include -L${lib} -lklens
    -Wl,-rpath,${lib} -o ${WORK}/c_api_test)
file(WRITE ${WORK}/header.cpp "#include <klens/klens.hpp>\nint main() { return klens_version() == nullptr; }\n")
run(${CXX} ${cxx_flags} -std=c++20 -Wall -Wextra -Werror ${WORK}/header.cpp -I${WORK}/prefix/include -L${lib} -lklens
    -Wl,-rpath,${lib} -o ${WORK}/header)
run(${WORK}/header)
run(${WORK}/c_api_test ${MODEL} ${WORK}/files)

# Nothing but klens_* is exported, under a versioned name.
execute_process(COMMAND nm -D --defined-only ${lib}/libklens.so OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]* [A-Zi] [^\n]*" lines "${symbols}")
foreach(line ${lines})
  if(NOT line MATCHES " klens_[a-z_]+$" AND NOT line MATCHES "__(asan|ubsan|odr_asan|sanitizer)")
    message(FATAL_ERROR "exported, but not part of klens.h: ${line}")
  endif()
endforeach()
execute_process(COMMAND readelf -d ${lib}/libklens.so OUTPUT_VARIABLE dynamic COMMAND_ERROR_IS_FATAL ANY)
if(NOT dynamic MATCHES "SONAME[^\n]*libklens\\.so\\.[0-9]+")
  message(FATAL_ERROR "no versioned SONAME: ${dynamic}")
endif()
