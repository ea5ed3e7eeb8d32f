#pragma once
// Runs the built klens as a user would, and files for it to work on.
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace klens::testing {

using Words = std::vector<std::string>;  // of a command line

struct Call {
  std::vector<std::string> arguments = {};
  std::string program = KLENS_PROGRAM;                                // or one that runs it
  std::string input = {};                                             // standard input
  std::vector<std::pair<std::string, std::string>> environment = {};  // beyond this process's
  std::string output_to = {};  // standard output goes to this file, e.g. /dev/full
  bool close_output = false;   // standard output is closed
  bool break_pipe = false;     // nobody reads standard output
  int64_t address_space = 0;   // as `ulimit -v` sets it, in bytes; 0: no limit
  // Sent once, if it still runs then: this long after the start, or once standard output holds
  // this.
  int signal = 0;
  std::chrono::microseconds signal_after{0};
  std::string signal_once_said = {};
};

struct Outcome {
  int code = -1;   // exit code; -1 if a signal ended it
  int signal = 0;  // the signal that ended it
  std::string out, err;
  int64_t peak_bytes = 0;  // the most memory that was resident
};

Outcome run(const Call& call);
Outcome run(std::vector<std::string> arguments);
// Standard output of a call that must succeed, as JSON.
nlohmann::json run_json(std::vector<std::string> arguments);

// A failure is one line that begins as promised.
bool is_one_error_line(const std::string& err);

// Exit code 2, and on standard error one line, which mentions this, and a hint.
void check_usage_error(const std::vector<std::string>& arguments, const std::string& mentions = "");
// Exit code 1, and on standard error exactly one line, which mentions this.
void check_failure(const std::vector<std::string>& arguments, const std::string& mentions);

std::string read_text(const std::string& path);
void write_text(const std::string& path, const std::string& text);
bool exists(const std::string& path);

// A folder that is empty when the test begins and gone when it ends.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The model of the demo, a text to score, and options that make a measuring run short.
inline const std::string kModel = KLENS_DEMO_MODEL;
inline const std::string kSample = std::string(KLENS_DEMO_MODEL) + "/../sample.txt";
const std::vector<std::string>& short_run();
// A profile of the demo model, measured once per process.
const std::string& profile_text();

std::vector<std::string> operator+(std::vector<std::string> list,
                                   const std::vector<std::string>& more);

}  // namespace klens::testing
