#include "engine/opencl/queue.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "base/check.h"
#include "base/error.h"

namespace klens {
namespace {

constexpr int kNumberShift = 40;
constexpr uint64_t kByteMask = (uint64_t{1} << kNumberShift) - 1;
constexpr size_t kMostBuffers = size_t{1} << (64 - kNumberShift);
constexpr size_t kPage = 4096;

// What is small is written from a copy, so that nobody waits for what was to be done before.
constexpr int64_t kCopied = int64_t{1} << 20;

size_t whole(int64_t count, size_t group) {
  return (static_cast<size_t>(count) + group - 1) / group * group;
}

void CL_CALLBACK free_copy(cl_event, cl_int, void* copy) {
  delete static_cast<std::vector<std::byte>*>(copy);
}

// "linear LAYOUT=7 MINIMA=0 ROUNDED=1"
std::string shown(const KernelName& which) {
  std::string name = which.name;
  for (size_t at = 0; at < which.options.size();) {
    const size_t end = std::min(which.options.find(' ', at), which.options.size());
    const std::string option = which.options.substr(at, end - at);
    name += " " + (option.starts_with("-D") ? option.substr(2) : option);
    at = end + 1;
  }
  return name;
}

}  // namespace

WorkItems over_columns(int64_t columns, int64_t rows, int64_t depth) {
  constexpr auto items = static_cast<size_t>(kColumnItems);
  return {{whole(columns, items), static_cast<size_t>(rows), static_cast<size_t>(depth)},
          {items, 1, 1}};
}

WorkItems by_work_groups(int64_t parts, int64_t rows) {
  constexpr size_t kItems = 64;
  return {{kItems * static_cast<size_t>(parts), static_cast<size_t>(rows), 1}, {kItems, 1, 1}};
}

OpenClQueue::OpenClQueue(const OpenClInfo& info, OpenClPrograms::Check check) : info_(info) {
  cl_int status = CL_SUCCESS;
  const cl_context_properties properties[] = {
      CL_CONTEXT_PLATFORM, reinterpret_cast<cl_context_properties>(info.platform_id), 0};
  context_ = opencl().clCreateContext(properties, 1, &info.device_id, nullptr, nullptr, &status);
  check_opencl(status, "clCreateContext");
  try {
    queue_ = plain_ = make_queue(false);
  } catch (...) {
    opencl().clReleaseContext(context_);
    throw;
  }
  programs_.emplace(info_, context_, std::move(check));
  recorder_ = Recorder::make(info_, plain_);
}

OpenClQueue::~OpenClQueue() {
  opencl().clFinish(queue_);
  for (const Command& command : pending_) opencl().clReleaseEvent(command.event);
  recorder_.reset();
  programs_.reset();
  for (const cl_mem buffer : buffers_)
    if (buffer != nullptr) opencl().clReleaseMemObject(buffer);
  if (timed_ != nullptr) opencl().clReleaseCommandQueue(timed_);
  opencl().clReleaseCommandQueue(plain_);
  opencl().clReleaseContext(context_);
}

cl_command_queue OpenClQueue::make_queue(bool timed) const {
  const cl_queue_properties properties[] = {CL_QUEUE_PROPERTIES, CL_QUEUE_PROFILING_ENABLE, 0};
  cl_int status = CL_SUCCESS;
  const cl_command_queue made = opencl().clCreateCommandQueueWithProperties(
      context_, info_.device_id, timed ? properties : nullptr, &status);
  check_opencl(status, "clCreateCommandQueueWithProperties");
  return made;
}

cl_command_queue OpenClQueue::current() const {
  const std::lock_guard lock(mutex_);
  return queue_;
}

bool OpenClQueue::timed() const { return current() != plain_; }

// Both queues stay: who waits for one may be at it.
void OpenClQueue::time(StepClock* clock) {
  const std::lock_guard lock(mutex_);
  flush();
  if (clock != nullptr && timed_ == nullptr) timed_ = make_queue(true);
  check_opencl(opencl().clFinish(queue_), "clFinish");
  collect();
  clock_ = clock;
  queue_ = clock != nullptr ? timed_ : plain_;
}

// The same of a command whose event is another's too.
void OpenClQueue::note_too(cl_event event, const char* name) {
  if (clock_ == nullptr) return;
  check_opencl(opencl().clRetainEvent(event), "clRetainEvent");
  note(event, name);
}

void OpenClQueue::note(cl_event event, std::string name, std::optional<Step> step) {
  constexpr size_t kMostPending = 4096;
  if (clock_ == nullptr) return;
  pending_.push_back({event, std::move(name), step});
  if (pending_.size() < kMostPending) return;
  check_opencl(opencl().clFinish(queue_), "clFinish");
  collect();
}

// What is pending is done.
void OpenClQueue::collect() {
  for (const Command& command : pending_) {
    cl_ulong begin = 0, end = 0;
    const bool known =
        opencl().clGetEventProfilingInfo(command.event, CL_PROFILING_COMMAND_START, sizeof begin,
                                         &begin, nullptr) == CL_SUCCESS &&
        opencl().clGetEventProfilingInfo(command.event, CL_PROFILING_COMMAND_END, sizeof end, &end,
                                         nullptr) == CL_SUCCESS;
    opencl().clReleaseEvent(command.event);
    const int64_t spent = known && end > begin ? static_cast<int64_t>(end - begin) : 0;
    clock_->add_kernel(command.name, spent);
    if (command.step) clock_->add(*command.step, spent);
  }
  pending_.clear();
}

uint64_t OpenClQueue::keep(cl_mem buffer) {
  const std::lock_guard lock(mutex_);
  size_t number = 0;
  if (!free_.empty()) {
    number = free_.back();
    free_.pop_back();
    buffers_[number - 1] = buffer;
  } else {
    if (buffers_.size() + 1 >= kMostBuffers) throw std::bad_alloc();
    free_.reserve(buffers_.size() + 1);  // giving it back cannot fail
    buffers_.push_back(buffer);
    number = buffers_.size();
  }
  return uint64_t{number} << kNumberShift;
}

uint64_t OpenClQueue::allocate(int64_t bytes) {
  if (bytes > info_.largest_allocation) throw std::bad_alloc();
  cl_int status = CL_SUCCESS;
  const cl_mem buffer = opencl().clCreateBuffer(context_, CL_MEM_READ_WRITE,
                                                static_cast<size_t>(bytes), nullptr, &status);
  check_opencl(status, "clCreateBuffer");
  return keep(buffer);
}

// Drivers want whole pages.
uint64_t OpenClQueue::map(const void* host, int64_t bytes) {
  const auto begin = reinterpret_cast<uint64_t>(host), first = begin / kPage * kPage;
  const uint64_t size = (begin + static_cast<uint64_t>(bytes) + kPage - 1) / kPage * kPage - first;
  if (size > static_cast<uint64_t>(info_.largest_allocation)) return 0;
  cl_int status = CL_SUCCESS;
  const cl_mem buffer =
      opencl().clCreateBuffer(context_, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR,
                              static_cast<size_t>(size), reinterpret_cast<void*>(first), &status);
  return status == CL_SUCCESS ? keep(buffer) + (begin - first) : 0;
}

void OpenClQueue::free(uint64_t address) noexcept {
  const std::lock_guard lock(mutex_);
  const size_t number = static_cast<size_t>(address >> kNumberShift);
  if (recorder_) {
    try {
      recorder_->flush();
    } catch (const std::exception&) {  // the device is lost, as the next who asks it will hear
    }
    recorder_->forget(buffers_[number - 1]);
  }
  // What was told to use it has it until it is done.
  opencl().clReleaseMemObject(buffers_[number - 1]);
  buffers_[number - 1] = nullptr;
  free_.push_back(number);
}

OpenClQueue::Place OpenClQueue::place(uint64_t address) const {
  const size_t number = static_cast<size_t>(address >> kNumberShift);
  KLENS_CHECK(number > 0 && number <= buffers_.size() && buffers_[number - 1] != nullptr);
  return {buffers_[number - 1], address & kByteMask};
}

void OpenClQueue::zero(uint64_t address, int64_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex_);
  flush();
  const Place to = place(address);
  const cl_uchar nothing = 0;
  cl_event event = nullptr;
  check_opencl(
      opencl().clEnqueueFillBuffer(queue_, to.buffer, &nothing, 1, to.at,
                                   static_cast<size_t>(bytes), 0, nullptr, event_to(event)),
      "clEnqueueFillBuffer");
  note(event, "memory fill");
}

