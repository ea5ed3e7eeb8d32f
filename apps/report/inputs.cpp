#include "apps/report/inputs.h"

#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/fields.h"
#include "apps/cli/files.h"
#include "apps/cli/tables.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

constexpr const char* kWritten = "; give what klens profile, plan or sweep has written";

[[noreturn]] void fail_input(const std::string& path, const std::string& what) {
  throw Error(path + ": " + what);
}

// A text from a file in a message: not too long for one.
std::string quoted(const std::string& text) {
  return "'" + (text.size() > 60 ? text.substr(0, 60) + "..." : text) + "'";
}

ordered_json parsed(const std::string& path) {
  ordered_json json = ordered_json::parse(read_file(path), nullptr, false);
  if (json.is_discarded())
    fail_input(path, std::string("is no JSON: damaged or cut short") + kWritten);
  return json;
}

// One of several kinds, known by a key that holds the version of its schema.
bool is_of(const ordered_json& json, const char* key) {
  return json.is_object() && json.contains(key);
}

void check_version(const ReportFile& file, const char* key) {
  const ordered_json& version = file.json.at(key);
  if (!version.is_number_integer() || version != 1)
    fail_input(file.path, std::string("is of schema ") + key + " " + quoted(version.dump()) +
                              ", this program reads version 1: use a program that fits");
}

ordered_json agreement_of(const ReportFile& profile) {
  const std::string text = profile.json.dump();
  try {
    return report_of(
        [&](char** out, klens_error* e) { return klens_rank_agreement(text.c_str(), out, e); });
  } catch (const Failure& failure) {
    const std::string what = failure.what();
    throw Error(profile.path + (what.starts_with("profile: ") ? what.substr(7) : ": " + what));
  }
}

void check_plan(const ReportFile& plan) {
  const auto units = plan.json.find("units");
  if (units == plan.json.end() || !units->is_object() || units->empty())
    fail_input(plan.path, "names no units; plan again");
  for (const auto& [name, choice] : units->items())
    if (!choice.is_object() || text_at(choice, "format").empty())
      fail_input(plan.path, "gives unit " + quoted(name) + " no format; mend it or plan again");
}

void check_plan_fits(const ReportFile& plan, const ReportFile& profile) {
  const ordered_json& units = plan.json.at("units");
  size_t known = 0;
  for (const ordered_json& unit : profile.json.at("units")) {
    const std::string name = text_at(unit, "name");
    if (!units.contains(name))
      fail_input(plan.path, "is of another model than " + profile.path + ": it lacks unit " +
                                quoted(name) + "; give a plan and the profile it was made from");
    ++known;
  }
  if (known != units.size())
    fail_input(plan.path,
               "is of another model than " + profile.path +
                   ": it has other units too; give a plan and the profile it was made from");
}

constexpr const char* kSweepAgain = "; run klens sweep again";

void check_point(const ReportFile& sweep, const ordered_json& point, size_t index) {
  const std::string where = "point " + std::to_string(index) + " ";
  if (!point.is_object() || text_at(point, "method").empty() || text_at(point, "budget").empty())
    fail_input(sweep.path, where + "has no method or no budget" + kSweepAgain);
  if (point.contains("refused")) return;
  const std::optional<double> bytes = number_at(point, "bytes");
  if (!bytes || !(*bytes > 0)) fail_input(sweep.path, where + "has no bytes" + kSweepAgain);
}

void check_sweep(const ReportFile& sweep) {
  for (const char* key : {"model", "calibration", "evaluation", "machine"})
    if (const auto it = sweep.json.find(key); it == sweep.json.end() || !it->is_object())
      fail_input(sweep.path, std::string("lacks '") + key + "'" + kSweepAgain);
  for (const char* key : {"methods", "points"})
    if (const auto it = sweep.json.find(key); it == sweep.json.end() || !it->is_array())
      fail_input(sweep.path, std::string("lacks '") + key + "'" + kSweepAgain);
  for (const ordered_json& method : sweep.json.at("methods"))
    if (!method.is_string())
      fail_input(sweep.path, std::string("has a method without name") + kSweepAgain);
  size_t index = 0;
  for (const ordered_json& point : sweep.json.at("points")) check_point(sweep, point, index++);
}

