#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/terminal/progress.h"

namespace klens::apps {
namespace {

void run_tokenize(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  const std::string source = arguments.one_of({"prompt", "file"});
  if (source.empty()) throw UsageError("there is no text: give one with -f or -p");
  const bool special = arguments.flag("special"), json = arguments.flag("json");
  const bool quiet = arguments.flag("quiet");
  const std::string given = *arguments.text(source);
  const TokenizerHandle tokenizer = open_tokenizer(path);
  const std::string text = source == "file" || given == "-" ? read_file(given) : given;
  const std::vector<int32_t> ids = [&] {
    const StatusLine status(quiet, "tokenizing");
    return tokenize(tokenizer.get(), text, special);
  }();
  if (json) {
    print_json({{"ids", ids}});
    return;
  }
  std::string line;
  for (const int32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  print(line + "\n");
}

}  // namespace

Command tokenize_command() {
  OptionGroup output = general_options();
  output.options.push_back(quiet_option());
  return {"tokenize",
          "MODEL -f FILE [options]",
          "token ids of a text",
          "Prints the ids of a text, separated by spaces, as --ids of other commands reads them. "
          "MODEL may also be a folder that holds only tokenizer.json, or that file.",
          "  klens tokenize MODEL -p \"The river\"\n"
          "  klens tokenize MODEL -f book.txt --special > book.ids\n",
          {{"Text",
            {{"f,file", "FILE", "the text; - reads standard input"},
             {"p,prompt", "TEXT", "the text itself; - reads standard input"},
             {"special", "", "with the special tokens that the tokenizer adds, such as BOS"},
             {"m,model", "MODEL", "instead of the first argument"}}},
           output},
          run_tokenize};
}

}  // namespace klens::apps
