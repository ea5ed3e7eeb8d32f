#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/opencl/platform.h"

namespace klens {

// Work-items, and those of a work-group: whole work-groups are run, so kernels look at their end.
struct WorkItems {
  size_t items[3];
  size_t group[3];
  bool operator==(const WorkItems&) const = default;
};

// A kernel's argument as the driver is given it; working memory of a work-group has no value.
struct ArgumentValue {
  ArgumentValue(size_t size, const void* from);
  size_t bytes;
  bool local;
  uint64_t value = 0;
  bool operator==(const ArgumentValue&) const = default;
};

struct Launch {
  const char* name;
  cl_kernel kernel;
  WorkItems grid;
  std::vector<ArgumentValue> arguments;
  bool operator==(const Launch& other) const {
    return kernel == other.kernel && grid == other.grid && arguments == other.arguments;
  }
};

// Replays launches that came before in the same order with the same arguments, from cl_khr_command_
// buffer: those of a decoded token, where only what memory holds is another. Launches that are the
// beginning of such a list are held back; as soon as one differs, all are told to the queue as they
// are. Not safe from several threads.
class Recorder {
 public:
  // Null where the device has no command buffers.
  static std::unique_ptr<Recorder> make(const OpenClInfo& info, cl_command_queue queue);
  virtual ~Recorder() = default;
  virtual void tell(Launch launch) = 0;
  // Whoever tells the queue anything else calls it before.
  virtual void flush() = 0;
  // The memory is no longer what lists have.
  virtual void forget(cl_mem memory) noexcept = 0;
  virtual int64_t replayed() const = 0;  // lists
};

// Tells it to the queue at once.
void enqueue(cl_command_queue queue, const Launch& launch, cl_event* event);

}  // namespace klens