void OpenClQueue::copy(uint64_t from, uint64_t to, int64_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex_);
  flush();
  const Place source = place(from), target = place(to);
  cl_event event = nullptr;
  check_opencl(
      opencl().clEnqueueCopyBuffer(queue_, source.buffer, target.buffer, source.at, target.at,
                                   static_cast<size_t>(bytes), 0, nullptr, event_to(event)),
      "clEnqueueCopyBuffer");
  note(event, "memory copy");
}

// The lock is not held while waiting.
void OpenClQueue::wait(cl_event event) {
  const cl_int status = opencl().clWaitForEvents(1, &event);
  opencl().clReleaseEvent(event);
  check_opencl(status, "a command");
}

void OpenClQueue::write(const void* host, uint64_t to, int64_t bytes) {
  if (bytes == 0) return;
  std::unique_ptr<std::vector<std::byte>> copy;
  if (bytes <= kCopied) {
    const auto* begin = static_cast<const std::byte*>(host);
    copy = std::make_unique<std::vector<std::byte>>(begin, begin + bytes);
  }
  cl_event event = nullptr;
  {
    const std::lock_guard lock(mutex_);
    flush();
    const Place target = place(to);
    check_opencl(opencl().clEnqueueWriteBuffer(queue_, target.buffer, CL_FALSE, target.at,
                                               static_cast<size_t>(bytes),
                                               copy ? copy->data() : host, 0, nullptr, &event),
                 "clEnqueueWriteBuffer");
    note_too(event, "memory write");
  }
  if (!copy) return wait(event);
  if (opencl().clSetEventCallback(event, CL_COMPLETE, free_copy, copy.get()) != CL_SUCCESS)
    return wait(event);
  static_cast<void>(copy.release());
  opencl().clReleaseEvent(event);
}

