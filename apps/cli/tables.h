#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace klens::apps {

// The library's tables of names. Help texts, keys and colours come from them.

struct FormatRow {
  std::string name, about;
  bool candidate, base;  // measured by default; always
  int colour;            // of the 256
};
struct QuantizerRow {
  std::string name, about;
  bool usual;
};
struct MetricRow {
  std::string name, about;
  std::string better;  // "lower", "higher" or "neither"
  bool of_unit;        // of the weights alone; else of a candidate
};
struct MethodRow {
  std::string name, about;
  bool takes_format, finds_outliers;
};

const std::vector<FormatRow>& formats();  // most precise first
const std::vector<QuantizerRow>& quantizers();
const std::vector<MetricRow>& metrics();       // the first is what plans add up
const std::vector<MethodRow>& plan_methods();  // the first is the default
const MethodRow& method_of_one_format();

// What the maps show a unit in this format on: a checkpoint's own precision as the finest format.
int background_of(std::string_view format);

// "fp16, int8, ..."
template <class Rows, class Chosen>
std::string names_where(const Rows& rows, const char* separator, const Chosen& chosen) {
  std::string names;
  for (const auto& row : rows)
    if (chosen(row)) names += (names.empty() ? "" : separator) + row.name;
  return names;
}
template <class Rows>
std::string names_of(const Rows& rows, const char* separator = ", ") {
  return names_where(rows, separator, [](const auto&) { return true; });
}

}  // namespace klens::apps
