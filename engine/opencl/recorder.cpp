#include "engine/opencl/recorder.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <list>
#include <utility>

#include "base/check.h"

namespace klens {
namespace {

// Of cl_ext.h, which older headers lack and newer ones type otherwise.
using CommandBuffer = struct _cl_command_buffer_khr*;
constexpr cl_ulong kFlagsKey = 0x1293, kSimultaneousUse = 1;
constexpr cl_device_info kCapabilities = 0x12A9;
constexpr cl_bitfield kCanSimultaneousUse = 1 << 2;

struct Functions {
  CommandBuffer (*clCreateCommandBufferKHR)(cl_uint, const cl_command_queue*, const cl_ulong*,
                                            cl_int*);
  cl_int (*clFinalizeCommandBufferKHR)(CommandBuffer);
  cl_int (*clReleaseCommandBufferKHR)(CommandBuffer);
  cl_int (*clEnqueueCommandBufferKHR)(cl_uint, cl_command_queue*, CommandBuffer, cl_uint,
                                      const cl_event*, cl_event*);
  cl_int (*clCommandNDRangeKernelKHR)(CommandBuffer, cl_command_queue, const void*, cl_kernel,
                                      cl_uint, const size_t*, const size_t*, const size_t*, cl_uint,
                                      const cl_uint*, cl_uint*, void**);
};

void set_arguments(cl_kernel kernel, const Launch& launch) {
  cl_uint index = 0;
  for (const ArgumentValue& argument : launch.arguments)
    check_opencl(opencl().clSetKernelArg(
                     kernel, index++, argument.bytes,
                     argument.local ? nullptr : static_cast<const void*>(&argument.value)),
                 "clSetKernelArg");
}

uint64_t hash_of(const std::vector<Launch>& list) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&](uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  for (const Launch& launch : list) {
    mix(reinterpret_cast<uint64_t>(launch.kernel));
    for (const size_t items : launch.grid.items) mix(items);
    for (const ArgumentValue& argument : launch.arguments) mix(argument.value + argument.bytes);
  }
  return hash;
}

class CommandBuffers final : public Recorder {
 public:
  CommandBuffers(const Functions& functions, cl_command_queue queue, bool simultaneous)
      : functions_(functions), queue_(queue), simultaneous_(simultaneous) {
    candidates_.reserve(kLists + 1);  // so that forget() cannot fail
  }
  ~CommandBuffers() override {
    for (const Recording& recording : recordings_) release(recording);
  }
  CommandBuffers(const CommandBuffers&) = delete;
  CommandBuffers& operator=(const CommandBuffers&) = delete;

  void tell(Launch launch) override {
    const size_t at = told_.size();
    told_.push_back(std::move(launch));
    if (!held_) {
      enqueue(queue_, told_.back(), nullptr);
      if (told_.size() <= kMost) return;
      told_.clear();  // no token takes so many
      too_many_ = true;
      return;
    }
    std::erase_if(candidates_, [&](const Recording* recording) {
      return recording->list.size() <= at || !(recording->list[at] == told_[at]);
    });
    if (!candidates_.empty()) return;
    held_ = false;
    enqueue_all(told_);
  }

  void flush() override {
    if (told_.empty() && !too_many_) return;
    const auto as_long = std::ranges::find_if(candidates_, [&](const Recording* recording) {
      return recording->list.size() == told_.size();
    });
    Recording* const found = as_long == candidates_.end() ? nullptr : *as_long;
    const bool held = held_, whole = !too_many_;
    const std::vector<Launch> told = std::exchange(told_, {});
    begin();
    if (held && found != nullptr) return replay(*found);
    if (held) enqueue_all(told);
    if (whole && told.size() >= kLeast) consider(told);
  }

  void forget(cl_mem memory) noexcept override {
    if (recordings_.empty() && seen_.empty()) return;
    const auto value = reinterpret_cast<uint64_t>(memory);
    const auto has = [&](const Launch& launch) {
      return std::ranges::any_of(launch.arguments, [&](const ArgumentValue& argument) {
        return argument.bytes == sizeof memory && argument.value == value;
      });
    };
    for (auto at = recordings_.begin(); at != recordings_.end();) {
      const auto next = std::next(at);
      if (std::ranges::any_of(at->list, has)) drop(at);
      at = next;
    }
    seen_.clear();
    begin();
  }

  int64_t replayed() const override { return replayed_; }

 private:
  // Launches that are worth it, those beyond which a list is no token's, and how many lists are
  // kept.
  static constexpr size_t kLeast = 8, kMost = 16384, kLists = 16;
  // Each launch has a kernel of its own: there are drivers (PoCL 3.1) that take a kernel's
  // arguments when they replay it.
  struct Recording {
    std::vector<Launch> list;
    std::vector<cl_kernel> kernels;
    CommandBuffer commands;
  };

