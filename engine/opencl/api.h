#pragma once
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>

namespace klens {

// The functions of OpenCL that are used.
#define KLENS_OPENCL_FUNCTIONS(f)                                                                  \
  f(clGetPlatformIDs) f(clGetPlatformInfo) f(clGetDeviceIDs) f(clGetDeviceInfo) f(clCreateContext) \
      f(clReleaseContext) f(clCreateCommandQueueWithProperties) f(clReleaseCommandQueue)           \
          f(clCreateBuffer) f(clReleaseMemObject) f(clCreateProgramWithSource)                     \
              f(clCreateProgramWithBinary) f(clBuildProgram) f(clGetProgramBuildInfo)              \
                  f(clGetProgramInfo) f(clReleaseProgram) f(clCreateKernel) f(clReleaseKernel)     \
                      f(clSetKernelArg) f(clEnqueueNDRangeKernel) f(clEnqueueReadBuffer)           \
                          f(clEnqueueWriteBuffer) f(clEnqueueCopyBuffer) f(clEnqueueFillBuffer)    \
                              f(clSetEventCallback) f(clWaitForEvents) f(clRetainEvent)            \
                                  f(clReleaseEvent) f(clGetEventProfilingInfo) f(clFlush)          \
                                      f(clFinish) f(clGetExtensionFunctionAddressForPlatform)      \
                                          f(clCloneKernel)

struct OpenClApi {
#define KLENS_FUNCTION(name) decltype(&::name) name;
  KLENS_OPENCL_FUNCTIONS(KLENS_FUNCTION)
#undef KLENS_FUNCTION
};

// Those of libOpenCL, which is opened at the first call. Throws Error where there is none.
const OpenClApi& opencl();

// Throws std::bad_alloc where memory is short, and Error for any other failure of `call`.
void check_opencl(cl_int status, const char* call);

}  // namespace klens
