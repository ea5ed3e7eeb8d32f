# cmake -DNM=nm -DOBJECTS=a.o,b.o -P isa_hygiene.cmake
# An object built for one instruction set may define its kernels and nothing the linker could merge
# with a baseline copy (weak or unique symbols), and may run nothing at start-up.
string(REPLACE "," ";" objects "${OBJECTS}")
if(NOT objects)
  message(FATAL_ERROR "no objects given")
endif()
foreach(object ${objects})
  execute_process(COMMAND ${NM} --defined-only ${object} OUTPUT_VARIABLE symbols
                  COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*|[^\n]*_GLOBAL__sub_I[^\n]*" bad "${symbols}")
  if(bad)
    message(FATAL_ERROR "${object}: ${bad}")
  endif()
endforeach()
