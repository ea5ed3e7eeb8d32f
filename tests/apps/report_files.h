#pragma once
// Files for `klens report`, of the demo model.
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/apps/run_program.h"

namespace klens::testing {

// A sweep of that profile, made once per process.
inline const std::string& sweep_text() {
  static const std::string text = [] {
    const Folder folder;
    write_text(folder / "profile.json", profile_text());
    const Outcome outcome =
        run({"sweep", kModel, "--profile", folder / "profile.json", "--json", "--points", "4",
             "--test-windows", "2", "-n", "4", "-r", "1", "-t", "2", "-q"});
    if (outcome.code != 0) throw std::runtime_error("klens sweep failed: " + outcome.err);
    return outcome.out;
  }();
  return text;
}

class ReportExample {
 public:
  explicit ReportExample(const Folder& folder)
      : profile_path(folder / "profile.json"),
        plan_path(folder / "plan.json"),
        sweep_path(folder / "sweep.json"),
        peers_path(folder / "peers.json") {
    write_text(profile_path, profile_text());
    write_text(sweep_path, sweep_text());
    const Outcome planned = run({"plan", profile_path, "--bpw", "5.5", "-o", plan_path});
    if (planned.code != 0) throw std::runtime_error("klens plan failed: " + planned.err);
    const double kl = 0.02;
    write_text(peers_path,
               nlohmann::json::array(
                   {{{"name", "Q4_K_M"}, {"engine", "llama.cpp"}, {"bytes", 3.4e6}, {"kl", kl}},
                    {{"name", "Q8_0"}, {"engine", "llama.cpp"}, {"bytes", 5.2e6}, {"kl", kl / 50}}})
                   .dump());
  }

  std::vector<std::string> call(const std::string& out) const {
    return {"report", profile_path, plan_path, sweep_path, "--peers", peers_path, "-o", out};
  }
  nlohmann::json sweep() const { return nlohmann::json::parse(sweep_text()); }

  const std::string profile_path, plan_path, sweep_path, peers_path;
};

}  // namespace klens::testing
