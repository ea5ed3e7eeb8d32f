#pragma once
#include <memory>

#include "engine/device/device.h"

namespace klens {

// Where models can run: a kind of device is a row here, and files in a folder of its own.
struct DeviceEntry {
  const char* name;
  // threads: of the host, 0 for one per core. index: which of those of its kind; -1: the best.
  // Throws Error where the machine has no such device.
  std::unique_ptr<Device> (*make)(int threads, int index);
};

std::span<const DeviceEntry> devices();  // the first is the default

struct DeviceChoice {
  const DeviceEntry* entry;
  int index;
};
// "cpu", "opencl" or, of several, "opencl:1". Throws Error, which lists all, for a name that is not
// there.
DeviceChoice find_device(std::string_view name);

}  // namespace klens
