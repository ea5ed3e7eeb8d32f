#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace klens::apps {

// A file of klens's, read and checked.
struct ReportFile {
  std::string path;
  nlohmann::ordered_json json;
};

// A model of another engine's, at its bytes.
struct Peer {
  std::string name, engine;  // engine may be empty
  double bytes = 0, kl = 0;
};

struct ReportInputs {
  std::optional<ReportFile> profile;
  nlohmann::ordered_json agreement;  // of the profile: klens_rank_agreement
  std::vector<ReportFile> plans;     // of the profile's units, each of them
  std::optional<ReportFile> sweep;
  std::string peers_path;
  std::vector<Peer> peers;
};

// Files that `klens profile`, `plan` and `sweep` wrote, told apart by what they hold. Throws Error,
// one line that names file, what and cure, for one that is damaged, of another model than the
// others, given twice, or a plan whose profile is not among them. peers: "" or a file of
// [{"name","bytes","kl","engine" (optional)}, ...].
ReportInputs read_inputs(const std::vector<std::string>& paths, const std::string& peers);

}  // namespace klens::apps
