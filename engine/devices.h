#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/device/device.h"

namespace klens {

// What `klens devices` says of a device.
struct DeviceReport {
  struct Feature {
    std::string name, about;
    bool has, uses;
  };
  std::string backend;  // as options name it
  std::string name, driver;
  std::string problem;            // why it cannot be used; ""
  bool best = false;              // what the kind's name alone means
  int64_t memory = 0, units = 0;  // bytes; cores, or what the driver calls compute units
  std::vector<Feature> features;
};

// Where models can run: a kind of device is a row here, and files in a folder of its own.
struct DeviceEntry {
  const char* name;
  // threads: of the host, 0 for one per core. index: which of those of its kind; -1: the best.
  // Throws Error where the machine has no such device.
  std::unique_ptr<Device> (*make)(int threads, int index);
  // Those of its kind; one with a problem where there is none. Null: not listed.
  std::vector<DeviceReport> (*list)() = nullptr;
};

std::span<const DeviceEntry> devices();  // the first is the default

struct DeviceChoice {
  const DeviceEntry* entry;
  int index;
};
// "cpu", "opencl" or, of several, "opencl:1". Throws Error, which lists all, for a name that is not
// there.
DeviceChoice find_device(std::string_view name);

std::vector<DeviceReport> device_reports();  // of all kinds
// What devices of this process do without, as a driver failed: a line each.
std::string device_notes();

}  // namespace klens
