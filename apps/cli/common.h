#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "apps/cli/arguments.h"
#include "apps/cli/command.h"
#include "apps/cli/handles.h"

namespace klens::apps {

// Option groups that several commands share.
OptionGroup model_options();    // -m -t --activations --kv --backend --gpu-layers
OptionGroup general_options();  // --json --quiet --help
OptionSpec quiet_option();
OptionSpec jsonl_option(const char* each);  // --jsonl: a line for each text, sample, ...
// "json" or "jsonl", which exclude each other, or "".
std::string output_form(const Arguments& arguments);

// MODEL: the positional argument at `index`, or -m where that is the first. Throws UsageError if
// there is none, and if more than `index` + 1 are given in all.
std::string model_path(const Arguments& arguments);
// A positional argument other than MODEL, e.g. the profile of `plan`.
std::string only_positional(const Arguments& arguments, const char* what);

klens_model_options read_model_options(const Arguments& arguments);
ModelHandle open_model(const Arguments& arguments);
ModelHandle open_model(const Arguments& arguments, const std::string& path);
ModelHandle open_model(const Arguments& arguments, const std::string& path,
                       klens_model_options options);
// The last part of a path, "model" for "some/model/".
std::string file_name(const std::string& path);

// Says on standard error, unless quiet, that `tokens` of `what` ("the prompt and its continuation",
// "windows") are more than the model was trained on at once, where they are.
void warn_beyond_context(const klens_model* model, int64_t tokens, const std::string& what,
                         bool quiet);

// The model's tokenizer; throws Error if it came without one.
const klens_tokenizer* tokenizer_of(const klens_model* model, const std::string& path);

// A report of the library, parsed.
template <class Call>
nlohmann::ordered_json report_of(Call&& call) {
  return nlohmann::ordered_json::parse(text_of(call));
}

// report[key] as a number or "-": the library leaves out what it did not measure.
std::string number_or_dash(const nlohmann::ordered_json& report, const char* key,
                           const char* format);
// "0.01234 +/- 0.00056", the second part only where report[error_key] is there.
std::string with_error(const nlohmann::ordered_json& report, const char* key, const char* error_key,
                       const char* format);

}  // namespace klens::apps
