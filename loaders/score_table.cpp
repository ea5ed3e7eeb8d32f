#include "loaders/score_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/error.h"

namespace klens {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

[[noreturn]] void fail_table(const std::string& name, const std::string& what) {
  throw Error(ErrorKind::kBadFile,
              name + ": " + what +
                  "; a table of scores is CSV with the columns layer, module and the score");
}

// A line's fields without what surrounds them.
class Records {
 public:
  Records(std::string_view text, const std::string& name) : left_(text), name_(name) {
    if (left_.starts_with(kByteOrderMark)) left_.remove_prefix(kByteOrderMark.size());
  }

  // The next line that is not blank; false after the last.
  bool next(std::vector<std::string>& fields) {
    do {
      if (left_.empty()) return false;
      line_ += lines_;
      lines_ = 1;
      fields.assign(1, "");
      while (read_field(fields.back())) fields.emplace_back();
    } while (fields.size() == 1 && fields.front().empty());
    return true;
  }
  std::string line() const { return "line " + std::to_string(line_); }

 private:
  // Up to the comma, or the line's end: false.
  bool read_field(std::string& field) {
    size_t blank = 0;
    while (blank < left_.size() && (left_[blank] == ' ' || left_[blank] == '\t')) ++blank;
    left_.remove_prefix(blank);
    if (left_.starts_with('"')) read_quoted(field);
    const size_t end = std::min(left_.find_first_of(",\n"), left_.size());
    field += left_.substr(0, end);
    while (!field.empty() && (field.back() == ' ' || field.back() == '\t' || field.back() == '\r'))
      field.pop_back();
    const bool comma = end < left_.size() && left_[end] == ',';
    left_.remove_prefix(std::min(end + 1, left_.size()));
    return comma;
  }

  void read_quoted(std::string& field) {
    for (size_t at = 1; at < left_.size(); ++at) {
      if (left_[at] == '\n') ++lines_;
      if (left_[at] == '"') {
        if (!left_.substr(at + 1).starts_with('"')) {
          left_.remove_prefix(at + 1);
          return;
        }
        ++at;
      }
      field += left_[at];
    }
    fail_table(name_, line() + ": a quote is not closed");
  }

  std::string_view left_;
  const std::string& name_;
  size_t line_ = 0, lines_ = 1;
};

template <class Number>
Number number_of(const std::string& text, const std::string& where, const std::string& name) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end || !std::isfinite(static_cast<double>(value)))
    fail_table(name, where + " is '" + text + "', which is no number");
  return value;
}

size_t place_of_column(const std::vector<std::string>& header, const std::string& column,
                       const std::string& name) {
  const auto found = std::ranges::find(header, column);
  if (found != header.end()) return static_cast<size_t>(found - header.begin());
  std::string all;
  for (const std::string& other : header) all += (all.empty() ? "" : ", ") + other;
  fail_table(name, "has no column '" + column + "', only: " + all.substr(0, 200));
}

}  // namespace

std::vector<LayerScore> scores_from_csv(std::string_view text, const std::string& name,
                                        const std::string& column) {
  Records records(text, name);
  std::vector<std::string> header, fields;
  if (!records.next(header)) fail_table(name, "is empty");
  const size_t layer = place_of_column(header, "layer", name),
               module = place_of_column(header, "module", name),
               score = place_of_column(header, column, name);
  std::vector<LayerScore> scores;
  std::set<std::pair<std::string, int64_t>> seen;
  while (records.next(fields)) {
    if (fields.size() != header.size())
      fail_table(name, records.line() + ": has " + std::to_string(fields.size()) +
                           " fields where the first line has " + std::to_string(header.size()));
    LayerScore& row = scores.emplace_back();
    row.module = fields[module];
    row.layer = number_of<int64_t>(fields[layer], records.line() + ": the layer", name);
    row.score = number_of<double>(fields[score], records.line() + ": " + column, name);
    if (!seen.emplace(row.module, row.layer).second)
      fail_table(name, records.line() + ": names layer " + fields[layer] + " of " + row.module +
                           " a second time");
  }
  if (scores.empty()) fail_table(name, "has no line but the first");
  return scores;
}

bool is_score_table(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] != '{' && text[first] != '[';
}

}  // namespace klens
