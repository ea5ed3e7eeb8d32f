#include <nlohmann/json.hpp>

#include "engine/c_api/guard.h"
#include "engine/devices.h"
#include "klens/klens.h"
#include "quant/metrics.h"
#include "quant/planner.h"

// The tables of quant/ as JSON arrays of objects, for those who list or explain them.

namespace klens {
namespace {

using nlohmann::ordered_json;

template <class Rows, class Fill>
std::string json_of(const Rows& rows, const Fill& fill) {
  ordered_json list = ordered_json::array();
  for (const auto& each : rows) {
    const auto& row = row_of_table(each);
    ordered_json json = {{"name", row.name}, {"about", row.about}};
    fill(row, json);
    list.push_back(std::move(json));
  }
  return list.dump();
}

const char* name_of(Better better) {
  switch (better) {
    case Better::kLower:
      return "lower";
    case Better::kHigher:
      return "higher";
    default:
      return "neither";
  }
}

}  // namespace
}  // namespace klens

using namespace klens;

klens_status klens_device_notes(char** text, klens_error* error) {
  return guarded(error, [&] {
    require(text, "text");
    *text = owned_text(device_notes());
  });
}

klens_status klens_devices(char** json, klens_error* error) {
  return guarded(error, [&] {
    require(json, "json");
    ordered_json list = ordered_json::array();
    for (const DeviceReport& report : device_reports()) {
      ordered_json features = ordered_json::array();
      for (const DeviceReport::Feature& feature : report.features)
        features.push_back({{"name", feature.name},
                            {"about", feature.about},
                            {"has", feature.has},
                            {"uses", feature.uses}});
      const auto or_null = [](const std::string& text) {
        return text.empty() ? ordered_json() : ordered_json(text);
      };
      list.push_back({{"backend", report.backend},
                      {"name", or_null(report.name)},
                      {"driver", or_null(report.driver)},
                      {"problem", or_null(report.problem)},
                      {"best", report.best},
                      {"memory", report.memory},
                      {"units", report.units},
                      {"features", std::move(features)}});
    }
    *json = owned_text(list.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
  });
}

const char* klens_formats(void) {
  try {
    static const std::string text = json_of(kFormats, [](const Format& row, ordered_json& json) {
      json["bits"] = bits_per_weight(row);
      json["candidate"] = row.candidate;
      json["base"] = &row == &kBaseFormat;
      json["colour"] = row.colour;
    });
    return text.c_str();
  } catch (...) {
    return nullptr;
  }
}

const char* klens_quantizers(void) {
  try {
    static const std::string text = json_of(
        kQuantizers,
        [](const Quantizer& row, ordered_json& json) { json["usual"] = &row == &kUsualQuantizer; });
    return text.c_str();
  } catch (...) {
    return nullptr;
  }
}

const char* klens_metrics(void) {
  try {
    static const std::string text = json_of(kMetrics, [](const Metric& row, ordered_json& json) {
      json["better"] = name_of(row.better);
      json["of"] = row.of_candidates() ? "candidate" : "unit";
    });
    return text.c_str();
  } catch (...) {
    return nullptr;
  }
}

const char* klens_plan_methods(void) {
  try {
    static const std::string text =
        json_of(kPlanMethods, [](const PlanMethod& row, ordered_json& json) {
          json["takes"] = row.takes_format ? "format" : "budget";
          json["finds_outliers"] = row.outliers != nullptr;
        });
    return text.c_str();
  } catch (...) {
    return nullptr;
  }
}
