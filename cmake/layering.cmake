# The dependency direction of the folders, checked on the includes themselves: at every configure, and
# as the test structure.layering (cmake -DROOT=... -P cmake/layering.cmake).
if(NOT ROOT)
  set(ROOT ${PROJECT_SOURCE_DIR})
endif()

# A folder may include only what is named here. The list is the architecture.
set(kernels_may "kernels")
set(quant_may "kernels|quant")
set(loaders_may "kernels|quant|loaders")
set(engine_may "kernels|quant|loaders|engine|klens")
set(apps_may "klens|apps") # the public headers only

set(bad 0)
foreach(folder kernels quant loaders engine apps)
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

# JSON is made at the edges. Its header is slow to parse: quant/ has no use for it, and no header of engine/.
file(GLOB_RECURSE sources ${ROOT}/kernels/*.h ${ROOT}/quant/*.h ${ROOT}/quant/*.cpp ${ROOT}/engine/*.h)
foreach(source ${sources})
  file(STRINGS ${source} includes REGEX "^#include <nlohmann/")
  if(includes)
    message("${source}: ${includes}")
    set(bad 1)
  endif()
endforeach()
if(bad)
  message(FATAL_ERROR "include against the direction kernels <- quant <- loaders <- engine <- apps, or of JSON")
endif()
