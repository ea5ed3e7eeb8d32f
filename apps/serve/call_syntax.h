#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/serve/tools.h"

namespace klens::apps {

// How a chat template writes a call of a tool:
//   <tool_call>\n{"name": "get_weather", "arguments": {"place": "Paris"}}\n</tool_call>
//   marker     before       name       between              arguments   after
struct CallSyntax {
  enum class Arguments { kJson, kTags, kPython };  // {...}, <parameter=place>..., place="Paris"
  std::string marker;                              // "": there is none
  std::string before, between, after;  // after: what is needed for the parser to take it
  Arguments arguments = Arguments::kJson;
  // Of tags, what stands around a value, behind <parameter=NAME.
  std::string open_value = ">\n", close_value = "\n</parameter>\n";
};

// A call that a template is made to write, so that its parts are found again.
Json probe_call();
// The syntax of text that a template wrote of it, an answer; nothing where that is none of ours.
std::optional<CallSyntax> syntax_of(std::string_view written);

// For templates that write no calls: the usual form of the style whose marker the prompt tells of,
// as it describes the tools, or that stands in the vocabulary; else bare JSON, which is a call in
// every style. known: the styles' markers that are single tokens.
CallSyntax usual_syntax(std::string_view prompt, const std::vector<std::string>& known);

// What an answer must be that is one call of these tools, from the end of `opening` on: a grammar
// as klens_grammar_new takes it. The opening is the marker, or more of the call where more of it is
// certain and has special tokens, which no grammar writes.
struct CallGrammar {
  std::string opening, gbnf;
};
// Bare JSON where the syntax cannot hold the names of these tools or of their parameters.
CallGrammar grammar_of_call(const CallSyntax& syntax, const Tools& tools);

}  // namespace klens::apps
