#pragma once
#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace klens {

// Formats, quantizers, metrics and planning methods are each one table of rows with a name. What
// lists, explains or refuses names goes through these, so that a new row is known everywhere.

template <class Row>
constexpr const Row& row_of_table(const Row& row) {
  return row;
}
template <class Row>
constexpr const Row& row_of_table(const Row* const& row) {
  return *row;
}

// Null for an unknown name.
template <class Rows>
constexpr auto find_row(const Rows& rows, std::string_view name)
    -> decltype(&row_of_table(*std::begin(rows))) {
  for (const auto& row : rows)
    if (name == row_of_table(row).name) return &row_of_table(row);
  return nullptr;
}

// The names of those rows that `chosen` holds for, in the table's order.
template <class Rows, class Chosen>
std::string names_where(const Rows& rows, const char* separator, const Chosen& chosen) {
  std::string names;
  for (const auto& row : rows)
    if (chosen(row_of_table(row)))
      names += (names.empty() ? "" : separator) + std::string(row_of_table(row).name);
  return names;
}

// "fp16, int8, ...": for messages.
template <class Rows>
std::string names_of(const Rows& rows) {
  return names_where(rows, ", ", [](const auto&) { return true; });
}

// `format "int3" is not one of fp16, int8, ...`: how a name that is in no row is refused.
template <class Rows>
std::string not_one_of(const char* what, std::string_view name, const Rows& rows) {
  return std::string(what) + " \"" + std::string(name) + "\" is not one of " + names_of(rows);
}

// The rows that a list such as "int8,int4g64" names, each once, in the list's order; or why a word
// is refused. Empty words are passed over.
template <class Rows>
auto parse_names(std::string_view list, const char* what, const Rows& rows)
    -> std::variant<std::vector<decltype(find_row(rows, list))>, std::string> {
  std::vector<decltype(find_row(rows, list))> found;
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view word = list.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) continue;
    const auto* row = find_row(rows, word);
    if (row == nullptr) return not_one_of(what, word, rows);
    if (std::find(found.begin(), found.end(), row) == found.end()) found.push_back(row);
  }
  return found;
}

}  // namespace klens
