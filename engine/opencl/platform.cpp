#include "engine/opencl/platform.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

// Of cl_ext.h, which older headers lack.
#ifndef CL_DEVICE_SUB_GROUP_SIZES_INTEL
#define CL_DEVICE_SUB_GROUP_SIZES_INTEL 0x4108
#endif

namespace klens {
namespace {

constexpr OpenClFeature kFeatures[] = {
    {"rounded-division", "division and square root rounded to nearest",
     &OpenClFeatures::rounded_division},
    {"integer-dot", "dot products of packed 8-bit integers", &OpenClFeatures::integer_dot},
    {"in-place", "weights read where the host has mapped them", &OpenClFeatures::in_place},
    {"sub-groups", "sub-groups of 16 that share what they read", &OpenClFeatures::sub_groups},
    {"matrix", "products of small matrices of 8-bit integers", &OpenClFeatures::matrix},
    {"command-buffers", "a token's commands recorded once and replayed",
     &OpenClFeatures::command_buffers},
};

std::string text_of(cl_device_id device, cl_device_info what) {
  size_t bytes = 0;
  check_opencl(opencl().clGetDeviceInfo(device, what, 0, nullptr, &bytes), "clGetDeviceInfo");
  std::string text(bytes, '\0');
  check_opencl(opencl().clGetDeviceInfo(device, what, bytes, text.data(), nullptr),
               "clGetDeviceInfo");
  return text.c_str();  // up to its end
}

template <class T>
T number_of(cl_device_id device, cl_device_info what) {
  T number{};
  check_opencl(opencl().clGetDeviceInfo(device, what, sizeof number, &number, nullptr),
               "clGetDeviceInfo");
  return number;
}

std::string platform_text(cl_platform_id platform, cl_platform_info what) {
  char text[256] = "";
  opencl().clGetPlatformInfo(platform, what, sizeof text - 1, text, nullptr);
  return text;
}

// Whether a name is one of a list by spaces.
bool lists(const std::string& list, const char* name) {
  return (" " + list + " ").find(" " + std::string(name) + " ") != std::string::npos;
}

std::vector<int64_t> sub_group_sizes(cl_device_id device, const std::string& extensions) {
  if (!lists(extensions, "cl_intel_required_subgroup_size")) return {};
  size_t sizes[16] = {}, bytes = 0;
  if (opencl().clGetDeviceInfo(device, CL_DEVICE_SUB_GROUP_SIZES_INTEL, sizeof sizes, sizes,
                               &bytes) != CL_SUCCESS)
    return {};
  return {sizes, sizes + bytes / sizeof(size_t)};
}

// Whether it compiles OpenCL 3.0 C.
bool compiles_c3(cl_device_id device) {
  size_t bytes = 0;
  if (opencl().clGetDeviceInfo(device, CL_DEVICE_OPENCL_C_ALL_VERSIONS, 0, nullptr, &bytes) !=
      CL_SUCCESS)
    return false;
  std::vector<cl_name_version> versions(bytes / sizeof(cl_name_version));
  if (opencl().clGetDeviceInfo(device, CL_DEVICE_OPENCL_C_ALL_VERSIONS, bytes, versions.data(),
                               nullptr) != CL_SUCCESS)
    return false;
  return std::any_of(versions.begin(), versions.end(), [](const cl_name_version& version) {
    return CL_VERSION_MAJOR(version.version) >= 3;
  });
}

// Whether command buffers take a queue without properties.
bool records_in_order(cl_device_id device) {
  constexpr cl_device_info kRequiredQueueProperties = 0x12AA;  // of cl_ext.h, not in older ones
  cl_command_queue_properties required = 0;
  return opencl().clGetDeviceInfo(device, kRequiredQueueProperties, sizeof required, &required,
                                  nullptr) == CL_SUCCESS &&
         required == 0;
}

// What KLENS_OPENCL_FEATURES leaves: the names that it lists, by commas; all where it is not set.
OpenClFeatures allowed(OpenClFeatures has) {
  const char* variable = std::getenv("KLENS_OPENCL_FEATURES");
  if (variable == nullptr || *variable == 0) return has;
  std::string all = "none";
  for (const OpenClFeature& feature : kFeatures) all += std::string(", ") + feature.name;
  OpenClFeatures uses{};
  const std::string list = variable;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    const std::string name = list.substr(at, end - at);
    at = end + 1;
    if (name == "none") continue;
    const auto* found = std::find_if(std::begin(kFeatures), std::end(kFeatures),
                                     [&](const OpenClFeature& f) { return f.name == name; });
    if (found == std::end(kFeatures))
      throw Error(ErrorKind::kBadArgument,
                  "KLENS_OPENCL_FEATURES has \"" + name + "\", which is none of: " + all);
    uses.*found->flag = has.*found->flag;
  }
  return uses;
}

OpenClInfo info_of(cl_platform_id platform, cl_device_id device) {
  OpenClInfo info{};
  info.platform_id = platform;
  info.device_id = device;
  info.platform = platform_text(platform, CL_PLATFORM_NAME);
  info.platform_version = platform_text(platform, CL_PLATFORM_VERSION);
  info.name = text_of(device, CL_DEVICE_NAME);
  info.driver = text_of(device, CL_DRIVER_VERSION);
  info.version = text_of(device, CL_DEVICE_VERSION);
  info.c_version = "CL3.0";
  const auto type = number_of<cl_device_type>(device, CL_DEVICE_TYPE);
  info.gpu = (type & CL_DEVICE_TYPE_GPU) != 0;
  info.cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
  info.memory = static_cast<int64_t>(number_of<cl_ulong>(device, CL_DEVICE_GLOBAL_MEM_SIZE));
  info.largest_allocation =
      static_cast<int64_t>(number_of<cl_ulong>(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE));
  info.local_memory = static_cast<int64_t>(number_of<cl_ulong>(device, CL_DEVICE_LOCAL_MEM_SIZE));
  info.units = number_of<cl_uint>(device, CL_DEVICE_MAX_COMPUTE_UNITS);
  const std::string extensions = text_of(device, CL_DEVICE_EXTENSIONS);
  info.fp16 = lists(extensions, "cl_khr_fp16");
  info.fp64 = lists(extensions, "cl_khr_fp64");
  info.keeps_programs = info.platform == "Portable Computing Language";
  info.sub_group_sizes = sub_group_sizes(device, extensions);
  const auto floats = number_of<cl_device_fp_config>(device, CL_DEVICE_SINGLE_FP_CONFIG);
  const auto groups_of = [&](int64_t lanes) {
    const std::vector<int64_t>& sizes = info.sub_group_sizes;
    return std::find(sizes.begin(), sizes.end(), lanes) != sizes.end();
  };
  // Xe-HPG has sub-groups of 8 and multiplies by these, later ones begin at 16.
  info.matrix_lanes = groups_of(8) ? 8 : 16;
  const bool sub_groups = groups_of(16) && lists(extensions, "cl_intel_subgroups");
  info.has = {
      .rounded_division = (floats & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0,
      .integer_dot = lists(extensions, "cl_khr_integer_dot_product"),
      .in_place = info.cpu,
      .sub_groups = sub_groups,
      .matrix = sub_groups && lists(extensions, "cl_intel_subgroup_matrix_multiply_accumulate"),
      .command_buffers = lists(extensions, "cl_khr_command_buffer") && records_in_order(device)};
  info.uses = allowed(info.has);
  if (number_of<cl_bool>(device, CL_DEVICE_COMPILER_AVAILABLE) == CL_FALSE)
    info.problem = "its driver has no compiler";
  else if (!compiles_c3(device))
    info.problem = "its driver does not compile OpenCL 3.0 C";
  else if (number_of<cl_bool>(device, CL_DEVICE_ENDIAN_LITTLE) == CL_FALSE)
    info.problem = "it is not little-endian";
  info.usable = info.problem.empty();
  return info;
}

}  // namespace

std::span<const OpenClFeature> opencl_features() { return kFeatures; }

std::vector<OpenClInfo> opencl_devices() {
  cl_uint count = 0;
  const cl_int status = opencl().clGetPlatformIDs(0, nullptr, &count);
  if (status != CL_SUCCESS || count == 0)
    throw Error(ErrorKind::kUnsupported,
                "backend opencl: libOpenCL finds no platform; install the OpenCL driver of your "
                "device (Debian: intel-opencl-icd, pocl-opencl-icd), or use --backend cpu");
  std::vector<cl_platform_id> platforms(count);
  check_opencl(opencl().clGetPlatformIDs(count, platforms.data(), nullptr), "clGetPlatformIDs");
  std::vector<OpenClInfo> all;
  for (const cl_platform_id platform : platforms) {
    cl_uint found = 0;
    if (opencl().clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, nullptr, &found) != CL_SUCCESS ||
        found == 0)
      continue;
    std::vector<cl_device_id> devices(found);
    check_opencl(
        opencl().clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, found, devices.data(), nullptr),
        "clGetDeviceIDs");
    for (const cl_device_id device : devices) all.push_back(info_of(platform, device));
  }
  return all;
}

OpenClInfo opencl_device(int index) {
  const std::vector<OpenClInfo> all = opencl_devices();
  const auto refuse = [](const std::string& why) -> Error {
    return Error(ErrorKind::kUnsupported,
                 "backend opencl: " + why + "; klens devices lists what there is");
  };
  if (all.empty()) throw refuse("no platform has a device");
  if (index >= 0) {
    if (static_cast<size_t>(index) >= all.size())
      throw refuse("there is no device " + std::to_string(index));
    const OpenClInfo& info = all[static_cast<size_t>(index)];
    if (!info.usable) throw refuse(info.name + " cannot be used, as " + info.problem);
    return info;
  }
  for (const bool gpu : {true, false})
    for (const OpenClInfo& info : all)
      if (info.usable && info.gpu == gpu) return info;
  throw refuse(all.front().name + " cannot be used, as " + all.front().problem);
}

}  // namespace klens
