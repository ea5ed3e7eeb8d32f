#include "engine/jobs/profile_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "engine/jobs/profile_job.h"
#include "engine/version.h"
#include "loaders/checksum.h"
#include "loaders/mapped_file.h"
#include "loaders/profile_json.h"

namespace klens {
namespace {

constexpr std::string_view kHeader = "klens-profile-state 4 ";
constexpr const char* kStartAnew = "; remove it, or run without --resume";
constexpr size_t kHash = 16;

std::string hash_of(std::string_view text) { return xxh3_hex(std::as_bytes(std::span(text))); }

// "HASH-OF-THE-REST NAME-HASH VALUE".
std::string line_of(const std::string& name, const std::string& value) {
  const std::string rest = hash_of(name) + " " + value;
  return hash_of(rest) + " " + rest + "\n";
}

template <class Number>
void append(std::string& text, Number value) {
  char digits[40];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  text += (text.empty() ? "" : " ") + std::string(digits, end);
}

// Numbers between single blanks; empty if a word is none.
template <class Number>
std::vector<Number> numbers_of(const std::string& text) {
  std::vector<Number> numbers;
  const char *at = text.data(), *const end = at + text.size();
  while (at < end) {
    Number value{};
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || (next < end && *next != ' ')) return {};
    numbers.push_back(value);
    at = next < end ? next + 1 : end;
  }
  return numbers;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const size_t end = std::min(line.find(' '), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

// In what a run differs from the one that kept a state, each told as "NAME:VALUE ...".
std::string difference(std::string_view kept, std::string_view run) {
  const auto before = words_of(kept), now = words_of(run);
  for (size_t i = 0; i < std::min(before.size(), now.size()); ++i) {
    const size_t colon = now[i].find(':');
    const std::string name(now[i].substr(0, colon));
    if (before[i] == now[i] || colon == std::string_view::npos) continue;
    const bool told_by_hash = name == "model" || name == "text" || name == "profile";
    if (told_by_hash || !before[i].starts_with(name + ":")) return "on another " + name;
    return "with " + name + " " + std::string(before[i].substr(colon + 1)) + ", not " +
           std::string(now[i].substr(colon + 1));
  }
  return "with other options";
}

}  // namespace

Ranks& Journal::no_others() {
  static Ranks alone;  // has nothing that changes
  return alone;
}

Journal::Journal(std::string path, std::string run, bool resume, Ranks& ranks)
    : path_(ranks.index() == 0 ? std::move(path) : ""), run_(std::move(run)), ranks_(ranks) {
  const bool goes_on = !path_.empty() && resume && file_exists(path_);
  if (goes_on) load();
  bytes_ = path_.empty() ? std::make_shared<KeptBytes>()
                         : std::make_shared<KeptBytes>(path_ + ".data", run_, goes_on);
  if (!ranks_.alone()) share();
}

Journal::~Journal() {
  if (fd_ >= 0) ::close(fd_);
}

void Journal::load() {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorKind::kBadFile, path_ + ": " + what + kStartAnew);
  };
  std::string text = read_text(path_, SIZE_MAX);
  text.resize(text.rfind('\n') + 1);  // a line that was being written when the process ended
  if (text.empty()) return;           // ended before its first line was whole: nothing is there
  const std::string_view all = text;
  size_t begin = all.find('\n') + 1;
  const std::string_view header = all.substr(0, begin);
  if (!header.starts_with(kHeader)) fail("is no state of an interrupted run");
  if (const std::string_view kept =
          header.substr(kHeader.size(), header.size() - kHeader.size() - 1);
      kept != run_)
    fail("was kept by a run " + difference(kept, run_));
  while (begin < all.size()) {
    const size_t end = all.find('\n', begin);
    const std::string_view line = all.substr(begin, end - begin);
    begin = end + 1;
    if (line.size() < 2 * kHash + 2 || line.substr(0, kHash) != hash_of(line.substr(kHash + 1)))
      fail("is damaged");
    found_[std::string(line.substr(kHash + 1, kHash))] = line.substr(2 * kHash + 2);
  }
  if (!ranks_.alone()) unshared_ = text.substr(header.size());
  open(false);
  if (::ftruncate(fd_, static_cast<off_t>(text.size())) != 0)
    throw Error(ErrorKind::kIo, path_ + ": cannot write: " + std::strerror(errno) + kStartAnew);
}

void Journal::open(bool anew) {
  fd_ =
      ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (anew ? O_TRUNC : 0), 0666);
  if (fd_ < 0)
    throw Error(ErrorKind::kIo, path_ + ": cannot write: " + std::strerror(errno) +
                                    "; name the output in a folder that can be written to");
  if (anew) write(std::string(kHeader) + run_ + "\n");
}

void Journal::write(const std::string& line) {
  for (std::string_view left = line; !left.empty();) {
    const ssize_t written = ::write(fd_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      throw Error(ErrorKind::kIo, path_ + ": cannot write: " + std::strerror(errno) +
                                      "; free some space and run again");
    left.remove_prefix(static_cast<size_t>(written));
  }
}

const std::string* Journal::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  if (found_.empty()) return nullptr;
  const auto at = found_.find(hash_of(name));
  return at == found_.end() ? nullptr : &at->second;
}

void Journal::keep(const std::string& name, const std::string& value) {
  if (path_.empty() && ranks_.alone()) return;
  const std::lock_guard lock(mutex_);
  const std::string line = line_of(name, value);
  if (!ranks_.alone()) {
    if (!found_.try_emplace(hash_of(name), value).second) return;  // a rank's, or all ranks' alike
    unshared_ += line;
  }
  if (!path_.empty()) put(line);
}

