#include "apps/cli/tables.h"

#include <algorithm>
#include <new>
#include <nlohmann/json.hpp>

#include "apps/cli/error.h"
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

void require_name(std::string_view name, const char* option, const char* what,
                  const std::string& known) {
  if (name.empty() ||
      (", " + known + ", ").find(", " + std::string(name) + ", ") != std::string::npos)
    return;
  throw UsageError(std::string("--") + option + ": " + what + " \"" + std::string(name) +
                   "\" is not one of " + known);
}

void require_format(const std::string& text, const char* option) {
  constexpr std::string_view kFine = "@16";
  const std::string name =
      text.ends_with(kFine) ? text.substr(0, text.size() - kFine.size()) : text;
  require_name(name, option, "format", names_of(formats()));
}

}  // namespace klens::apps
