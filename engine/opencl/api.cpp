#include "engine/opencl/api.h"

#include <dlfcn.h>

#include <new>
#include <string>

#include "base/error.h"

namespace klens {
namespace {

constexpr const char* kInstallDriver =
    "install an OpenCL loader (Debian: ocl-icd-libopencl1) and the driver of your device, or use "
    "--backend cpu";

// Never closed: drivers leave threads and handlers behind.
OpenClApi load() {
  void* library = ::dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) library = ::dlopen("libOpenCL.so", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw Error(ErrorKind::kUnsupported,
                std::string("backend opencl: there is no libOpenCL.so.1; ") + kInstallDriver);
  OpenClApi api{};
  const auto find = [&](const char* name) {
    void* function = ::dlsym(library, name);
    if (function == nullptr)
      throw Error(ErrorKind::kUnsupported, std::string("backend opencl: libOpenCL.so.1 has no ") +
                                               name + ", it is older than OpenCL 2.1; " +
                                               kInstallDriver);
    return function;
  };
#define KLENS_FUNCTION(name) api.name = reinterpret_cast<decltype(api.name)>(find(#name));
  KLENS_OPENCL_FUNCTIONS(KLENS_FUNCTION)
#undef KLENS_FUNCTION
  return api;
}

}  // namespace

const OpenClApi& opencl() {
  static const OpenClApi api = load();
  return api;
}

void check_opencl(cl_int status, const char* call) {
  switch (status) {
    case CL_SUCCESS:
      return;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_HOST_MEMORY:
    case CL_INVALID_BUFFER_SIZE:
      throw std::bad_alloc();
    default:
      throw Error(ErrorKind::kUnsupported, std::string("backend opencl: ") + call +
                                               " failed with status " + std::to_string(status) +
                                               "; use --backend cpu");
  }
}

}  // namespace klens
