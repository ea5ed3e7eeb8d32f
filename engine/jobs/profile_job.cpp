#include "engine/jobs/profile_job.h"

#include <cmath>
#include <set>

#include "engine/jobs/profile_state.h"
#include "loaders/checksum.h"
#include "loaders/klens_file.h"

namespace klens {
namespace {

constexpr const char* kMetrics[] = {"kl",      "kl_reverse", "delta_ce", "mse",
                                    "sqnr_db", "ppl",        "kurtosis"};

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    if (end > begin) words.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::set<std::string> parse_metrics(const std::string& list) {
  const std::vector<std::string> words = split(list);
  if (words.empty()) return {std::begin(kMetrics), std::end(kMetrics)};
  for (const std::string& word : words)
    if (std::find(std::begin(kMetrics), std::end(kMetrics), word) == std::end(kMetrics))
      throw Error(ErrorKind::kBadArgument,
                  "metric \"" + word +
                      "\" is not one of kl, kl_reverse, delta_ce, mse, sqnr_db, ppl, kurtosis");
  return {words.begin(), words.end()};
}

// Pearson's kurtosis (normal = 3, biased) of the flattened weights.
double kurtosis(const WeightView& w) {
  std::vector<float> row(static_cast<size_t>(w.cols));
  const double n = static_cast<double>(w.rows) * static_cast<double>(w.cols);
  double sum = 0, m2 = 0, m4 = 0;
  for (int64_t r = 0; r < w.rows; ++r) {
    expand_row(w, r, row.data());
    for (const float v : row) sum += v;
  }
  const double mean = sum / n;
  for (int64_t r = 0; r < w.rows; ++r) {
    expand_row(w, r, row.data());
    for (const float v : row) {
      const double d2 = (v - mean) * (v - mean);
      m2 += d2;
      m4 += d2 * d2;
    }
  }
  return m2 > 0 ? (m4 / n) / (m2 / n * (m2 / n)) : 0;
}

// FP16 storage of these weights changes nothing, so there is nothing to measure.
bool lossless(const StoredUnit& unit, const Format& format) {
  return format.layout == Layout::kTilesF16 &&
         (unit.view.layout == Layout::kRowsF16 || unit.view.layout == Layout::kTilesF16);
}

void set_exact(Candidate& candidate, size_t windows) {
  candidate.kl = candidate.kl_stderr = candidate.kl_reverse = candidate.delta_ce = candidate.mse =
      0;
  candidate.sqnr_db = 200;
  candidate.kl_windows.assign(windows, 0.0);
}

void keep_metrics(const std::set<std::string>& metrics, Candidate& candidate) {
  const auto keep = [&](const char* name, std::optional<double>& value) {
    if (metrics.count(name) == 0) value.reset();
  };
  if (metrics.count("kl") == 0) {
    candidate.kl_stderr.reset();
    candidate.kl_windows.clear();
  }
  keep("kl", candidate.kl);
  keep("kl_reverse", candidate.kl_reverse);
  keep("delta_ce", candidate.delta_ce);
  keep("mse", candidate.mse);
  keep("sqnr_db", candidate.sqnr_db);
  keep("ppl", candidate.ppl);
}

// A plan whose header is as long as any plan's: the longest format name for each unit, all digits
// used.
Plan longest_plan(const Model& model) {
  constexpr double kLongest = -1.2345678901234567e-100;
  Plan plan{.method = "sensiboost",
            .budget = std::string(64, 'x'),
            .bytes = INT64_MIN,
            .bpw = kLongest,
            .predicted_kl = kLongest,
            .measured_kl = kLongest,
            .measured_kl_stderr = kLongest,
            .optimality_gap = kLongest,
            .units = {}};
  for (const LinearSpec& unit : model.units())
    plan.units[unit.name] = {.format = "int4g128", .quantizer = "rtn"};
  return plan;
}

struct Prepared {
  Profile profile;
  std::vector<Student> students;
  std::vector<std::pair<size_t, size_t>> places;  // of students: unit, candidate
};

Prepared prepare(const Model& model, const std::vector<const Format*>& formats) {
  const Checkpoint& checkpoint = model.checkpoint();
  Prepared result;
  Profile& profile = result.profile;
  profile.model_name = checkpoint.name;
  profile.architecture = checkpoint.spec.architecture;
  profile.parameters = checkpoint.spec.parameters();
  profile.activations = model.options().activations == Activations::kInt8 ? "int8" : "f32";
  profile.fixed_bytes = static_cast<int64_t>(klens_fixed_bytes(checkpoint));
  constexpr int64_t kProvenance = 1024;  // more than quantize ever writes there
  profile.header_bytes = static_cast<int64_t>(klens_header_bytes(
                             checkpoint, {.plan = longest_plan(model), .provenance = {}})) +
                         kProvenance;
  for (size_t u = 0; u < model.units().size(); ++u) {
    const LinearSpec& spec = model.units()[u];
    Unit unit{.name = spec.name,
              .kind = spec.kind,
              .block = spec.block,
              .rows = spec.rows,
              .cols = spec.cols,
              .kurtosis = std::nullopt,
              .candidates = {}};
    for (const Format* format : formats) {
      Candidate candidate;
      candidate.format = format->name;
      candidate.bytes = static_cast<int64_t>(packed_bytes(*format, spec.rows, spec.cols));
      if (!lossless(checkpoint.units.at(spec.name), *format)) {
        result.students.push_back({u, format});
        result.places.emplace_back(u, unit.candidates.size());
      }
      unit.candidates.push_back(candidate);
    }
    profile.units.push_back(std::move(unit));
  }
  return result;
}

std::string run_identity(const Profile& profile, const Calibration& calibration,
                         const std::vector<Student>& students) {
  std::string text = profile.checkpoint_xxh3 + " " + profile.activations;
  for (const auto& window : calibration.windows)
    text += " " + xxh3_hex(std::as_bytes(std::span(window)));
  for (const Student& student : students)
    text += " " + std::to_string(student.unit) + student.format->name;
  return xxh3_hex(std::as_bytes(std::span(text)));
}

void fill_in(const Scores& scores, const Prepared& prepared, int64_t vocab,
             const std::set<std::string>& metrics, Profile& profile) {
  for (Unit& unit : profile.units)
    for (Candidate& candidate : unit.candidates) set_exact(candidate, scores.windows.size());
  for (size_t s = 0; s < prepared.students.size(); ++s) {
    const auto [u, c] = prepared.places[s];
    summarise(scores, s, vocab, profile.units[u].candidates[c]);
  }
  for (Unit& unit : profile.units)
    for (Candidate& candidate : unit.candidates) keep_metrics(metrics, candidate);
  profile.windows = static_cast<int64_t>(scores.windows.size());
  profile.tokens = 0;
  for (const WindowScore& base : scores.base) profile.tokens += base.positions;
}

Calibration calibrate(const Model& model, const Tokenizer* tokenizer, const ProfileOptions& options,
                      Progress& progress) {
  if (options.ctx < 2)
    throw Error(ErrorKind::kBadArgument, "-c must be at least 2: one token and its next");
  if (options.windows < 1) throw Error(ErrorKind::kBadArgument, "--windows must be at least 1");
  if (!options.text)
    return calibrate_on_samples(model, options.ctx, options.windows, options.held_out, options.seed,
                                progress);
  if (tokenizer == nullptr)
    throw Error(ErrorKind::kBadFile, model.checkpoint().path +
                                         ": holds no tokenizer.json, so a text cannot be used; "
                                         "leave out -f to calibrate on samples of the model");
  return calibrate_on_text(model, *tokenizer, *options.text, options.ctx, options.windows,
                           options.held_out);
}

}  // namespace

std::vector<const Format*> parse_formats(const std::string& list) {
  std::vector<const Format*> formats = {find_format("fp16")};
  for (const std::string& word : split(list)) {
    const Format* format = find_format(word);
    if (format == nullptr)
      throw Error(ErrorKind::kBadArgument,
                  "format \"" + word + "\" is not one of " + std::string(format_names()));
    if (std::find(formats.begin(), formats.end(), format) == formats.end())
      formats.push_back(format);
  }
  return formats;
}

Profile unmeasured_profile(const Model& model, const std::vector<const Format*>& formats) {
  return prepare(model, formats).profile;
}

ProfileRun run_profile(const Model& model, const Tokenizer* tokenizer,
                       const ProfileOptions& options, Progress& progress,
                       const std::function<bool(const Profile&)>& stop_early) {
  const std::set<std::string> metrics = parse_metrics(options.metrics);
  Prepared prepared = prepare(model, parse_formats(options.formats));
  Calibration calibration = calibrate(model, tokenizer, options, progress);
  Profile& profile = prepared.profile;
  profile.checkpoint_xxh3 = checkpoint_xxh3(model.checkpoint());
  profile.calibration_source = options.text ? options.source_name : "teacher";
  profile.window = options.ctx;
  profile.seed = options.seed;
  if (metrics.count("kurtosis") != 0)
    for (size_t u = 0; u < profile.units.size(); ++u)
      profile.units[u].kurtosis = kurtosis(model.checkpoint().units.at(profile.units[u].name).view);

  const std::string run = run_identity(profile, calibration, prepared.students);
  Scores scores;
  if (options.resume && !options.state_path.empty())
    scores = load_profile_state(options.state_path, run, prepared.students.size());

  StudentRunner runner(model, nullptr);
  double per_window = 0;
  for (const Student& student : prepared.students) per_window += runner.cost(student);
  progress.stage("profile", per_window * static_cast<double>(calibration.windows.size()),
                 per_window * static_cast<double>(scores.windows.size()));
  const double per_student =
      per_window / static_cast<double>(std::max<size_t>(prepared.students.size(), 1));
  auto last_saved = std::chrono::steady_clock::now();
  const auto save = [&] {
    if (!options.state_path.empty() && !scores.windows.empty())
      save_profile_state(options.state_path, run, scores);
    last_saved = std::chrono::steady_clock::now();
  };
  const auto after_window = [&] {
    if (std::chrono::steady_clock::now() - last_saved > std::chrono::seconds(2)) save();
    fill_in(scores, prepared, model.spec().vocab, metrics, profile);
    return !stop_early(profile);
  };
  try {
    profile_windows(
        runner, calibration.windows, prepared.students, [&] { progress.step(per_student); },
        after_window, scores);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInterrupted) save();
    throw;
  }
  save();  // until the caller has put the profile where it belongs, this is the only copy
  fill_in(scores, prepared, model.spec().vocab, metrics, profile);
  return {.profile = std::move(profile),
          .calibration = std::move(calibration),
          .students = std::move(prepared.students)};
}

}  // namespace klens
