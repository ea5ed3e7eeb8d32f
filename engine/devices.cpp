#include "engine/devices.h"

#include <charconv>

#include "base/error.h"
#include "engine/cpu/cpu_device.h"
#ifdef KLENS_HAS_OPENCL
#include "engine/opencl/opencl_device.h"
#endif

namespace klens {
namespace {

std::unique_ptr<Device> make_cpu(int threads, int) { return std::make_unique<CpuDevice>(threads); }

#ifdef KLENS_HAS_OPENCL
std::unique_ptr<Device> make_opencl(int threads, int index) {
  return std::make_unique<OpenClDevice>(threads, index);
}
#endif

constexpr DeviceEntry kDevices[] = {
    {"cpu", make_cpu},
#ifdef KLENS_HAS_OPENCL
    {"opencl", make_opencl},
#endif
};

}  // namespace

std::span<const DeviceEntry> devices() { return kDevices; }

DeviceChoice find_device(std::string_view name) {
  const size_t colon = name.find(':');
  const std::string_view kind = name.substr(0, colon);
  int index = -1;
  bool known = true;
  if (colon != std::string_view::npos) {
    const std::string_view number = name.substr(colon + 1);
    const auto [end, problem] =
        std::from_chars(number.data(), number.data() + number.size(), index);
    known = problem == std::errc() && end == number.data() + number.size() && index >= 0;
  }
  std::string all;
  for (const DeviceEntry& entry : kDevices) {
    // There is one CPU.
    if (known && entry.name == kind && (index <= 0 || &entry != kDevices)) return {&entry, index};
    all += (all.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error(ErrorKind::kUnsupported,
              "backend \"" + std::string(name) + "\" is not in this build; use " + all);
}

}  // namespace klens
