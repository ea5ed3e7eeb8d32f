#pragma once
#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/jobs/calibration.h"
#include "engine/jobs/prepared_profile.h"
#include "engine/jobs/students.h"
#include "quant/plan.h"
#include "quant/profile.h"

namespace klens {

// A profile's source where its text was sampled from the model.
inline constexpr const char* kSampledSource = "teacher";

// What a student runs in, but for its unit: the checkpoint as it is or, rounded, INT8 weights with
// activations of 16 bits, and then it is compared with a model in these.
struct Suffix {
  const char* name;
  bool rounded;
};
inline constexpr Suffix kSuffixes[] = {{"exact", false}, {"fast", true}};

inline constexpr const Suffix& kExactSuffix = kSuffixes[0];
inline constexpr const Suffix& kFastSuffix = kSuffixes[1];

struct ProfileOptions {
  std::vector<CalibrationText> texts;  // none: sampled from the model
  int64_t ctx = 256;
  int64_t windows = 32;
  // Of these, where the run may end early: what progress promises; small matrices, on which less of
  // a plan depends, are then measured on fewer. 0: all.
  int64_t likely = 0;
  int64_t held_out = 0;      // further windows to judge a plan by
  int64_t plan_windows = 0;  // that the caller then measures a plan on and writes it: for forecasts
  uint64_t seed = 0;
  std::string formats;  // "": default_formats(); kBaseFormat is one in any case
  std::string quantizer = kUsualQuantizer.name;
  // What these units may become is measured whatever else is.
  std::map<std::string, Choice> pinned;
  // Of each unit, at most; KLs of others are predicted (quant/prediction.h). 0: all.
  int64_t measured = 2;
  std::string metrics;     // "": all
  std::string state_path;  // of a Journal, for an interrupted run; "": nowhere
  bool resume = false;
  // By name; "": quantize takes the fast one, others the exact one. What is rounded is for models
  // that have no integers of their own and may compute in INT8; elsewhere it is exact.
  std::string suffix;
  int64_t memory = 0;  // bytes to hold beside the model's file; 0: as needed, and 1 GiB
  // What is to be made of the profile, if something: where its choices were only predicted they are
  // measured too, on some windows.
  std::function<std::optional<Plan>(const Profile&)> plan;
  bool times = false;  // also what a decoded token spends on each candidate, on this machine
};

struct ProfileRun {
  Profile profile;
  Calibration calibration;
  UnitInputs inputs;              // of calibration.seen
  std::vector<Student> students;  // in the order of profile.units and their candidates
  int64_t spare_bytes = 0;        // that may be held to save time
  // Of each choice of options.plan that was predicted: what it measured, over that.
  std::vector<double> checked;
  std::optional<Profile> unchecked = std::nullopt;  // before that
};

// What to measure on the windows to come.
struct Verdict {
  bool ended = false;              // nothing
  std::vector<bool> settled = {};  // by unit: these no more; empty: all of them still
};
// A profile as it is after a window, and as every second window tells it; of one, twice the same.
struct SoFar {
  Profile all;
  std::array<Profile, 2> halves;
  double share = 0;  // of the work of all windows that is done
};
// Asked after each window; none: all windows are measured.
using Judge = std::function<Verdict(const SoFar&)>;
inline constexpr std::nullptr_t go_on = nullptr;

// Measures every unit in every format: quant/profiler over a StudentRunner. tokenizer may be null
// where there is no text. What the journal has is not measured again. Where it is several ranks'
// they share out what they sample and measure, and all return the same profile, that of one alone.
ProfileRun run_profile(const Model& model, const Tokenizer* tokenizer,
                       const ProfileOptions& options, Progress& progress, const Judge& judge,
                       Journal& journal);

// The same with a journal of its own, of options.state_path.
ProfileRun run_profile(const Model& model, const Tokenizer* tokenizer,
                       const ProfileOptions& options, Progress& progress, const Judge& judge);

// "int8,int4g64" to formats, kBaseFormat always first among them; "": default_formats(). Throws
// Error for an unknown name.
std::vector<const Format*> parse_formats(const std::string& list);

}  // namespace klens
