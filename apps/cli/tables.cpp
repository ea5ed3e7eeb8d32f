#include "apps/cli/tables.h"

#include <algorithm>
#include <new>
#include <nlohmann/json.hpp>

#include "klens/klens.h"

namespace klens::apps {
namespace {

using nlohmann::json;

template <class Row, class Make>
std::vector<Row> rows_of(const char* table, const Make& make) {
  if (table == nullptr) throw std::bad_alloc();
  std::vector<Row> rows;
  for (const json& row : json::parse(table)) rows.push_back(make(row));
  return rows;
}

}  // namespace

const std::vector<FormatRow>& formats() {
  static const auto rows = rows_of<FormatRow>(klens_formats(), [](const json& row) {
    return FormatRow{row.at("name"), row.at("about"), row.at("candidate"), row.at("base"),
                     row.at("colour")};
  });
  return rows;
}

const std::vector<QuantizerRow>& quantizers() {
  static const auto rows = rows_of<QuantizerRow>(klens_quantizers(), [](const json& row) {
    return QuantizerRow{row.at("name"), row.at("about"), row.at("usual")};
  });
  return rows;
}

const std::vector<MetricRow>& metrics() {
  static const auto rows = rows_of<MetricRow>(klens_metrics(), [](const json& row) {
    return MetricRow{row.at("name"), row.at("about"), row.at("better"), row.at("of") == "unit"};
  });
  return rows;
}

const std::vector<MethodRow>& plan_methods() {
  static const auto rows = rows_of<MethodRow>(klens_plan_methods(), [](const json& row) {
    return MethodRow{row.at("name"), row.at("about"), row.at("takes") == "format",
                     row.at("finds_outliers")};
  });
  return rows;
}

const MethodRow& method_of_one_format() {
  return *std::find_if(plan_methods().begin(), plan_methods().end(),
                       [](const MethodRow& row) { return row.takes_format; });
}

int background_of(std::string_view format) {
  format = format.substr(0, format.find('@'));
  const auto row = std::find_if(formats().begin(), formats().end(),
                                [&](const FormatRow& r) { return r.name == format; });
  return (row == formats().end() ? formats().front() : *row).colour;
}

}  // namespace klens::apps
