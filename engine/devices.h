#pragma once
#include <memory>

#include "engine/device/device.h"

namespace klens {

// Where models can run: a device is a row here, and files in a folder of its own.
struct DeviceEntry {
  const char* name;
  // threads: of the host, 0 for one per core. Throws Error where the machine has no such device.
  std::unique_ptr<Device> (*make)(int threads);
};

std::span<const DeviceEntry> devices();  // the first is the default
// Throws Error, which lists all, for a name that is not there.
const DeviceEntry& find_device(std::string_view name);

}  // namespace klens
