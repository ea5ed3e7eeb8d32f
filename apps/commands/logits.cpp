#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/terminal/progress.h"

namespace klens::apps {
namespace {

void run_logits(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  const auto ids_path = arguments.text("ids");
  const auto output = arguments.text("output");
  if (!ids_path) throw UsageError("--ids FILE is missing");
  if (!output) throw UsageError("-o FILE is missing");
  const bool json = arguments.flag("json");
  check_output(*output, ".safetensors", {path, *ids_path}, false);
  klens_model_options options = read_model_options(arguments);
  options.activations = KLENS_ACTIVATIONS_F32;  // parity is judged on the exact path
  const ModelHandle model = open_model(arguments, path, options);
  const std::vector<int32_t> ids = read_ids(*ids_path, klens_model_vocab(model.get()));
  check([&](klens_error* e) {
    const StatusLine status(arguments.flag("quiet"), "logits");
    return klens_export_logits(model.get(), ids.data(), ids.size(), output->c_str(), e);
  });
  const int32_t vocab = klens_model_vocab(model.get());
  if (json) {
    print_json({{"output", *output}, {"tokens", ids.size()}, {"vocab", vocab}});
  } else {
    print(*output + ": logits [" + std::to_string(ids.size()) + "][" + std::to_string(vocab) +
          "]\n");
  }
}

}  // namespace

Command logits_command() {
  OptionGroup output = general_options();
  output.options.push_back(quiet_option());
  OptionGroup model = model_options();
  for (OptionSpec& option : model.options) {
    if (first_long_name(option.names) == "activations")
      option.help = "accepted, and always f32 here";
  }
  return {"logits",
          "MODEL --ids FILE -o OUT [options]",
          "raw logits of a token sequence, for parity tests",
          "Writes one safetensors file with one FP32 tensor `logits` [tokens][vocabulary], from a "
          "fresh start, computed with FP32 activations.",
          "  klens logits MODEL --ids ids.txt -o logits.safetensors\n",
          {{"Input and output",
            {{"ids", "FILE", "token ids, decimal, between white space; - reads standard input"},
             {"o,output", "OUT", "the file to write"}}},
           model,
           output},
          run_logits};
}

}  // namespace klens::apps
