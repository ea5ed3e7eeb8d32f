#include "engine/devices.h"

#include "base/error.h"
#include "engine/cpu/cpu_device.h"

namespace klens {
namespace {

template <class Made>
std::unique_ptr<Device> make(int threads) {
  return std::make_unique<Made>(threads);
}

constexpr DeviceEntry kDevices[] = {
    {"cpu", make<CpuDevice>},
};

}  // namespace

std::span<const DeviceEntry> devices() { return kDevices; }

const DeviceEntry& find_device(std::string_view name) {
  std::string all;
  for (const DeviceEntry& entry : kDevices) {
    if (entry.name == name) return entry;
    all += (all.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error(ErrorKind::kUnsupported,
              "backend \"" + std::string(name) + "\" is not in this build; use " + all);
}

}  // namespace klens
