// The input is a .klens file. What opens is run for two tokens.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "engine/session.h"
#include "loaders/klens_file.h"
#include "tests/fuzz/container_mutator.h"

namespace {

// A file in memory, which can be opened by its name in /proc.
int memory_file() {
  static const int fd = ::memfd_create("fuzz", 0);
  if (fd < 0) std::abort();
  return fd;
}

void run(klens::Checkpoint checkpoint, klens::Activations activations) {
  const auto model = std::make_shared<const klens::Model>(
      std::move(checkpoint), klens::ModelOptions{.threads = 1, .activations = activations});
  // Every matrix is in the file, so a model is no larger than its input; sizes that cost no bytes
  // are only paid per token.
  klens::Session session(model, 2);
  const int32_t ids[] = {0, static_cast<int32_t>(model->spec().vocab - 1)};
  session.eval(ids, nullptr);
  session.eval({ids, 1}, nullptr);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = memory_file();
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, data, size, 0) != static_cast<ssize_t>(size))
    std::abort();
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  using klens::Activations;
  for (const Activations activations : {Activations::kInt8, Activations::kF32}) {
    try {
      const bool verify = activations == Activations::kF32;
      run(klens::read_klens_file(path, verify), activations);
    } catch (const klens::Error&) {
    }
  }
  return 0;
}
