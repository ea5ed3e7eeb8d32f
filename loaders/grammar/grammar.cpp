#include "loaders/grammar/grammar.h"

#include <algorithm>
#include <functional>

#include "base/error.h"

namespace klens::grammar {
namespace {

constexpr size_t kMostNodes = 1 << 20;

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

// A node of a grammar that is put behind so many nodes and rules of another.
Node moved(Node node, NodeId nodes, RuleId rules) {
  const auto all = [&](std::vector<NodeId>& parts) {
    for (NodeId& part : parts) part += nodes;
  };
  std::visit(Overloaded{[](Text&) {}, [](ByteSet&) {}, [](Regular&) {},
                        [&](Sequence& of) { all(of.parts); }, [&](Choice& of) { all(of.parts); },
                        [&](Repeat& of) { of.body += nodes; }, [&](Call& of) { of.rule += rules; },
                        [&](List& of) {
                          of.separator += nodes;
                          for (List::Item& item : of.items) item.body += nodes;
                        }},
             node);
  return node;
}

void for_each_call(const Grammar& grammar, NodeId id, const std::function<void(RuleId)>& found) {
  const auto all = [&](const std::vector<NodeId>& parts) {
    for (const NodeId part : parts) for_each_call(grammar, part, found);
  };
  std::visit(Overloaded{[](const Text&) {}, [](const ByteSet&) {}, [](const Regular&) {},
                        [&](const Sequence& node) { all(node.parts); },
                        [&](const Choice& node) { all(node.parts); },
                        [&](const Repeat& node) { for_each_call(grammar, node.body, found); },
                        [&](const Call& node) { found(node.rule); },
                        [&](const List& node) {
                          for_each_call(grammar, node.separator, found);
                          for (const List::Item& item : node.items)
                            for_each_call(grammar, item.body, found);
                        }},
             grammar.node(id));
}

// The least set of rules such that a rule is in it wherever `holds` says so of its body.
std::vector<bool> least_set(const Grammar& grammar, const std::vector<std::vector<RuleId>>& callers,
                            const std::function<bool(NodeId, const std::vector<bool>&)>& holds) {
  std::vector<bool> in(grammar.rules().size());
  std::vector<RuleId> todo(in.size());
  for (RuleId rule = 0; rule < in.size(); ++rule) todo[rule] = rule;
  while (!todo.empty()) {
    const RuleId rule = todo.back();
    todo.pop_back();
    if (in[rule] || !holds(grammar.rules()[rule].body, in)) continue;
    in[rule] = true;
    todo.insert(todo.end(), callers[rule].begin(), callers[rule].end());
  }
  return in;
}

// Whether a list can be complete: what is required is possible, and enough is.
bool list_possible(const List& list, const std::function<bool(NodeId)>& possible) {
  size_t items = 0, separated = 0;
  bool any_number = false;
  for (const List::Item& item : list.items) {
    const bool can = possible(item.body);
    if (item.required && !can) return false;
    items += item.required || can ? 1 : 0;
    separated += item.required ? 1 : 0;
    any_number = any_number || (can && item.repeats);
  }
  const size_t needed = std::max<size_t>(separated, list.min);
  if (needed > list.max || (needed > items && !any_number)) return false;
  return needed < 2 || possible(list.separator);
}

}  // namespace

NodeId Grammar::add(Node node) {
  if (nodes_.size() >= kMostNodes)
    throw Error(ErrorKind::kUnsupported, "the grammar or schema is too large: more than " +
                                             std::to_string(kMostNodes) +
                                             " expressions; simplify it");
  nodes_.push_back(std::move(node));
  return static_cast<NodeId>(nodes_.size() - 1);
}

RuleId Grammar::include(const Grammar& other) {
  const auto nodes = static_cast<NodeId>(nodes_.size());
  const auto rules = static_cast<RuleId>(rules_.size());
  for (const Node& node : other.nodes_) add(moved(node, nodes, rules));
  for (const Rule& rule : other.rules_) add_rule(rule.name, rule.body + nodes);
  return rules + other.start;
}

bool productive(const Grammar& grammar, NodeId id, const std::vector<bool>& rules) {
  const auto of = [&](NodeId part) { return productive(grammar, part, rules); };
  return std::visit(
      Overloaded{
          [](const Text&) { return true; }, [](const ByteSet& node) { return node.bytes.any(); },
          [](const Regular& node) { return !node.dfa->empty(); },
          [&](const Sequence& node) {
            return std::all_of(node.parts.begin(), node.parts.end(), of);
          },
          [&](const Choice& node) { return std::any_of(node.parts.begin(), node.parts.end(), of); },
          [&](const Repeat& node) { return node.min == 0 || of(node.body); },
          [&](const Call& node) { return bool{rules[node.rule]}; },
          [&](const List& node) { return list_possible(node, of); }},
      grammar.node(id));
}

bool nullable(const Grammar& grammar, NodeId id, const std::vector<bool>& rules) {
  const auto of = [&](NodeId part) { return nullable(grammar, part, rules); };
  return std::visit(
      Overloaded{
          [](const Text& node) { return node.bytes.empty(); }, [](const ByteSet&) { return false; },
          [](const Regular& node) { return bool{node.dfa->states[0].accepts}; },
          [&](const Sequence& node) {
            return std::all_of(node.parts.begin(), node.parts.end(), of);
          },
          [&](const Choice& node) { return std::any_of(node.parts.begin(), node.parts.end(), of); },
          [&](const Repeat& node) { return node.min == 0 || of(node.body); },
          [&](const Call& node) { return bool{rules[node.rule]}; },
          // Items of lists are values of JSON, which are never empty.
          [&](const List& node) {
            return node.min == 0 &&
                   std::none_of(node.items.begin(), node.items.end(),
                                [](const List::Item& item) { return item.required; });
          }},
      grammar.node(id));
}

RuleFacts find_facts(const Grammar& grammar) {
  std::vector<std::vector<RuleId>> callers(grammar.rules().size());
  for (RuleId rule = 0; rule < callers.size(); ++rule)
    for_each_call(grammar, grammar.rules()[rule].body, [&](RuleId called) {
      if (callers[called].empty() || callers[called].back() != rule)
        callers[called].push_back(rule);
    });
  const auto facts = [&](auto test) {
    return least_set(grammar, callers, [&](NodeId body, const std::vector<bool>& rules) {
      return test(grammar, body, rules);
    });
  };
  return {.productive = facts(productive), .nullable = facts(nullable)};
}

}  // namespace klens::grammar
