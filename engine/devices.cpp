#include "engine/devices.h"

#include <charconv>
#include <utility>

#include "base/error.h"
#include "engine/cpu/cpu_device.h"
#include "engine/cpu/report.h"
#ifdef KLENS_HAS_OPENCL
#include "engine/opencl/checksum.h"
#include "engine/opencl/opencl_device.h"
#endif

namespace klens {
namespace {

std::unique_ptr<Device> make_cpu(int threads, int) { return std::make_unique<CpuDevice>(threads); }

#ifdef KLENS_HAS_OPENCL
std::unique_ptr<Device> make_opencl(int threads, int index) {
  return std::make_unique<OpenClDevice>(threads, index);
}

DeviceReport report_of(const OpenClInfo& info, size_t index) {
  DeviceReport report{.backend = "opencl:" + std::to_string(index),
                      .name = info.name,
                      .driver = info.platform + " " + info.driver,
                      .problem = info.problem,
                      .best = false,
                      .memory = info.memory,
                      .units = info.units,
                      .features = {}};
  for (const OpenClFeature& feature : opencl_features())
    report.features.push_back(
        {feature.name, feature.about, info.has.*feature.flag, info.uses.*feature.flag});
  return report;
}

std::vector<DeviceReport> list_opencl() {
  wants_checksum(false);  // throws what the environment says wrongly
  std::vector<DeviceReport> all;
  try {
    const std::vector<OpenClInfo> infos = opencl_devices();
    for (size_t i = 0; i < infos.size(); ++i) all.push_back(report_of(infos[i], i));
    const cl_device_id best = opencl_device(-1).device_id;
    for (size_t i = 0; i < infos.size(); ++i) all[i].best = infos[i].device_id == best;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) throw;
    if (all.empty()) {
      all.emplace_back();
      all.back().backend = "opencl";
      all.back().problem = error.what();
    }
  }
  return all;
}
#endif

std::vector<DeviceReport> list_cpu() { return {cpu_report()}; }

constexpr DeviceEntry kDevices[] = {
    {"cpu", make_cpu, list_cpu},
#ifdef KLENS_HAS_OPENCL
    {"opencl", make_opencl, list_opencl},
#endif
};

}  // namespace

std::span<const DeviceEntry> devices() { return kDevices; }

std::vector<DeviceReport> device_reports() {
  std::vector<DeviceReport> all;
  for (const DeviceEntry& entry : kDevices)
    if (entry.list != nullptr)
      for (DeviceReport& report : entry.list()) all.push_back(std::move(report));
  return all;
}

std::string device_notes() {
#ifdef KLENS_HAS_OPENCL
  return opencl_fallbacks();
#else
  return "";
#endif
}

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
