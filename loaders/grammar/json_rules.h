#pragma once
#include <optional>

#include "loaders/grammar/characters.h"
#include "loaders/grammar/grammar.h"

namespace klens::grammar {

// The rules of JSON itself in a grammar, each made when first asked for. Within brackets and behind
// commas there may be nothing, a space, or a line break with up to 20 spaces or tabs to indent by,
// behind a colon nothing or a space: small models lose themselves in more. Numbers have at most 16
// digits before and behind the point and stay within what a double holds.
class JsonRules {
 public:
  explicit JsonRules(Grammar& grammar) : grammar_(grammar) {}

  NodeId space();  // within brackets and behind commas
  NodeId value();
  NodeId object();
  NodeId array();
  NodeId string();  // with any escapes but halves of surrogate pairs
  NodeId number();
  NodeId integer();

  // Of the texts as they stand in a string: a string.
  NodeId quoted(NodeId inside);
  // One character of a string, written in the one way of json_character.
  NodeId any_character();
  NodeId comma();
  NodeId member(NodeId key, NodeId value);
  NodeId object_of(const List& members);
  NodeId array_of(NodeId items);

 private:
  // Calls the rule, which is made by `make` first if it is not there.
  template <class Make>
  NodeId shared(std::optional<RuleId>& rule, const char* name, const Make& make);
  NodeId digits(uint32_t min, uint32_t max);

  Grammar& grammar_;
  std::optional<RuleId> space_, value_, object_, array_, string_, number_, integer_;
};

}  // namespace klens::grammar
