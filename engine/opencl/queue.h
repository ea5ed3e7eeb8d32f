#pragma once
#include <atomic>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "engine/cpu/step_clock.h"
#include "engine/device/device.h"
#include "engine/opencl/programs.h"
#include "engine/opencl/recorder.h"

namespace klens {

// Memory at an address, without the distance of its rows: as kernels' IN and OUT have it. Of none,
// what they call ABSENT.
struct At {
  explicit At(uint64_t a) : address(a) {}
  explicit At(const void* a) : address(reinterpret_cast<uint64_t>(a)) {}
  explicit At(const Rows& rows) : address(rows.none() ? 0 : rows.address()) {}
  uint64_t address;
};

// Working memory of a work-group.
struct LocalFloats {
  int64_t count;
};

// One parameter of a kernel, or the several that kernels/opencl/common.h makes of it.
class Argument {
 public:
  Argument(const At& at) : kind_(Kind::kMemory), address_(at.address) {}  // NOLINT: a list of them
  Argument(const Rows& rows)                                              // NOLINT
      : kind_(Kind::kRows), address_(At(rows).address), number_(rows.stride()) {}
  Argument(int64_t number) : kind_(Kind::kInt), number_(number) {}            // NOLINT
  Argument(int number) : kind_(Kind::kInt), number_(number) {}                // NOLINT
  Argument(float number) : kind_(Kind::kFloat), real_(number) {}              // NOLINT
  Argument(LocalFloats local) : kind_(Kind::kLocal), number_(local.count) {}  // NOLINT
  // Where something goes to in 8 bits, which lives as long as this; null: nowhere.
  Argument(const LinearInput::Rounded* to) : kind_(Kind::kRounded), rounded_(to) {}  // NOLINT

 private:
  friend class OpenClQueue;
  enum class Kind { kMemory, kRows, kInt, kFloat, kLocal, kRounded } kind_;
  uint64_t address_ = 0;
  int64_t number_ = 0;
  float real_ = 0;
  const LinearInput::Rounded* rounded_ = nullptr;
};

// Over columns and rows. A work-group's items are columns of one row.
constexpr int64_t kColumnItems = 64;
WorkItems over_columns(int64_t columns, int64_t rows, int64_t depth = 1);
// A work-group for each part of a row.
WorkItems by_work_groups(int64_t parts, int64_t rows);

// A device's memory, and what it was told to do, in order. An address is the number of a buffer in
// its upper 24 bits and a byte of it in the others. Safe from several threads.
class OpenClQueue {
 public:
  OpenClQueue(const OpenClInfo& info, OpenClPrograms::Check check);
  ~OpenClQueue();
  OpenClQueue(const OpenClQueue&) = delete;
  OpenClQueue& operator=(const OpenClQueue&) = delete;

  // Throws std::bad_alloc.
  uint64_t allocate(int64_t bytes);
  // The address of memory of the host, read in place; 0 where the driver does not do it. The memory
  // outlives it.
  uint64_t map(const void* host, int64_t bytes);
  void free(uint64_t address) noexcept;

  void zero(uint64_t address, int64_t bytes);
  void copy(uint64_t from, uint64_t to, int64_t bytes);
  void write(const void* host, uint64_t to, int64_t bytes);
  void read(uint64_t from, void* host, int64_t bytes);

  void launch(const KernelName& which, const WorkItems& grid, std::span<const Argument> arguments,
              Step step = Step::kElementwise);
  void launch(const KernelName& which, const WorkItems& grid,
              std::initializer_list<Argument> arguments, Step step = Step::kElementwise) {
    launch(which, grid, std::span(arguments.begin(), arguments.size()), step);
  }
  // From now on the times of commands, as their events have them, go to `clock`: kernels by name
  // and step, and what moves memory. null: no longer; what was told until then is in. Only between
  // the two is it a queue with CL_QUEUE_PROFILING_ENABLE.
  void time(StepClock* clock);
  bool timed() const;
  const OpenClInfo& info() const { return info_; }
  // What the program uses of the device: which of its kernels there are.
  OpenClFeatures features(const char* family, const std::string& options) {
    return programs_->features(family, options);
  }
  int64_t launches() const { return launches_; }  // since it was made
  int64_t replayed() const;                       // lists of them
  void finish();
  void settle() noexcept;

 private:
  struct Place {
    cl_mem buffer;
    cl_ulong at;
  };
  // A command of which the time is wanted.
  struct Command {
    cl_event event;
    std::string name;
    std::optional<Step> step;
  };
  cl_command_queue current() const;
  cl_command_queue make_queue(bool timed) const;
  // Where a command's event goes; null where nobody asks.
  cl_event* event_to(cl_event& event) const { return clock_ == nullptr ? nullptr : &event; }
  void note(cl_event event, std::string name, std::optional<Step> step = {});
  void note_too(cl_event event, const char* name);
  void collect();
  uint64_t keep(cl_mem buffer);
  Place place(uint64_t address) const;
  void wait(cl_event event);
  void add(const Argument& argument, std::vector<ArgumentValue>& values) const;
  // All that was told is with the driver. The lock is held.
  void flush() {
    if (recorder_) recorder_->flush();
  }

  const OpenClInfo& info_;
  cl_context context_ = nullptr;
  cl_command_queue plain_ = nullptr, timed_ = nullptr;  // timed_: from when it was first asked for
  mutable std::mutex mutex_;          // of all below, of the kernels' arguments, and of the order
  cl_command_queue queue_ = nullptr;  // one of these
  StepClock* clock_ = nullptr;
  std::vector<Command> pending_;
  std::vector<cl_mem> buffers_;  // by number, from 1 on; null where it was freed
  std::vector<size_t> free_;     // numbers
  std::optional<OpenClPrograms> programs_;
  std::unique_ptr<Recorder> recorder_;  // of launches that are not timed
  std::atomic<int64_t> launches_{0};
};

}  // namespace klens