  void begin() {
    held_ = !recordings_.empty();
    too_many_ = false;
    candidates_.clear();
    for (Recording& recording : recordings_) candidates_.push_back(&recording);
  }
  void enqueue_all(const std::vector<Launch>& told) {
    for (const Launch& launch : told) enqueue(queue_, launch, nullptr);
  }
  void release(const Recording& recording) noexcept {
    if (recording.commands != nullptr) functions_.clReleaseCommandBufferKHR(recording.commands);
    for (const cl_kernel kernel : recording.kernels) opencl().clReleaseKernel(kernel);
  }
  void drop(std::list<Recording>::iterator at) noexcept {
    release(*at);
    recordings_.erase(at);
  }

  void replay(Recording& recording) {
    if (!simultaneous_) check_opencl(opencl().clFinish(queue_), "clFinish");
    check_opencl(
        functions_.clEnqueueCommandBufferKHR(0, nullptr, recording.commands, 0, nullptr, nullptr),
        "clEnqueueCommandBufferKHR");
    ++replayed_;
    const auto at =
        std::ranges::find_if(recordings_, [&](const Recording& one) { return &one == &recording; });
    recordings_.splice(recordings_.begin(), recordings_, at);  // the last used first
  }

  // Records what comes a second time.
  void consider(const std::vector<Launch>& told) {
    const uint64_t hash = hash_of(told);
    if (std::ranges::find(seen_, hash) == seen_.end()) {
      seen_.push_back(hash);
      if (seen_.size() > kLists) seen_.pop_front();
      return;
    }
    if (failed_) return;
    Recording made{.list = told, .kernels = {}, .commands = nullptr};
    failed_ = !record(made);
    if (failed_) return release(made);  // it goes without
    recordings_.push_front(std::move(made));
    if (recordings_.size() > kLists) drop(std::prev(recordings_.end()));
    begin();
  }

  // Whether the driver took it.
  bool record(Recording& made) {
    const cl_ulong flags[] = {kFlagsKey, kSimultaneousUse, 0};
    cl_int status = CL_SUCCESS;
    made.commands =
        functions_.clCreateCommandBufferKHR(1, &queue_, simultaneous_ ? flags : nullptr, &status);
    if (status != CL_SUCCESS) return false;
    for (const Launch& launch : made.list) {
      const cl_kernel kernel = opencl().clCloneKernel(launch.kernel, &status);
      if (status != CL_SUCCESS) return false;
      made.kernels.push_back(kernel);
      set_arguments(kernel, launch);
      if (functions_.clCommandNDRangeKernelKHR(made.commands, nullptr, nullptr, kernel, 3, nullptr,
                                               launch.grid.items, launch.grid.group, 0, nullptr,
                                               nullptr, nullptr) != CL_SUCCESS)
        return false;
    }
    return functions_.clFinalizeCommandBufferKHR(made.commands) == CL_SUCCESS;
  }

  Functions functions_;
  cl_command_queue queue_;
  bool simultaneous_;
  std::list<Recording> recordings_;
  std::deque<uint64_t> seen_;  // hashes of lists that came once
  // Since the last flush: what was told, whether it is held back, and what it may become.
  std::vector<Launch> told_;
  bool held_ = false, too_many_ = false, failed_ = false;
  std::vector<Recording*> candidates_;
  int64_t replayed_ = 0;
};

}  // namespace

ArgumentValue::ArgumentValue(size_t size, const void* from) : bytes(size), local(from == nullptr) {
  if (local) return;
  KLENS_CHECK(size <= sizeof value);
  std::memcpy(&value, from, size);
}

void enqueue(cl_command_queue queue, const Launch& launch, cl_event* event) {
  set_arguments(launch.kernel, launch);
  check_opencl(opencl().clEnqueueNDRangeKernel(queue, launch.kernel, 3, nullptr, launch.grid.items,
                                               launch.grid.group, 0, nullptr, event),
               launch.name);
}

std::unique_ptr<Recorder> Recorder::make(const OpenClInfo& info, cl_command_queue queue) {
  if (!info.uses.command_buffers) return nullptr;
  Functions functions{};
  const auto find = [&](auto& function, const char* name) {
    void* const found = opencl().clGetExtensionFunctionAddressForPlatform(info.platform_id, name);
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(found);
    return found != nullptr;
  };
  cl_bitfield can = 0;
  if (!find(functions.clCreateCommandBufferKHR, "clCreateCommandBufferKHR") ||
      !find(functions.clFinalizeCommandBufferKHR, "clFinalizeCommandBufferKHR") ||
      !find(functions.clReleaseCommandBufferKHR, "clReleaseCommandBufferKHR") ||
      !find(functions.clEnqueueCommandBufferKHR, "clEnqueueCommandBufferKHR") ||
      !find(functions.clCommandNDRangeKernelKHR, "clCommandNDRangeKernelKHR") ||
      opencl().clGetDeviceInfo(info.device_id, kCapabilities, sizeof can, &can, nullptr) !=
          CL_SUCCESS)
    return nullptr;
  return std::make_unique<CommandBuffers>(functions, queue, (can & kCanSimultaneousUse) != 0);
}

}  // namespace klens
