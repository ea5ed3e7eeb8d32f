#include "engine/jobs/profile_state.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "loaders/atomic_file.h"
#include "loaders/error.h"
#include "loaders/json.h"
#include "loaders/mapped_file.h"

namespace klens {
namespace {

using nlohmann::json;

json to_json(const WindowScore& s) {
  return {s.kl, s.kl_reverse, s.delta_ce, s.ce, s.squared_error, s.squared, s.positions, s.labels};
}

WindowScore from_json(const json& j) {
  if (!j.is_array() || j.size() != 8 ||
      !std::all_of(j.begin(), j.end(), [](const json& v) { return v.is_number(); }))
    throw Error(ErrorKind::kBadFile, "");
  return {.kl = j[0],
          .kl_reverse = j[1],
          .delta_ce = j[2],
          .ce = j[3],
          .squared_error = j[4],
          .squared = j[5],
          .positions = j[6],
          .labels = j[7]};
}

}  // namespace

void save_profile_state(const std::string& path, const std::string& run, const Scores& scores) {
  json base = json::array(), windows = json::array();
  for (const WindowScore& score : scores.base) base.push_back(to_json(score));
  for (const auto& window : scores.windows) {
    json row = json::array();
    for (const WindowScore& score : window) row.push_back(to_json(score));
    windows.push_back(std::move(row));
  }
  AtomicFile file(path);
  file.write(
      json{{"klens_profile_state", 1}, {"run", run}, {"base", base}, {"windows", windows}}.dump());
  file.commit();
}

Scores load_profile_state(const std::string& path, const std::string& run, size_t students) {
  Scores scores;
  if (!std::filesystem::exists(path)) return scores;
  const json state = parse_json(read_text(path), path);
  const std::string cure = "; remove it, or run without --resume";
  if (!state.is_object() || state.value("klens_profile_state", json()) != 1 ||
      !state.contains("base") || !state.contains("windows") || !state["base"].is_array() ||
      !state["windows"].is_array() || state["base"].size() != state["windows"].size())
    throw Error(ErrorKind::kBadFile, path + ": is no state of an interrupted profile" + cure);
  if (state.value("run", json()) != run)
    throw Error(ErrorKind::kBadFile,
                path + ": was kept by a run on another model, text or with other options" + cure);
  try {
    for (const json& score : state["base"]) scores.base.push_back(from_json(score));
    for (const json& row : state["windows"]) {
      std::vector<WindowScore> window;
      if (!row.is_array() || row.size() != students) throw Error(ErrorKind::kBadFile, "");
      for (const json& score : row) window.push_back(from_json(score));
      scores.windows.push_back(std::move(window));
    }
  } catch (const Error&) {
    throw Error(ErrorKind::kBadFile, path + ": is damaged" + cure);
  }
  return scores;
}

}  // namespace klens
