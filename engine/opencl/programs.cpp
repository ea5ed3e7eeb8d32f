#include "engine/opencl/programs.h"

#include "base/check.h"
#include "base/error.h"
#include "kernels/opencl/sources.h"

namespace klens {
namespace {

std::string build_log(cl_program program, cl_device_id device) {
  size_t bytes = 0;
  opencl().clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, 0, nullptr, &bytes);
  std::string log(bytes, '\0');
  opencl().clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, bytes, log.data(), nullptr);
  return log.c_str();
}

// The line that says what is wrong, else the first; without what ends lines.
std::string telling_line(const std::string& log) {
  size_t at = log.find("error");
  if (at == std::string::npos) at = log.find_first_not_of(" \n\r\t");
  if (at == std::string::npos) return "the compiler says nothing";
  const size_t begin = log.rfind('\n', at) == std::string::npos ? 0 : log.rfind('\n', at) + 1;
  return log.substr(begin, std::min(log.find('\n', at), log.size()) - begin);
}

std::vector<std::byte> binary_of(cl_program program) {
  size_t bytes = 0;
  if (opencl().clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, nullptr) !=
      CL_SUCCESS)
    return {};
  std::vector<std::byte> binary(bytes);
  auto* to = reinterpret_cast<unsigned char*>(binary.data());
  if (opencl().clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof to, &to, nullptr) !=
      CL_SUCCESS)
    return {};
  return binary;
}

}  // namespace

std::string opencl_source(std::string_view family) {
  std::string common, own;
  for (const OpenClSource& source : opencl_sources()) {
    if (source.name == std::string_view("common.h")) common = source.text;
    if (source.name == std::string(family) + ".cl") own = source.text;
  }
  KLENS_CHECK(!common.empty() && !own.empty());
  return common + own;
}

std::string opencl_options(const OpenClFeatures& features) {
  std::string options = "-cl-std=CL3.0";
  if (features.rounded_division) options += " -cl-fp32-correctly-rounded-divide-sqrt";
  if (features.rounded_division) options += " -DROUNDED_DIVISION";
  if (features.integer_dot) options += " -DINTEGER_DOT";
  return options;
}

OpenClPrograms::~OpenClPrograms() {
  for (auto& [key, program] : programs_) {
    for (auto& [name, kernel] : program.kernels) opencl().clReleaseKernel(kernel);
    opencl().clReleaseProgram(program.program);
  }
}

cl_kernel OpenClPrograms::kernel(const KernelName& which) {
  const std::lock_guard lock(mutex_);
  const std::pair<std::string, std::string> key(which.family, which.options);
  auto found = programs_.find(key);
  if (found == programs_.end()) {
    found = programs_.emplace(key, make(which.family, which.options)).first;
    found->second.wrong = judge(which.family, which.options, found->second.key);
  }
  if (const std::string& wrong = found->second.wrong; !wrong.empty())
    throw Error(ErrorKind::kUnsupported,
                "backend opencl: " + info_.name + " (driver " + info_.driver + ") computes " +
                    which.family + ".cl wrongly: " + wrong +
                    "; try KLENS_OPENCL_FEATURES=none or another driver, or use --backend cpu");
  auto& kernels = found->second.kernels;
  if (const auto made = kernels.find(std::string_view(which.name)); made != kernels.end())
    return made->second;
  cl_int status = CL_SUCCESS;
  const cl_kernel kernel = opencl().clCreateKernel(found->second.program, which.name, &status);
  check_opencl(status, "clCreateKernel");
  kernels.emplace(which.name, kernel);
  return kernel;
}

// The cached verdict, or a check's. While it runs, the program is taken for sound.
std::string OpenClPrograms::judge(const char* family, const std::string& options,
                                  const std::string& key) {
  const std::string of_verdict = "verdict\n" + key;
  if (const auto cached = cache_.load(of_verdict))
    return {reinterpret_cast<const char*>(cached->data()), cached->size()};
  if (!check_) return "";
  const std::string wrong = check_(family, options);
  const auto* bytes = reinterpret_cast<const std::byte*>(wrong.data());
  cache_.store(of_verdict, {bytes, bytes + wrong.size()});
  return wrong;
}

OpenClPrograms::Program OpenClPrograms::make(const char* family, const std::string& options) {
  const std::string source = opencl_source(family);
  const std::string all = opencl_options(info_.uses) + (options.empty() ? "" : " ") + options;
  const std::string key = info_.platform + "\n" + info_.platform_version + "\n" + info_.name +
                          "\n" + info_.driver + "\n" + info_.version + "\n" + all + "\n" + source;
  // To give binaries away PoCL would compile every kernel once more, for any size of work-groups.
  if (info_.keeps_programs) return {key, build(family, source, all), "", {}};
  if (const auto binary = cache_.load(key))
    if (const cl_program program = from_binary(*binary, all)) return {key, program, "", {}};
  const cl_program program = build(family, source, all);
  if (const std::vector<std::byte> binary = binary_of(program); !binary.empty())
    cache_.store(key, binary);
  return {key, program, "", {}};
}

// Null where the driver takes it no more.
cl_program OpenClPrograms::from_binary(const std::vector<std::byte>& binary,
                                       const std::string& options) const {
  const size_t bytes = binary.size();
  const auto* from = reinterpret_cast<const unsigned char*>(binary.data());
  cl_int status = CL_SUCCESS;
  const cl_program program = opencl().clCreateProgramWithBinary(context_, 1, &info_.device_id,
                                                                &bytes, &from, nullptr, &status);
  if (status != CL_SUCCESS) return nullptr;
  if (opencl().clBuildProgram(program, 1, &info_.device_id, options.c_str(), nullptr, nullptr) ==
      CL_SUCCESS)
    return program;
  opencl().clReleaseProgram(program);
  return nullptr;
}

cl_program OpenClPrograms::build(const std::string& family, const std::string& source,
                                 const std::string& options) const {
  const char* text = source.c_str();
  cl_int status = CL_SUCCESS;
  const cl_program program =
      opencl().clCreateProgramWithSource(context_, 1, &text, nullptr, &status);
  check_opencl(status, "clCreateProgramWithSource");
  status = opencl().clBuildProgram(program, 1, &info_.device_id, options.c_str(), nullptr, nullptr);
  if (status == CL_SUCCESS) return program;
  const std::string log = build_log(program, info_.device_id);
  opencl().clReleaseProgram(program);
  throw Error(ErrorKind::kUnsupported, "backend opencl: " + info_.name + " (driver " +
                                           info_.driver + ") does not compile " + family +
                                           ".cl with " + options + ": " + telling_line(log));
}

}  // namespace klens
