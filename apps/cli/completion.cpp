#include "apps/cli/completion.h"

#include <sstream>

#include "apps/cli/error.h"

namespace klens::apps {
namespace {

// "-p", "--prompt" of "p,prompt".
std::vector<std::string> spelled_names(const OptionSpec& option) {
  std::vector<std::string> names;
  std::istringstream in(option.names);
  for (std::string name; std::getline(in, name, ',');)
    names.push_back((name.size() == 1 ? "-" : "--") + name);
  return names;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

std::vector<std::string> all_options(const Command& command) {
  std::vector<std::string> all;
  for (const OptionGroup& group : command.groups)
    for (const OptionSpec& option : group.options)
      for (const std::string& name : spelled_names(option)) all.push_back(name);
  return all;
}

std::string command_names(const std::vector<Command>& commands) {
  std::string names;
  for (const Command& command : commands) names += std::string(command.name) + " ";
  return names + "help";
}

// Where no word fits, bash completes file names by itself (-o default).
std::string for_bash(const std::vector<Command>& commands) {
  const std::string names = command_names(commands);
  std::string out =
      "# Completion of klens for bash. Made by: klens --completion bash\n"
      "_klens() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} words=\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    words='" +
      names +
      " --help --version --completion --man'\n"
      "  else\n"
      "    case ${COMP_WORDS[1]} in\n"
      "      help) words='" +
      names + "' ;;\n      --completion) words='bash zsh' ;;\n";
  for (const Command& command : commands)
    out += std::string("      ") + command.name + ") [[ $word == -* ]] && words='" +
           joined(all_options(command), " ") + "' ;;\n";
  return out +
         "    esac\n"
         "  fi\n"
         "  COMPREPLY=()\n"
         "  if [[ -n $words ]]; then\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
         "  fi\n"
         "}\n"
         "complete -o default -F _klens klens\n";
}

// Between single quotes, with what _arguments and _describe would read otherwise behind a
// backslash.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') out += "'\\'";
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

// '(-p --prompt)'{-p,--prompt}'[the text]:TEXT:_files'
std::string zsh_option(const OptionSpec& option) {
  const std::vector<std::string> names = spelled_names(option);
  const bool takes = option.value[0] != '\0';
  std::string line = "        ";
  if (names.size() == 1)
    line += "'" + names[0];
  else
    line += "'(" + joined(names, " ") + ")'{" + joined(names, ",") + "}'";
  line += "[" + zsh_text(option.help) + "]";
  if (takes) line += ":" + zsh_text(option.value) + ":_files";
  return line + "' \\\n";
}

std::string for_zsh(const std::vector<Command>& commands) {
  std::string out =
      "#compdef klens\n"
      "# Completion of klens for zsh. Made by: klens --completion zsh\n"
      "_klens() {\n"
      "  local -a commands\n"
      "  commands=(\n";
  for (const Command& command : commands)
    out += std::string("    '") + command.name + ":" + zsh_text(command.summary) + "'\n";
  out +=
      "    'help:the help of a command'\n"
      "    '--help:what commands there are'\n"
      "    '--version:the version and the instruction set in use'\n"
      "    '--completion:completion for a shell'\n"
      "    '--man:the manual page'\n"
      "  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $words[1] in\n"
      "    help) _describe command commands ;;\n"
      "    --completion) compadd bash zsh ;;\n";
  for (const Command& command : commands) {
    out += std::string("    ") + command.name + ")\n      _arguments \\\n";
    for (const OptionGroup& group : command.groups)
      for (const OptionSpec& option : group.options) out += zsh_option(option);
    out += "        '*:file:_files'\n      ;;\n";
  }
  return out + "  esac\n}\n_klens \"$@\"\n";
}

}  // namespace

std::string completion(const std::vector<Command>& commands, const std::string& shell) {
  if (shell == "bash") return for_bash(commands);
  if (shell == "zsh") return for_zsh(commands);
  throw UsageError("--completion takes bash or zsh, not '" + shell + "'");
}

}  // namespace klens::apps
