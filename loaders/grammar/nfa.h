#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "loaders/grammar/grammar.h"

namespace klens::grammar {

// Automata of a rule's body: bytes and calls of other rules lead from state to state.
struct Nfa {
  struct State {
    std::vector<Dfa::Range> ranges;
    std::vector<uint32_t> empty;  // where nothing leads
    std::vector<std::pair<RuleId, uint32_t>> calls;
  };
  std::vector<State> states;  // 0 is the start
  uint32_t end = 0;
};

// One in which bytes and calls each lead to one state at most. Every state can reach an accepting
// one, but for a start that cannot.
struct RuleAutomaton {
  struct State {
    std::vector<Dfa::Range> ranges;
    std::vector<std::pair<RuleId, uint32_t>> calls;
    bool accepts = false;
  };
  std::vector<State> states;  // 0 is the start
};

// What an expression needs to know of the rules around it.
struct NfaContext {
  const Grammar& grammar;
  const RuleFacts& facts;
  // A rule for a part that is repeated so often that it is counted rather than written out; none:
  // everything is written out.
  std::function<RuleId(NodeId body, uint32_t min, uint32_t max)> counted = nullptr;
};

// Throw Error where there are too many states; `where` names the rule.
Nfa make_nfa(const NfaContext& context, NodeId node, const std::string& where);
RuleAutomaton determinised(const Nfa& nfa, const std::string& where);

// Of an expression without calls.
Dfa make_dfa(const Grammar& grammar, NodeId node, const std::string& where);

}  // namespace klens::grammar
