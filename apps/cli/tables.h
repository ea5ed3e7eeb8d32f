#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "apps/cli/arguments.h"

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

// Throws UsageError unless the name, which may be "", is among `known`, which are such lists.
void require_name(std::string_view name, const char* option, const char* what,
                  const std::string& known);

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

// Throws UsageError, naming the option and the table, unless what the option names, with commas
// where it is a list, is in these rows. what: "format", "metric", ...
template <class Rows>
void require_names(const Arguments& arguments, const char* option, const char* what,
                   const Rows& rows) {
  for (const std::string& name : words_of(arguments.text_or(option, "")))
    require_name(name, option, what, names_of(rows));
}
// FORMAT or FORMAT@16, as those two options take it.
void require_format(const std::string& text, const char* option);

}  // namespace klens::apps
