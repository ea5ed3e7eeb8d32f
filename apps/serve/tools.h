#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "apps/serve/fields.h"

namespace klens::apps {

// The functions that a request offers to the model, as OpenAI and chat templates list them.
class Tools {
 public:
  Tools() = default;
  // list: [{"type":"function","function":{"name","description","parameters"}}]. Throws ApiError.
  explicit Tools(const Json& list);

  bool empty() const { return list_.empty(); }
  const Json& list() const { return list_; }
  bool has(const std::string& name) const { return function(name) != nullptr; }
  // The JSON type that a parameter is declared to have; "" where it is not said.
  std::string type_of(const std::string& name, const std::string& parameter) const;

 private:
  const Json* function(const std::string& name) const;  // null where there is none
  Json list_ = Json::array();
};

// Which of a request's tools may be called, and whether one must be.
struct ToolChoice {
  Tools tools;
  bool required = false;
};
// By tool_choice: auto, none, required, or one by its name. Throws ApiError.
ToolChoice read_tool_choice(const Tools& tools, const Fields& fields);

struct ToolCall {
  std::string name;
  Json arguments;  // an object
};

// How models of one kind write their calls.
struct ToolStyle {
  const char* name;
  const char* open;   // what calls begin with, in the answer's text
  const char* close;  // what ends them; "": the end of the answer
  // The calls in what stands between; none where it is not a whole call of these tools. closed:
  // whether `close` came, which models may leave out at the end of an answer.
  std::vector<ToolCall> (*parse)(std::string_view inside, const Tools& tools, bool closed);
  // What stands before a call's name as these models usually write it: {"name": " of JSON, or what
  // name(key=value) has before it. Null: there is no one way.
  const char* before;
};

// All of them: they begin differently, so that nobody needs to know which a model was taught.
const std::vector<ToolStyle>& tool_styles();

// Calls as bare JSON, as Llama 3 writes them: {"name":...,"parameters":{...}} and no more.
std::vector<ToolCall> parse_bare_calls(std::string_view text, const Tools& tools);
// Whether text may be the beginning of such calls.
bool begins_bare_call(std::string_view text);

}  // namespace klens::apps
