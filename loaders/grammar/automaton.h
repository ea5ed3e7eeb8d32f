#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "loaders/grammar/grammar.h"

namespace klens::grammar {

// All rules of a grammar as automata over bytes that call each other, laid out to be run.
class Automaton {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Rule {
    uint32_t start;
    // A counted rule is its body min to max times; its states are the body's, and the item that
    // runs it counts. Others: 0, 0.
    uint32_t min = 0, max = 0;
    bool counted() const { return max != 0; }
  };
  struct CallEdge {
    RuleId rule;
    uint32_t to;
    bool last;  // nothing follows but the end of the calling rule
  };
  struct State {
    RuleId rule;
    uint32_t ranges, calls;  // where its own begin
    uint16_t range_count, call_count;
    bool accepts;
    bool plain;    // no calls, and not counted: one byte leads to one state
    uint32_t row;  // in a table by byte, for states of many ranges; kNone: there is none
  };

  // Throws Error naming the rule for a grammar from which no text can be derived, and where there
  // are too many states.
  explicit Automaton(const Grammar& grammar);

  const std::vector<Rule>& rules() const { return rules_; }
  RuleId start_rule() const { return start_rule_; }
  bool accepts_nothing() const { return accepts_nothing_; }  // the empty text is in the language
  const State& state(uint32_t id) const { return states_[id]; }
  size_t states() const { return states_.size(); }
  std::span<const CallEdge> calls(const State& state) const {
    return std::span(calls_).subspan(state.calls, state.call_count);
  }
  // kNone: the byte leads nowhere.
  uint32_t next(const State& state, uint8_t byte) const {
    if (state.row != kNone) return rows_[state.row * size_t{256} + byte];
    for (uint32_t i = state.ranges; i < state.ranges + state.range_count; ++i)
      if (byte >= ranges_[i].first && byte <= ranges_[i].last) return ranges_[i].to;
    return kNone;
  }

 private:
  void add_states(RuleId rule, const struct RuleAutomaton& made);

  std::vector<Rule> rules_;
  RuleId start_rule_ = 0;
  bool accepts_nothing_ = false;
  std::vector<State> states_;
  std::vector<Dfa::Range> ranges_;
  std::vector<CallEdge> calls_;
  std::vector<uint32_t> rows_;  // [rows][256]
};

}  // namespace klens::grammar