void check_same_model(const ReportFile& profile, const ReportFile& sweep) {
  const ordered_json &a = profile.json.at("model"), &b = sweep.json.at("model");
  for (const char* key : {"checkpoint_xxh3", "name"}) {
    const std::string one = text_at(a, key), other = text_at(b, key);
    if (one.empty() || other.empty()) continue;
    if (one != other)
      fail_input(sweep.path, "is of another model than " + profile.path + " (" + quoted(other) +
                                 ", not " + quoted(one) + "); give files of one model");
    return;
  }
}

std::vector<Peer> read_peers(const std::string& path) {
  constexpr const char* kShape = "; give [{\"name\", \"bytes\", \"%s\"}, ...]";
  const std::string kl = metrics().front().name;
  std::string shape = kShape;
  shape.replace(shape.find("%s"), 2, kl);
  ordered_json json = ordered_json::parse(read_file(path), nullptr, false);
  if (json.is_discarded()) fail_input(path, "is no JSON" + shape);
  if (json.is_object() && json.contains("points")) json = ordered_json(json.at("points"));
  if (!json.is_array()) fail_input(path, "is no list of points" + shape);
  std::vector<Peer> peers;
  for (const ordered_json& item : json) {
    const std::string where = "point " + std::to_string(peers.size()) + " ";
    if (!item.is_object()) fail_input(path, where + "is no object" + shape);
    const std::optional<double> bytes = number_at(item, "bytes"), loss = number_at(item, kl);
    Peer peer{text_at(item, "name"), text_at(item, "engine"), bytes.value_or(0), loss.value_or(0)};
    if (peer.name.empty()) fail_input(path, where + "has no name" + shape);
    if (!(peer.bytes > 0)) fail_input(path, where + "has no bytes above 0" + shape);
    if (!loss || *loss < 0) fail_input(path, where + "has no " + kl + " of 0 or more" + shape);
    peers.push_back(std::move(peer));
  }
  if (peers.empty()) fail_input(path, "holds no points" + shape);
  return peers;
}

void add_file(const std::string& path, ReportInputs& inputs) {
  ReportFile file{path, parsed(path)};
  if (is_of(file.json, "klens_profile")) {
    if (inputs.profile)
      fail_input(path, "is a second profile, beside " + inputs.profile->path + "; give one");
    inputs.agreement = agreement_of(file);
    inputs.profile = std::move(file);
  } else if (is_of(file.json, "klens_plan")) {
    check_version(file, "klens_plan");
    check_plan(file);
    inputs.plans.push_back(std::move(file));
  } else if (is_of(file.json, "klens_sweep")) {
    if (inputs.sweep)
      fail_input(path, "is a second sweep, beside " + inputs.sweep->path + "; give one");
    check_version(file, "klens_sweep");
    check_sweep(file);
    inputs.sweep = std::move(file);
  } else {
    fail_input(path, std::string("is no profile, no plan and no sweep") + kWritten);
  }
}

bool has_points(const ReportFile& sweep) {
  for (const ordered_json& point : sweep.json.at("points"))
    if (!point.contains("refused")) return true;
  return false;
}

}  // namespace

ReportInputs read_inputs(const std::vector<std::string>& paths, const std::string& peers) {
  ReportInputs inputs;
  for (const std::string& path : paths) add_file(path, inputs);
  for (const ReportFile& plan : inputs.plans) {
    if (!inputs.profile)
      fail_input(plan.path,
                 "a plan alone does not say which matrix is where: give the profile that it "
                 "was made from too");
    check_plan_fits(plan, *inputs.profile);
  }
  if (inputs.sweep && inputs.profile) check_same_model(*inputs.profile, *inputs.sweep);
  if (inputs.sweep && !inputs.profile && !has_points(*inputs.sweep))
    fail_input(inputs.sweep->path,
               "has no measured point, so there is nothing to report; sweep again "
               "with larger budgets");
  if (peers.empty()) return inputs;
  if (!inputs.sweep)
    fail_input(peers,
               "points of other engines stand beside those of a sweep: give its sweep.json too");
  inputs.peers_path = peers;
  inputs.peers = read_peers(peers);
  return inputs;
}

}  // namespace klens::apps
