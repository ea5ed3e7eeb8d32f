#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace klens::apps {

class Arguments;

struct OptionSpec {
  // "n,predict": the short name first if there is one, then the long names. The first long name is
  // the option's name everywhere else, and KLENS_ARG_<NAME> sets it.
  const char* names;
  const char* value;  // what --help calls its value; "" for a flag
  std::string help;
};

struct OptionGroup {
  const char* title;
  std::vector<OptionSpec> options;
};

// A subcommand as data: what parses it, what --help prints and what runs it.
struct Command {
  const char* name;
  const char* usage;    // after the name: "MODEL -p TEXT [options]"
  const char* summary;  // one line for `klens --help`
  const char* about;    // paragraphs for `klens NAME --help`
  const char* examples;
  std::vector<OptionGroup> groups;
  void (*run)(const Arguments& arguments);
  bool shared = false;  // several processes may run it as one job: see ranks/team.h
};

// One per file in apps/commands/.
Command generate_command();
Command chat_command();
Command tokenize_command();
Command perplexity_command();
Command compare_command();
Command logits_command();
Command profile_command();
Command plan_command();
Command quantize_command();
Command sweep_command();
Command report_command();
Command inspect_command();
Command bench_command();
Command devices_command();
Command serve_command();

}  // namespace klens::apps
