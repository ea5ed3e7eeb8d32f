#pragma once
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "loaders/grammar/dfa.h"

namespace klens::grammar {

using NodeId = uint32_t;
using RuleId = uint32_t;
inline constexpr uint32_t kNoLimit = UINT32_MAX;

// The expressions that rules are made of. Several nodes may share a part.
struct Text {
  std::string bytes;
};
struct ByteSet {
  std::bitset<256> bytes;
};
struct Sequence {
  std::vector<NodeId> parts;  // none: the empty text
};
struct Choice {
  std::vector<NodeId> parts;  // none: no text at all
};
struct Repeat {
  NodeId body;
  uint32_t min, max;  // times; max: kNoLimit for any number
};
struct Call {
  RuleId rule;
};
struct Regular {
  std::shared_ptr<const Dfa> dfa;
};
// Items in this order with separators between those that are there: an object's properties.
struct List {
  struct Item {
    NodeId body;
    bool required, repeats;  // repeats: any number of times, each behind a separator
  };
  std::vector<Item> items;
  NodeId separator;
  uint32_t min, max;  // how many there are in all
};
using Node = std::variant<Text, ByteSet, Sequence, Choice, Repeat, Call, Regular, List>;

// A context-free grammar over bytes. Rules may refer to each other in any way.
class Grammar {
 public:
  struct Rule {
    std::string name;  // for messages
    NodeId body;
  };

  NodeId text(std::string_view bytes) { return add(Text{std::string(bytes)}); }
  NodeId bytes(const std::bitset<256>& set) { return add(ByteSet{set}); }
  NodeId sequence(std::vector<NodeId> parts) { return add(Sequence{std::move(parts)}); }
  NodeId choice(std::vector<NodeId> parts) { return add(Choice{std::move(parts)}); }
  NodeId repeat(NodeId body, uint32_t min, uint32_t max) { return add(Repeat{body, min, max}); }
  NodeId optional(NodeId body) { return repeat(body, 0, 1); }
  NodeId call(RuleId rule) { return add(Call{rule}); }
  NodeId regular(Dfa dfa) { return add(Regular{std::make_shared<const Dfa>(std::move(dfa))}); }
  NodeId list(List list) { return add(std::move(list)); }

  // A rule may be called before its body is known.
  RuleId add_rule(std::string name, NodeId body = 0) {
    rules_.push_back({std::move(name), body});
    return static_cast<RuleId>(rules_.size() - 1);
  }
  // All rules of another, which call each other as they did; returns the one it starts with.
  RuleId include(const Grammar& other);
  void define(RuleId rule, NodeId body) { rules_[rule].body = body; }

  const Node& node(NodeId id) const { return nodes_[id]; }
  const std::vector<Rule>& rules() const { return rules_; }
  RuleId start = 0;

 private:
  // Throws Error where there are too many.
  NodeId add(Node node);

  std::vector<Node> nodes_;
  std::vector<Rule> rules_;
};

// By rule: whether some text is derived from it at all, and whether the empty one is.
struct RuleFacts {
  std::vector<bool> productive, nullable;
};
RuleFacts find_facts(const Grammar& grammar);
bool productive(const Grammar& grammar, NodeId node, const std::vector<bool>& rules);
bool nullable(const Grammar& grammar, NodeId node, const std::vector<bool>& rules);

}  // namespace klens::grammar
