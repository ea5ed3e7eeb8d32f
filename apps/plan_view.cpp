#include "apps/plan_view.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "apps/cli/fields.h"
#include "apps/cli/output.h"
#include "apps/cli/tables.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

constexpr size_t kNameWidth = 25;

bool in_a_block(const UnitRow& row) {
  return row.layer >= 0 && row.kind != "head" && row.kind != "embedding";
}

UnitRow row_of_unit(const ordered_json& unit) {
  const std::string& kl = metrics().front().name;
  UnitRow row;
  row.name = text_at(unit, "name");
  row.kind = text_at(unit, "kind");
  row.layer = layer_of(unit);
  row.rows = integer_at(unit, "rows", 0);
  row.cols = integer_at(unit, "cols", 0);
  row.format = format_at(unit);
  row.bytes = integer_at(unit, "bytes", 0);
  row.kl = number_at(unit, kl);
  return row;
}

// What the names of all units within blocks begin with, up to the block's number:
// "backbone.layers.".
std::string common_prefix(const std::vector<UnitRow>& rows) {
  std::optional<std::string> prefix;
  for (const UnitRow& row : rows) {
    if (!in_a_block(row)) continue;
    if (!prefix) prefix = row.name.substr(0, row.name.find_first_of("0123456789"));
    const auto [end, other] =
        std::mismatch(prefix->begin(), prefix->end(), row.name.begin(), row.name.end());
    prefix->erase(end, prefix->end());
  }
  const size_t dot = prefix.value_or("").rfind('.');
  return dot == std::string::npos ? "" : prefix->substr(0, dot + 1);
}

std::string short_name(const UnitRow& row, const std::string& prefix) {
  std::string name = row.name;
  if (!prefix.empty() && name.size() > prefix.size() && name.starts_with(prefix))
    name = name.substr(prefix.size());
  // The layer's number and the end tell more than the middle.
  if (name.size() > kNameWidth) {
    const size_t head = name.find('.') < 4 ? name.find('.') : 0;
    name = name.substr(0, head) + ".." + name.substr(name.size() - kNameWidth + 2 + head);
  }
  return name;
}

double bits_per_weight(int64_t bytes, int64_t weights) {
  return weights > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(weights) : 0;
}

double summed_kl(const std::vector<UnitRow>& rows) {
  return std::accumulate(rows.begin(), rows.end(), 0.0,
                         [](double sum, const UnitRow& row) { return sum + row.kl.value_or(0); });
}

std::string table_line(const std::string& name, const std::string& shape, const std::string& format,
                       int64_t bytes, double bpw, std::optional<double> kl, double all_kl) {
  std::string line =
      formatted("  %-22s %11s  %-11s %9s %5.2f", name.c_str(), shape.c_str(), format.c_str(),
                human_bytes(static_cast<double>(bytes)).c_str(), bpw);
  if (kl) line += formatted(" %8.5f", *kl);
  if (kl && all_kl > 0) line += formatted(" %4.0f%%", 100 * *kl / all_kl);
  return line + "\n";
}

// Whether a candidate is what a plan chose: all that makes a choice is equal.
bool is_choice(const ordered_json& candidate, const ordered_json& choice) {
  for (const auto& [key, value] : choice.items()) {
    const auto it = candidate.find(key);
    if (it == candidate.end() || *it != value) return false;
  }
  return format_at(candidate) == format_at(choice);
}

}  // namespace

std::string format_at(const ordered_json& choice) {
  const int64_t bits = integer_at(choice, "activation_bits", 8);
  return text_at(choice, "format") + (bits == 8 ? "" : "@" + std::to_string(bits));
}

// Profiles of earlier versions know residual steps only.
int64_t layer_of(const ordered_json& unit) {
  return integer_at(unit, "layer", integer_at(unit, "block", -1));
}

std::vector<UnitRow> rows_of_report(const ordered_json& units) {
  std::vector<UnitRow> rows;
  for (const ordered_json& unit : units) rows.push_back(row_of_unit(unit));
  return rows;
}

std::vector<UnitRow> rows_of_plan(const ordered_json& profile, const ordered_json& plan) {
  const std::string& kl = metrics().front().name;
  std::vector<UnitRow> rows;
  for (const ordered_json& unit : profile.at("units")) {
    UnitRow row = row_of_unit(unit);
    const auto choice = plan.at("units").find(row.name);
    if (choice == plan.at("units").end()) continue;
    row.format = format_at(*choice);
    for (const ordered_json& candidate : unit.at("candidates")) {
      if (!is_choice(candidate, *choice)) continue;
      row.bytes = integer_at(candidate, "bytes", 0);
      row.kl = number_at(candidate, kl);
    }
    rows.push_back(row);
  }
  return rows;
}