void OpenClQueue::read(uint64_t from, void* host, int64_t bytes) {
  if (bytes == 0) return;
  cl_event event = nullptr;
  {
    const std::lock_guard lock(mutex_);
    flush();
    const Place source = place(from);
    check_opencl(opencl().clEnqueueReadBuffer(queue_, source.buffer, CL_FALSE, source.at,
                                              static_cast<size_t>(bytes), host, 0, nullptr, &event),
                 "clEnqueueReadBuffer");
    note_too(event, "memory read");
    check_opencl(opencl().clFlush(queue_), "clFlush");
  }
  wait(event);
}

void OpenClQueue::add(const Argument& argument, std::vector<ArgumentValue>& values) const {
  using Kind = Argument::Kind;
  const auto add_place = [&](uint64_t address) {
    const Place at =
        address == 0 ? Place{nullptr, std::numeric_limits<cl_ulong>::max()} : place(address);
    values.emplace_back(sizeof at.buffer, &at.buffer);
    values.emplace_back(sizeof at.at, &at.at);
  };
  const auto add_number = [&](int64_t number) {
    KLENS_CHECK(number >= INT32_MIN && number <= INT32_MAX);
    const auto as_int = static_cast<cl_int>(number);
    values.emplace_back(sizeof as_int, &as_int);
  };
  switch (argument.kind_) {
    case Kind::kMemory:
      return add_place(argument.address_);
    case Kind::kRows:
      add_place(argument.address_);
      return add_number(argument.number_);
    case Kind::kInt:
      return add_number(argument.number_);
    case Kind::kFloat:
      values.emplace_back(sizeof(float), &argument.real_);
      return;
    case Kind::kLocal:
      values.emplace_back(
          static_cast<size_t>(std::max<int64_t>(argument.number_, 1)) * sizeof(float), nullptr);
      return;
    case Kind::kRounded: {
      const LinearInput::Rounded to =
          argument.rounded_ == nullptr ? LinearInput::Rounded{} : *argument.rounded_;
      for (const int64_t number : {to.group, to.step, int64_t{to.planes}}) add_number(number);
      add_place(to.q);
      add_number(to.stride);
      add_place(to.scale);
      add_place(to.sum);
    }
  }
}

void OpenClQueue::launch(const KernelName& which, const WorkItems& grid,
                         std::span<const Argument> arguments, Step step) {
  if (grid.items[0] * grid.items[1] * grid.items[2] == 0) return;
  const cl_kernel kernel = programs_->kernel(which);
  ++launches_;
  const std::lock_guard lock(mutex_);
  Launch told{.name = which.name, .kernel = kernel, .grid = grid, .arguments = {}};
  for (const Argument& argument : arguments) add(argument, told.arguments);
  if (recorder_ && clock_ == nullptr) return recorder_->tell(std::move(told));
  cl_event event = nullptr;
  enqueue(queue_, told, event_to(event));
  if (clock_ != nullptr) note(event, shown(which), step);
}

int64_t OpenClQueue::replayed() const {
  const std::lock_guard lock(mutex_);
  return recorder_ ? recorder_->replayed() : 0;
}

void OpenClQueue::finish() {
  {
    const std::lock_guard lock(mutex_);
    flush();
  }
  check_opencl(opencl().clFinish(current()), "clFinish");
}

void OpenClQueue::settle() noexcept {
  try {
    finish();
  } catch (const std::exception&) {  // who waits only wants to know that nothing is at work
  }
}

}  // namespace klens
