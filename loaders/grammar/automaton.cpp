#include "loaders/grammar/automaton.h"

#include <deque>
#include <map>
#include <tuple>

#include "base/error.h"
#include "loaders/grammar/nfa.h"

namespace klens::grammar {
namespace {

constexpr size_t kMostAutomatonStates = 1 << 18;
// From so many ranges on a table is faster.
constexpr size_t kFewRanges = 3;
constexpr size_t kMostRows = 1 << 14;

// Counted repetitions become rules behind those of the grammar.
struct CountedRules {
  struct Entry {
    NodeId body;
    uint32_t min, max;
  };
  std::vector<Entry> entries;
  std::map<std::tuple<NodeId, uint32_t, uint32_t>, RuleId> known;

  RuleId add(size_t rules, NodeId body, uint32_t min, uint32_t max) {
    const auto [at, added] =
        known.try_emplace({body, min, max}, static_cast<RuleId>(rules + entries.size()));
    if (added) entries.push_back({body, min, max});
    return at->second;
  }
};

// A body's automaton whose start accepts nothing and is never come back to: each time that the body
// is run takes a byte at least.
void begin_with_a_byte(RuleAutomaton& body) {
  if (!body.states[0].accepts) return;
  const auto old = static_cast<uint32_t>(body.states.size());
  body.states.push_back(body.states[0]);
  body.states[0].accepts = false;
  for (RuleAutomaton::State& state : body.states) {
    for (Dfa::Range& range : state.ranges)
      if (range.to == 0) range.to = old;
    for (auto& call : state.calls)
      if (call.second == 0) call.second = old;
  }
}

}  // namespace

Automaton::Automaton(const Grammar& grammar) : start_rule_(grammar.start) {
  const RuleFacts facts = find_facts(grammar);
  if (!facts.productive[grammar.start])
    throw Error(ErrorKind::kBadArgument,
                grammar.rules()[grammar.start].name + ": no finite text can meet it");
  accepts_nothing_ = facts.nullable[grammar.start];
  const size_t given = grammar.rules().size();
  CountedRules counted;
  const NfaContext context{
      .grammar = grammar, .facts = facts, .counted = [&](NodeId body, uint32_t min, uint32_t max) {
        return counted.add(given, body, min, max);
      }};
  for (RuleId rule = 0; rule < given + counted.entries.size(); ++rule) {
    rules_.push_back({.start = static_cast<uint32_t>(states_.size())});
    const bool own = rule < given;
    if (own && !facts.productive[rule]) continue;
    const std::string where = own ? grammar.rules()[rule].name : "a repetition";
    const NodeId body = own ? grammar.rules()[rule].body : counted.entries[rule - given].body;
    RuleAutomaton made = determinised(make_nfa(context, body, where), where);
    if (!own) {
      begin_with_a_byte(made);
      rules_[rule].min = counted.entries[rule - given].min;
      rules_[rule].max = counted.entries[rule - given].max;
    }
    add_states(rule, made);
  }
}

void Automaton::add_states(RuleId rule, const RuleAutomaton& made) {
  const auto first = static_cast<uint32_t>(states_.size());
  if (states_.size() + made.states.size() > kMostAutomatonStates)
    throw Error(ErrorKind::kUnsupported, "the grammar or schema is too large: more than " +
                                             std::to_string(kMostAutomatonStates) +
                                             " states; simplify it");
  const bool counts = rules_[rule].counted();
  for (const RuleAutomaton::State& of : made.states) {
    State state{.rule = rule,
                .ranges = static_cast<uint32_t>(ranges_.size()),
                .calls = static_cast<uint32_t>(calls_.size()),
                .range_count = static_cast<uint16_t>(of.ranges.size()),
                .call_count = static_cast<uint16_t>(of.calls.size()),
                .accepts = of.accepts,
                .plain = of.calls.empty() && !counts,
                .row = kNone};
    if (of.calls.size() > UINT16_MAX)
      throw Error(ErrorKind::kUnsupported,
                  "the grammar or schema has more than 65535 choices in "
                  "one place; simplify it");
    for (Dfa::Range range : of.ranges) {
      range.to += first;
      ranges_.push_back(range);
    }
    for (const auto& [called, to] : of.calls) {
      const RuleAutomaton::State& after = made.states[to];
      const bool last = !counts && after.accepts && after.ranges.empty() && after.calls.empty();
      calls_.push_back({called, first + to, last});
    }
    if (of.ranges.size() > kFewRanges && rows_.size() < kMostRows * 256) {
      state.row = static_cast<uint32_t>(rows_.size() / 256);
      rows_.resize(rows_.size() + 256, kNone);
      for (const Dfa::Range& range : of.ranges)
        for (int byte = range.first; byte <= range.last; ++byte)
          rows_[state.row * size_t{256} + static_cast<size_t>(byte)] = first + range.to;
    }
    states_.push_back(state);
  }
}

}  // namespace klens::grammar