std::string unit_table(const std::vector<UnitRow>& rows, size_t most, const Style& style) {
  const std::string prefix = common_prefix(rows);
  const double all_kl = summed_kl(rows);
  const bool measured =
      std::any_of(rows.begin(), rows.end(), [](const UnitRow& row) { return row.kl.has_value(); });
  std::vector<size_t> shown(rows.size());
  std::iota(shown.begin(), shown.end(), size_t{0});
  if (rows.size() > most) {
    std::stable_sort(shown.begin(), shown.end(), [&](size_t a, size_t b) {
      return rows[a].kl.value_or(0) > rows[b].kl.value_or(0);
    });
    shown.resize(most);
    std::sort(shown.begin(), shown.end());
  }
  std::string out = style.bold(formatted("  %-22s %11s  %-11s %9s %5s%s", "unit", "shape", "format",
                                         "bytes", "bpw", measured ? "       KL share" : "")) +
                    "\n";
  if (!prefix.empty()) out += style.faint("  names without " + prefix) + "\n";
  int64_t bytes = 0, weights = 0, shown_bytes = 0, shown_weights = 0;
  double shown_kl = 0;
  for (const UnitRow& row : rows) {
    bytes += row.bytes;
    weights += row.rows * row.cols;
  }
  for (const size_t i : shown) {
    const UnitRow& row = rows[i];
    const int64_t count = row.rows * row.cols;
    out += table_line(short_name(row, prefix),
                      formatted("%lld x %lld", (long long)row.rows, (long long)row.cols),
                      row.format, row.bytes, bits_per_weight(row.bytes, count), row.kl, all_kl);
    shown_bytes += row.bytes;
    shown_weights += count;
    shown_kl += row.kl.value_or(0);
  }
  if (shown.size() < rows.size())
    out += table_line(formatted(measured ? "%zu units with less KL" : "%zu more units",
                                rows.size() - shown.size()),
                      "", "", bytes - shown_bytes,
                      bits_per_weight(bytes - shown_bytes, weights - shown_weights),
                      measured ? std::optional(all_kl - shown_kl) : std::nullopt, all_kl);
  std::optional<double> total_kl;
  if (measured) total_kl = all_kl;
  return out + table_line(formatted("%zu units", rows.size()), "", "", bytes,
                          bits_per_weight(bytes, weights), total_kl, all_kl);
}

std::string format_table(const std::vector<UnitRow>& rows, const Style& style) {
  struct Sum {
    size_t units = 0;
    int64_t weights = 0, bytes = 0;
  };
  std::map<std::string, Sum> sums;
  int64_t all_weights = 0;
  for (const UnitRow& row : rows) {
    Sum& sum = sums[row.format];
    ++sum.units;
    sum.weights += row.rows * row.cols;
    sum.bytes += row.bytes;
    all_weights += row.rows * row.cols;
  }
  std::vector<std::pair<std::string, Sum>> order(sums.begin(), sums.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return bits_per_weight(a.second.bytes, a.second.weights) >
           bits_per_weight(b.second.bytes, b.second.weights);
  });
  std::string out =
      style.bold("  format       units      bytes    bpw  share of the weights") + "\n";
  for (const auto& [format, sum] : order) {
    const double share =
        all_weights > 0 ? static_cast<double>(sum.weights) / static_cast<double>(all_weights) : 0;
    const std::string bar(std::max(size_t{1}, static_cast<size_t>(28 * share + 0.5)), '#');
    out += "  " + style.on(background_of(format), formatted("%-11s", format.c_str())) +
           formatted(" %6zu %10s  %5.2f %5.1f %% %s\n", sum.units,
                     human_bytes(static_cast<double>(sum.bytes)).c_str(),
                     bits_per_weight(sum.bytes, sum.weights), 100 * share, bar.c_str());
  }
  return out;
}

std::vector<MapCell> format_cells(const std::vector<UnitRow>& rows) {
  std::vector<MapCell> cells;
  for (const UnitRow& row : rows) {
    // Parts of a matrix have columns of their own, "in_proj[0:3072]".
    const size_t part = row.name.ends_with(']') ? row.name.rfind('[') : std::string::npos;
    MapCell cell{row.kind + (part == std::string::npos ? "" : row.name.substr(part)), row.layer,
                 row.format, background_of(row.format)};
    const auto same_place = std::find_if(cells.begin(), cells.end(), [&](const MapCell& c) {
      return c.layer == cell.layer && c.kind == cell.kind;
    });
    if (same_place == cells.end()) {
      cells.push_back(cell);
    } else if (same_place->text != cell.text) {  // experts
      same_place->text = "mixed";
      same_place->background = 252;
    }
  }
  return cells;
}

}  // namespace klens::apps
