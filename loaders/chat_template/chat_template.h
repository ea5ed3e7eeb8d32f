#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace klens {

// The template in a checkpoint's tokenizer_config.json that turns messages into a prompt, rendered
// as the `transformers` package does: Jinja with trim_blocks, lstrip_blocks, {% generation %},
// raise_exception, strftime_now, tojson without HTML escapes, and what Python's texts, lists and
// dicts can do. One thing more: lists can be appended to.
//
// Own code because no package that our builds may use has a Jinja for C++. What it does not know
// (other templates, the filters random, urlize, pprint, wordwrap, striptags and xmlattr) is refused
// by name and line. Work, depth and sizes are limited, so that no template hangs or fills the
// memory.
class ChatTemplate {
 public:
  // `name` begins messages, with the line behind it. Throws Error.
  static ChatTemplate parse(std::string_view source, const std::string& name);

  // `context` is an object such as {"messages": [{"role": ..., "content": ...}],
  // "add_generation_prompt": true, "bos_token": ..., "eos_token": ...}. Throws Error, also where
  // the template raises an exception. May be called from several threads at once.
  std::string render(const nlohmann::json& context) const;

  // The same for a context that keeps the order of members: tools are printed in the order they are
  // given.
  std::string render_ordered(const nlohmann::ordered_json& context) const;

  struct Parsed;

 private:
  explicit ChatTemplate(std::shared_ptr<const Parsed> parsed);
  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace klens
