#include "apps/cli/man_page.h"

#include <sstream>

#include "apps/cli/help.h"

namespace klens::apps {
namespace {

// As roff prints it unchanged: no backslash, dash or quote is read otherwise, and no line is a
// request.
std::string roff(const std::string& text) {
  std::string out;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) out += "\\&";
    line_begins = c == '\n';
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if (c == '\'')
      out += "\\(aq";
    else if (c == '`')
      out += "\\(ga";
    else if (c == '^')
      out += "\\(ha";
    else if (c == '~')
      out += "\\(ti";
    else
      out += c;
  }
  return out;
}

// Sentences end lines in roff; paragraphs are the lines of a text.
std::string paragraphs(const std::string& text) {
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    out += (out.empty() ? "" : ".PP\n") + roff(line) + "\n";
  }
  return out;
}

std::string as_it_stands(const std::string& text) {
  std::string lines = text;
  while (lines.ends_with('\n')) lines.pop_back();
  return ".PP\n.nf\n" + roff(lines) + "\n.fi\n";
}

// ".TP" and "-p, --prompt TEXT" in bold and italics.
std::string option_entry(const OptionSpec& option) {
  std::istringstream names(option.names);
  std::string label;
  for (std::string name; std::getline(names, name, ',');)
    label += (label.empty() ? "" : ", ") +
             ("\\fB" + roff((name.size() == 1 ? "-" : "--") + name) + "\\fR");
  if (option.value[0] != '\0') label += " \\fI" + roff(option.value) + "\\fR";
  std::string help = option.help;
  for (char& c : help)
    if (c == '\n') c = ' ';
  return ".TP\n" + label + "\n" + roff(help) + "\n";
}

std::string command_section(const Command& command) {
  std::string out = ".SS \"klens " + roff(command.name) + "\"\n" + roff(command.summary) + ".\n";
  out += ".PP\n\\fBklens " + roff(command.name) + "\\fR " + roff(command.usage) + "\n";
  out += ".PP\n" + paragraphs(command.about);
  for (const OptionGroup& group : command.groups) {
    out += std::string(".PP\n") + roff(group.title) + ":\n";
    for (const OptionSpec& option : group.options) out += option_entry(option);
  }
  return out + ".PP\nExamples:\n" + as_it_stands(command.examples);
}

}  // namespace

std::string man_page(const std::vector<Command>& commands, const std::string& version) {
  std::string out = ".TH KLENS 1 \"\" \"klens " + version + "\" \"User Commands\"\n";
  out += ".SH NAME\nklens \\- run, measure and quantise language models\n";
  out += ".SH SYNOPSIS\n\\fBklens\\fR \\fICOMMAND\\fR \\fIMODEL\\fR [\\fIoptions\\fR]\n";
  out += ".SH DESCRIPTION\n" + paragraphs(program_about());
  out += ".SH COMMANDS\n";
  for (const Command& command : commands) out += command_section(command);
  out += ".SH ENVIRONMENT\n" + paragraphs(environment_about());
  out += ".SH EXIT STATUS\n0: done. 1: failed. 2: called wrongly.\n";
  return out;
}

}  // namespace klens::apps
