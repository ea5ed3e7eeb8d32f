#pragma once
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

// The programs of a device, each compiled when it is first asked for, or taken from the cache. Safe
// from several threads.
class OpenClPrograms {
 public:
  OpenClPrograms(const OpenClInfo& info, cl_context context) : info_(info), context_(context) {}
  ~OpenClPrograms();
  OpenClPrograms(const OpenClPrograms&) = delete;
  OpenClPrograms& operator=(const OpenClPrograms&) = delete;

  // Throws Error with what the compiler said first, where it refuses.
  cl_kernel kernel(const KernelName& which);

 private:
  struct Program {
    cl_program program;
    std::map<std::string, cl_kernel, std::less<>> kernels;
  };
  cl_program make(const char* family, const std::string& options);
  cl_program build(const std::string& family, const std::string& source,
                   const std::string& options) const;
  cl_program from_binary(const std::vector<std::byte>& binary, const std::string& options) const;

  const OpenClInfo& info_;
  cl_context context_;
  BinaryCache cache_;
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, Program> programs_;  // by family and options
};

// What a family's program is made of, for a device with these features: its source, and the
// compiler's options in front of those that specialise it.
std::string opencl_source(std::string_view family);
std::string opencl_options(const OpenClFeatures& features);

}  // namespace klens
