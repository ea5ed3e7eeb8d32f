#pragma once
#include <string>
#include <vector>

#include "apps/cli/arguments.h"
#include "apps/terminal/progress.h"
#include "klens/klens.hpp"

namespace klens::apps {

// What ends a run that keeps what it measured in state_path ("": nowhere): says how to go on, where
// that helps.
[[noreturn]] void rethrow_resumable(const Failure& failure, const std::string& state_path);

// What `profile` and `quantize` share: how to measure. Holds the strings that the library's options
// point into.
class Calibration {
 public:
  // state_path: where an interrupted run keeps its windows; "" for nowhere.
  Calibration(const Arguments& arguments, std::string state_path);
  klens_profile_options options(Progress& progress) const;
  int32_t ctx() const { return ctx_; }  // tokens of a window; 0: the library's default
  // An interrupted job's error, in words that tell how to go on; other failures as they are.
  [[noreturn]] void rethrow(const Failure& failure) const;

 private:
  struct Text {
    std::string text, name;
    double weight = 1;
  };
  std::vector<Text> texts_;
  std::vector<klens_calibration_text> more_;  // all but the first
  std::string formats_, quantizer_, metrics_, suffix_, state_path_;
  bool resume_ = false;
  int32_t ctx_ = 0, windows_ = 0, measured_ = 0;
  uint64_t seed_ = 0;
  int64_t memory_ = 0;
};

// "book.txt" for a path, "standard input" for "-": what reports call a text.
std::string text_name(const std::string& path);

OptionGroup calibration_options();

// What is read: the calibration texts and these.
std::vector<std::string> input_files(const Arguments& arguments, std::vector<std::string> others);

// One line on standard error where a model is quantised already: what is measured is not what
// users of the first model lose.
void note_if_quantised(const klens_model* model, const std::string& path);

// What `plan` and `quantize` share: what to aim at.
class Budget {
 public:
  // source: which of bpw, size, max-kl, uniform is given.
  Budget(const Arguments& arguments, const std::string& source);
  klens_plan_options options() const;

 private:
  std::string method_, uniform_, tensor_types_;
  double bpw_ = 0, max_kl_ = 0, min_tok_s_ = 0;
  int64_t file_bytes_ = 0;
};

std::vector<OptionSpec> budget_options();  // --bpw --size --max-kl --uniform --method --tensor-type

}  // namespace klens::apps