void Journal::put(const std::string& line) {
  if (fd_ < 0) open(true);
  write(line);
}

void Journal::share() {
  if (ranks_.alone()) return;
  std::string own;
  {
    const std::lock_guard lock(mutex_);
    own.swap(unshared_);
  }
  const std::vector<std::string> given = ranks_.exchange(own);
  const std::lock_guard lock(mutex_);
  for (const std::string& lines : given)
    for (size_t begin = 0; begin < lines.size();) {
      const size_t end = lines.find('\n', begin) + 1;
      const std::string line = lines.substr(begin, end - begin);
      begin = end;
      const auto [at, added] = found_.try_emplace(line.substr(kHash + 1, kHash));
      if (!added) continue;
      at->second = line.substr(2 * kHash + 2, line.size() - 2 * kHash - 3);
      if (!path_.empty()) put(line);
    }
}

std::unique_ptr<Journal> open_journal(const Model& model, const ProfileOptions& options,
                                      const std::string& more) {
  static Ranks alone;
  return open_journal(model, options, alone, more);
}

std::unique_ptr<Journal> open_journal(const Model& model, const ProfileOptions& options,
                                      Ranks& ranks, const std::string& more) {
  if (options.state_path.empty() && ranks.alone()) return std::make_unique<Journal>("", "", false);
  std::string texts, formats, run;
  for (const CalibrationText& text : options.texts)
    texts += hash_of(text.text) + " " + number_text(text.weight) + " ";
  for (const Format* format : parse_formats(options.formats))
    formats += (formats.empty() ? "" : ",") + std::string(format->name);
  const std::pair<const char*, std::string> fields[] = {
      {"version", kVersion},
      {"model", checkpoint_xxh3(model.checkpoint())},
      {"text", texts.empty() ? "sampled" : hash_of(texts)},
      {"device", model.device().name()},
      {"instructions", model.device().level()},
      {"activations", activations_name(model.options().activations)},
      {"cache", std::to_string(static_cast<int>(model.kv_type()))},
      {"ctx", std::to_string(options.ctx)},
      {"windows", std::to_string(options.windows)},
      {"seed", std::to_string(options.seed)},
      {"formats", formats},
      {"quantizer", options.quantizer.empty() ? "auto" : options.quantizer},
      {"suffix", options.suffix.empty() ? "auto" : options.suffix},
      {"profile", more.empty() ? "none" : hash_of(more)}};
  for (auto [name, value] : fields) {
    std::ranges::replace(value, ' ', '_');
    run += (run.empty() ? "" : " ") + std::string(name) + ":" + value;
  }
  check_alike(ranks, std::string(model.device().name()) + " " + model.device().level(),
              "instruction set (KLENS_ISA lowers it)");
  check_alike(ranks, run + " " + options.metrics + " " + std::to_string(options.measured),
              "model, calibration text or other options");
  return std::make_unique<Journal>(options.state_path, run, options.resume, ranks);
}

JournalScores::JournalScores(Journal& journal, const Plan* base) : journal_(journal) {
  if (base == nullptr) return;
  for (const auto& [unit, choice] : base->units) base_ += unit + " " + text_of(choice) + "\n";
  base_ = hash_of(base_);
}

std::string JournalScores::name(std::span<const int32_t> window, const Student* student) const {
  std::string text = "score " + base_ + " " + xxh3_hex(std::as_bytes(window));
  if (student != nullptr)
    text += " " + std::to_string(student->unit) + " " + text_of(student->choice);
  return text;
}

std::optional<WindowScore> JournalScores::find(std::span<const int32_t> window,
                                               const Student* student) const {
  const std::string* text = journal_.find(name(window, student));
  if (text == nullptr) return std::nullopt;
  const std::vector<double> v = numbers_of<double>(*text);
  if (v.size() < 8) return std::nullopt;
  return WindowScore{.kl = v[0],
                     .kl_reverse = v[1],
                     .delta_ce = v[2],
                     .ce = v[3],
                     .squared_error = v[4],
                     .squared = v[5],
                     .positions = static_cast<int64_t>(v[6]),
                     .labels = static_cast<int64_t>(v[7]),
                     .largest = {v.begin() + 8, v.end()}};
}

void JournalScores::keep(std::span<const int32_t> window, const Student* student,
                         const WindowScore& s) {
  std::string text;
  for (const double value : {s.kl, s.kl_reverse, s.delta_ce, s.ce, s.squared_error, s.squared})
    append(text, value);  // the shortest text that reads back as the same number
  append(text, s.positions);
  append(text, s.labels);
  for (const double kl : s.largest) append(text, kl);
  journal_.keep(name(window, student), text);
}

std::optional<std::vector<double>> find_numbers(const Journal& journal, const std::string& name,
                                                size_t count) {
  const std::string* text = journal.find(name);
  if (text == nullptr) return std::nullopt;
  std::vector<double> numbers = numbers_of<double>(*text);
  if (numbers.size() != count) return std::nullopt;
  return numbers;
}

void keep_numbers(Journal& journal, const std::string& name, std::span<const double> numbers) {
  std::string text;
  for (const double number : numbers) append(text, number);
  journal.keep(name, text);
}

std::optional<std::vector<int32_t>> find_ids(const Journal& journal, const std::string& name) {
  const std::string* text = journal.find(name);
  if (text == nullptr) return std::nullopt;
  return numbers_of<int32_t>(*text);
}

void keep_ids(Journal& journal, const std::string& name, std::span<const int32_t> ids) {
  std::string text;
  for (const int32_t id : ids) append(text, id);
  journal.keep(name, text);
}

}  // namespace klens
