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

std::mutex fallbacks_mutex;
std::string fallbacks;  // of all devices of this process

void note_fallback(const std::string& line) {
  const std::lock_guard lock(fallbacks_mutex);
  if (fallbacks.find(line + "\n") == std::string::npos) fallbacks += line + "\n";
}

}  // namespace

std::string opencl_fallbacks() {
  const std::lock_guard lock(fallbacks_mutex);
  return fallbacks;
}

std::string opencl_source(std::string_view family) {
  std::string common, own;
  for (const OpenClSource& source : opencl_sources()) {
    if (source.name == std::string_view("common.h")) common = source.text;
    if (source.name == std::string(family) + ".cl") own = source.text;
  }
  KLENS_CHECK(!common.empty() && !own.empty());
  return common + own;
}

std::string opencl_options(const OpenClInfo& info, const OpenClFeatures& features) {
  std::string options = "-w -cl-std=" + info.c_version;  // PoCL counts warnings on standard error
  if (features.rounded_division) options += " -cl-fp32-correctly-rounded-divide-sqrt";
  if (features.rounded_division) options += " -DROUNDED_DIVISION";
  if (features.integer_dot) options += " -DINTEGER_DOT";
  if (features.sub_groups) options += " -DSUB_GROUPS";
  if (!features.sub_groups || !features.matrix) return options;
  options += " -DMATRIX=" + std::to_string(info.matrix_lanes);
  return options + (info.matrix_model ? " -DMATRIX_MODEL" : "");
}

OpenClPrograms::~OpenClPrograms() {
  for (auto& [key, program] : programs_) release(program);
}

void OpenClPrograms::release(Program& program) {
  for (auto& [name, kernel] : program.kernels) opencl().clReleaseKernel(kernel);
  opencl().clReleaseProgram(program.program);
}

// Where it fails with the device's features, it is made once more with none.
OpenClPrograms::Program& OpenClPrograms::find(const char* family, const std::string& options) {
  const std::pair<std::string, std::string> key(family, options);
  if (const auto found = programs_.find(key); found != programs_.end()) return found->second;
  OpenClFeatures none{};
  none.in_place = info_.uses.in_place;
  const bool again = opencl_options(info_, info_.uses) != opencl_options(info_, none);
  std::string failed;
  try {
    Program& program = programs_.emplace(key, make(family, options, info_.uses)).first->second;
    program.wrong = judge(family, options, program.key);
    if (program.wrong.empty() || !again) return program;
    failed = "computes wrongly: " + program.wrong;
    release(program);
    programs_.erase(key);
  } catch (const Error& error) {
    if (!again || programs_.contains(key)) throw;
    failed = error.what();
  }
  Program& program = programs_.emplace(key, make(family, options, none)).first->second;
  program.wrong = judge(family, options, program.key);
  if (program.wrong.empty())
    note_fallback(info_.name + ": " + family + ".cl" + (options.empty() ? "" : " ") + options +
                  " does without the device's features, as with them it " + failed);
  return program;
}

OpenClFeatures OpenClPrograms::features(const char* family, const std::string& options) {
  const std::lock_guard lock(mutex_);
  return find(family, options).features;
}

cl_kernel OpenClPrograms::kernel(const KernelName& which) {
  const std::lock_guard lock(mutex_);
  Program& program = find(which.family, which.options);
  if (!program.wrong.empty())
    throw Error(ErrorKind::kUnsupported, "backend opencl: " + info_.name + " (driver " +
                                             info_.driver + ") computes " + which.family +
                                             ".cl wrongly: " + program.wrong +
                                             "; try another driver, or use --backend cpu");
  auto& kernels = program.kernels;
  if (const auto made = kernels.find(std::string_view(which.name)); made != kernels.end())
    return made->second;
  cl_int status = CL_SUCCESS;
  const cl_kernel kernel = opencl().clCreateKernel(program.program, which.name, &status);
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

OpenClPrograms::Program OpenClPrograms::make(const char* family, const std::string& options,
                                             const OpenClFeatures& features) {
  const std::string source = opencl_source(family);
  const std::string all = opencl_options(info_, features) + (options.empty() ? "" : " ") + options;
  const std::string key = info_.platform + "\n" + info_.platform_version + "\n" + info_.name +
                          "\n" + info_.driver + "\n" + info_.version + "\n" + all + "\n" + source;
  // To give binaries away PoCL would compile every kernel once more, for any size of work-groups.
  if (info_.keeps_programs) return {features, key, build(family, source, all), "", {}};
  if (const auto binary = cache_.load(key))
    if (const cl_program program = from_binary(*binary, all))
      return {features, key, program, "", {}};
  const cl_program program = build(family, source, all);
  if (const std::vector<std::byte> binary = binary_of(program); !binary.empty())
    cache_.store(key, binary);
  return {features, key, program, "", {}};
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
