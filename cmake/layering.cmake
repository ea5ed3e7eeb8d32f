# The dependency direction of the folders, checked on the includes themselves: at every configure, and
# as the test structure.layering (cmake -DROOT=... -P cmake/layering.cmake).
if(NOT ROOT)
  set(ROOT ${PROJECT_SOURCE_DIR})
endif()

# A folder may include only what is named here. The list is the architecture.
set(base_may "base")
set(kernels_may "base|kernels")
set(quant_may "base|kernels|quant")
set(loaders_may "base|kernels|quant|loaders")
set(engine_may "base|kernels|quant|loaders|engine|klens")
set(apps_may "klens|apps") # the public headers only
set(python_may "klens|python") # the same

set(bad 0)
foreach(folder base kernels quant loaders engine apps python)
  file(GLOB_RECURSE sources ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.hpp ${ROOT}/${folder}/*.cpp)
  foreach(source ${sources})
    file(STRINGS ${source} includes REGEX "^#include \"")
    foreach(line ${includes})
      if(NOT line MATCHES "^#include \"(${${folder}_may})/")
        message("${source}: ${line}")
        set(bad 1)
      endif()
    endforeach()
  endforeach()
endforeach()

# refuse(REGEX file...): no line of these files may match.
macro(refuse regex)
  foreach(source ${ARGN})
    file(STRINGS ${source} lines REGEX "${regex}")
    if(lines)
      message("${source}: ${lines}")
      set(bad 1)
    endif()
  endforeach()
endmacro()

# JSON is made at the edges. Its header is slow to parse: quant/ has no use for it, and no header of engine/.
file(GLOB_RECURSE sources ${ROOT}/base/*.h ${ROOT}/kernels/*.h ${ROOT}/quant/*.h ${ROOT}/quant/*.cpp ${ROOT}/engine/*.h)
refuse("^#include <nlohmann/" ${sources})

# Blocks are mathematics on rows. Kernels, threads, and what lies under an address are a device's.
file(GLOB_RECURSE sources ${ROOT}/engine/blocks/*.h ${ROOT}/engine/blocks/*.cpp)
refuse("kernels/cpu|engine/cpu|tbb|std::thread|reinterpret_cast<float|reinterpret_cast<const float" ${sources})

# Who computes is known in engine/cpu and in the table of devices.
file(GLOB_RECURSE sources ${ROOT}/engine/*.h ${ROOT}/engine/*.cpp)
list(FILTER sources EXCLUDE REGEX "/engine/cpu/|/engine/devices.cpp$")
refuse("best_variant|_variants[(]" ${sources})

# OpenCL is known in engine/opencl and in the table of devices.
file(GLOB_RECURSE sources ${ROOT}/engine/*.h ${ROOT}/engine/*.cpp)
list(FILTER sources EXCLUDE REGEX "/engine/opencl/|/engine/devices.cpp$")
refuse("<CL/|engine/opencl/|kernels/opencl/" ${sources})

if(bad)
  message(FATAL_ERROR "include against the direction base <- kernels <- quant <- loaders <- engine <- apps, of JSON, or of what blocks may know")
endif()
