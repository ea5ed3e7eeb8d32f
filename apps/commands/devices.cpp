#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "klens/klens.hpp"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

std::string text_or_empty(const ordered_json& value) {
  return value.is_null() ? "" : value.get<std::string>();
}

void print_device(const ordered_json& device) {
  const std::string backend = text_or_empty(device.at("backend"));
  const std::string kind = backend.substr(0, backend.find(':'));
  print(backend + (device.at("best") == true && kind != backend ? " (what opencl means)" : "") +
        "\n");
  if (const std::string problem = text_or_empty(device.at("problem")); !problem.empty())
    print(report_line("not usable", problem));
  if (device.at("name").is_null()) return;
  print(report_line("name", text_or_empty(device.at("name"))));
  print(report_line("driver", text_or_empty(device.at("driver"))));
  print(
      report_line("memory", formatted("%.1f GiB", device.at("memory").get<double>() / (1 << 30))));
  print(report_line("units", std::to_string(device.at("units").get<int64_t>())));
  for (const ordered_json& feature : device.at("features")) {
    const bool has = feature.at("has") == true, uses = feature.at("uses") == true;
    print(report_line(text_or_empty(feature.at("name")),
                      std::string(uses  ? "used"
                                  : has ? "there, but switched off"
                                        : "not there") +
                          ": " + text_or_empty(feature.at("about"))));
  }
}

void run_devices(const Arguments& arguments) {
  if (!arguments.positionals().empty())
    throw UsageError("what is '" + arguments.positionals().front() + "'? There is nothing to name");
  const ordered_json devices = ordered_json::parse(klens::devices());
  if (arguments.flag("json")) {
    print_json({{"devices", devices}});
    return;
  }
  for (const ordered_json& device : devices) print_device(device);
}

}  // namespace

Command devices_command() {
  return {"devices",
          "[options]",
          "where models can run on this machine",
          "Lists the CPU and the devices of OpenCL, with what klens uses of each and, where one "
          "cannot be used, why. What comes first in a block is what --backend takes. KLENS_ISA "
          "lowers what is used of the CPU; KLENS_OPENCL_FEATURES, a list by commas or none, names "
          "what may be used of OpenCL's devices; KLENS_OPENCL_CHECKSUM, on or off, says whether "
          "they are asked for a checksum of the weights that they were given (default: where these "
          "are copied).",
          "  klens devices\n"
          "  KLENS_OPENCL_FEATURES=none klens devices --json\n",
          {general_options()},
          run_devices};
}

}  // namespace klens::apps
