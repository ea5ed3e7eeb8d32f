#pragma once
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "engine/opencl/binary_cache.h"
#include "engine/opencl/platform.h"

namespace klens {

// Which kernel: a file of kernels/opencl, what it is specialised by ("-DKV=1"), and its name there.
struct KernelName {
  const char* family;
  std::string options;
  const char* name;
};

// The programs of a device, each compiled when it is first asked for, or taken from the cache, and
// checked before it is first used with this device and driver: the verdict is kept beside it. One
// that the driver does not compile, or that computes wrongly, is made again without the device's
// features. Safe from several threads.
class OpenClPrograms {
 public:
  // What is wrong with a program, which may ask for kernels; "" if nothing.
  using Check = std::function<std::string(const std::string& family, const std::string& options)>;

  OpenClPrograms(const OpenClInfo& info, cl_context context, Check check)
      : info_(info), context_(context), check_(std::move(check)) {}
  ~OpenClPrograms();
  OpenClPrograms(const OpenClPrograms&) = delete;
  OpenClPrograms& operator=(const OpenClPrograms&) = delete;

  // Throws Error with what the compiler said first, where it refuses, and where the program
  // computes wrongly, without features too.
  cl_kernel kernel(const KernelName& which);
  // What the program uses of the device, so what kernels it has.
  OpenClFeatures features(const char* family, const std::string& options);

 private:
  struct Program {
    OpenClFeatures features;
    std::string key;
    cl_program program;
    std::string wrong;  // what its check found
    std::map<std::string, cl_kernel, std::less<>> kernels;
  };
  Program& find(const char* family, const std::string& options);
  Program make(const char* family, const std::string& options, const OpenClFeatures& features);
  static void release(Program& program);
  std::string judge(const char* family, const std::string& options, const std::string& key);
  cl_program build(const std::string& family, const std::string& source,
                   const std::string& options) const;
  cl_program from_binary(const std::vector<std::byte>& binary, const std::string& options) const;

  const OpenClInfo& info_;
  cl_context context_;
  Check check_;
  BinaryCache cache_;
  std::recursive_mutex mutex_;                                       // a check asks for kernels
  std::map<std::pair<std::string, std::string>, Program> programs_;  // by family and options
};

// Which programs of this process do without features, and why: a line each.
std::string opencl_fallbacks();

// What a family's program is made of, for a device when these of its features are used: its source,
// and the compiler's options in front of those that specialise it.
std::string opencl_source(std::string_view family);
std::string opencl_options(const OpenClInfo& info, const OpenClFeatures& features);

}  // namespace klens
