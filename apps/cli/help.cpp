#include "apps/cli/help.h"

#include <sstream>

#include "apps/cli/output.h"

namespace klens::apps {
namespace {

constexpr size_t kHelpColumn = 28;

// The words of text in lines of at most kLineColumns, each after the first indented; `column` is
// where the first line stands already. A newline in text starts a new line.
std::string wrapped(const std::string& text, size_t indent, size_t column) {
  std::string out;
  std::istringstream lines(text);
  bool first_line = true;
  for (std::string line; std::getline(lines, line);) {
    if (!first_line) {
      out += "\n" + (line.empty() ? "" : std::string(indent, ' '));
      column = indent;
    }
    first_line = false;
    std::istringstream words(line);
    bool first_word = true;
    for (std::string word; words >> word;) {
      if (!first_word && column + 1 + word.size() > kLineColumns) {
        out += "\n" + std::string(indent, ' ');
        column = indent;
      } else if (!first_word) {
        out += " ";
        ++column;
      }
      out += word;
      column += word.size();
      first_word = false;
    }
  }
  return out;
}

// "  -n, --predict N"
std::string option_label(const OptionSpec& option) {
  std::istringstream names(option.names);
  std::string label, name;
  while (std::getline(names, name, ',')) {
    if (name.size() == 1) {
      label = "  -" + name + ", ";
    } else {
      if (label.empty()) label = "      ";
      label += "--" + name;
      break;
    }
  }
  if (option.value[0] != '\0') label += std::string(" ") + option.value;
  return label;
}

std::string option_help(const OptionSpec& option) {
  std::string line = option_label(option);
  if (line.size() + 2 > kHelpColumn) {
    line += "\n" + std::string(kHelpColumn, ' ');
  } else {
    line.resize(kHelpColumn, ' ');
  }
  return line + wrapped(option.help, kHelpColumn, kHelpColumn) + "\n";
}

}  // namespace

std::string program_about() {
  return "klens runs and quantises language models: Mamba, Mamba-2, hybrids of them with attention "
         "(Jamba, Zamba, Bamba, Granite 4, Falcon-H1, Nemotron-H, Hymba), and attention alone "
         "(Llama, Mistral, Qwen).\n"
         "MODEL is a checkpoint folder (config.json, *.safetensors or pytorch_model*.bin, "
         "tokenizer.json), a .gguf file, or a .klens file that `klens quantize` wrote.\n";
}

std::string environment_about() {
  return "KLENS_ARG_<NAME> sets an option, as in KLENS_ARG_THREADS=4; the command line wins. An "
         "empty variable counts as not set.\n";
}

std::string program_help(const std::vector<Command>& commands) {
  std::string out =
      "klens - run, measure and quantise language models\n\n"
      "Usage: klens COMMAND MODEL [options]\n\n" +
      wrapped(program_about(), 0, 0) + "\n\nCommands:\n";
  for (const Command& command : commands) {
    std::string line = std::string("  ") + command.name;
    line.resize(14, ' ');
    out += line + wrapped(command.summary, 14, 14) + "\n";
  }
  out +=
      "\n`klens COMMAND --help` lists a command's options with examples, `klens --version`\n"
      "the version and the instruction set in use, `klens --completion bash` (or zsh)\n"
      "completion for a shell, `klens --man` the manual page.\n\n"
      "Results go to standard output, everything else to standard error; --json prints\n"
      "one JSON object. Exit code 0: done, 1: failed, 2: called wrongly.\n";
  return out;
}

std::string command_help(const Command& command) {
  std::string out = std::string("klens ") + command.name + " - " + command.summary + "\n\n";
  out += wrapped(std::string("Usage: klens ") + command.name + " " + command.usage, 7, 0) + "\n\n";
  out += wrapped(command.about, 0, 0) + "\n";
  for (const OptionGroup& group : command.groups) {
    out += std::string("\n") + group.title + ":\n";
    for (const OptionSpec& option : group.options) out += option_help(option);
  }
  out += "\n" + wrapped("Environment: " + environment_about(), 0, 0) + "\n";
  return out + "\nExamples:\n" + command.examples;
}

}  // namespace klens::apps
