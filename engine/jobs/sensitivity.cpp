#include "engine/jobs/sensitivity.h"

#include <map>
#include <tuple>

#include "engine/jobs/profile_state.h"
#include "engine/jobs/stages.h"
#include "engine/jobs/students.h"
#include "quant/metrics/sensitivity.h"
#include "quant/quantizers/hqq.h"

namespace klens {
namespace {

// SensiBoost's 4 bits in groups of 64, which no file of ours has.
constexpr Format kFourBits{.name = "",
                           .about = "",
                           .layout = Layout::kTilesI4,
                           .group = 64,
                           .activation_group = 0,
                           .minimum = true,
                           .candidate = false,
                           .colour = 0};

using UnitGroup = std::vector<size_t>;

std::string_view shared_kind(std::string_view kind) {
  if (kind == "k_proj" || kind == "v_proj") return "q_proj";
  return kind == "up_proj" ? "gate_proj" : kind;
}

// Units of blocks; those together that are quantised together, in the model's order.
std::vector<UnitGroup> groups_of(const Model& model) {
  std::map<std::tuple<int64_t, std::string_view, std::string_view>, size_t> places;
  std::vector<UnitGroup> groups;
  for (size_t u = 0; u < model.units().size(); ++u) {
    const LinearSpec& unit = model.units()[u];
    if (unit.block < 0 || unit.block >= model.blocks()) continue;
    // All of a matrix, whatever its units.
    const std::string_view name = model.spec().matrices[unit.matrix].name;
    const std::string_view shared = shared_kind(unit.kind);
    // Others, such as heads' own x_proj, are alone even where they are of one kind.
    const bool joins = name.ends_with(unit.kind) && (shared == "q_proj" || shared == "gate_proj");
    const auto key =
        std::tuple(unit.block, joins ? name.substr(0, name.size() - unit.kind.size()) : name,
                   joins ? shared : "");
    const auto [found, added] = places.try_emplace(key, groups.size());
    if (added) groups.emplace_back();
    groups[found->second].push_back(u);
  }
  return groups;
}

std::string journal_name(const Model& model, const UnitGroup& group) {
  return std::string(kSensitivity.name) + " " + model.units()[group.front()].name;
}

size_t bytes_of(const Model& model, const UnitGroup& group) {
  size_t bytes = 0;
  for (const size_t unit : group)
    bytes += packed_bytes(kFourBits, model.units()[unit].rows, model.units()[unit].cols);
  return bytes;
}

// Their errors, mean over windows.
std::vector<double> measure(const Model& model, std::span<const UnitGroup> groups,
                            std::span<const std::vector<int32_t>> windows, Progress& progress) {
  std::vector<PackedWeight> packed;
  packed.reserve(model.units().size());
  std::vector<BlockStudent> students;
  for (const UnitGroup& group : groups) {
    BlockStudent& student = students.emplace_back();
    for (const size_t unit : group) {
      const WeightView& source = model.checkpoint().units.at(model.units()[unit].name).view;
      packed.push_back(quantize_hqq(kFourBits, source, {}));
      student.push_back(
          {unit, make_weight(packed.back().view(), nullptr, Choice().activation_bits, model)});
    }
    progress.step();
  }
  const UnitInputs none;
  StudentRunner runner(model, nullptr, none);
  std::vector<double> sums(groups.size());
  for (const std::vector<int32_t>& window : windows) {
    runner.begin_window(window);
    const std::vector<double> errors = runner.block_errors(students);
    for (size_t g = 0; g < groups.size(); ++g)
      sums[g] += errors[g] / static_cast<double>(windows.size());
  }
  return sums;
}

}  // namespace

std::vector<std::optional<double>> measure_sensitivity(
    const Model& model, std::span<const std::vector<int32_t>> windows, int64_t packed_bytes,
    Progress& progress, Journal& journal) {
  std::vector<std::optional<double>> result(model.units().size());
  const std::vector<UnitGroup> groups = groups_of(model);
  std::vector<UnitGroup> missing, others;  // `others`: of other ranks
  size_t left = 0;
  const auto put = [&](const UnitGroup& group, double error) {
    for (const size_t unit : group) result[unit] = error;
  };
  for (const UnitGroup& group : groups) {
    if (const auto found = find_numbers(journal, journal_name(model, group), 1))
      put(group, found->front());
    else
      (journal.ranks().mine(left++) ? missing : others).push_back(group);
  }
  windows = windows.first(std::min(windows.size(), kSensitivityWindows));
  progress.stage(stages::kModules, static_cast<double>(missing.size()));
  for (size_t first = 0; first < missing.size();) {
    size_t end = first, bytes = 0;
    while (end < missing.size() && (end == first || bytes < static_cast<size_t>(packed_bytes)))
      bytes += bytes_of(model, missing[end++]);
    const auto part = std::span(missing).subspan(first, end - first);
    const std::vector<double> errors = measure(model, part, windows, progress);
    for (size_t i = 0; i < part.size(); ++i) {
      put(part[i], errors[i]);
      keep_numbers(journal, journal_name(model, part[i]), {&errors[i], 1});
    }
    first = end;
  }
  journal.share();
  for (const UnitGroup& group : others)
    put(group, find_numbers(journal, journal_name(model, group), 1)->front());
  return result;
}

}  // namespace klens
