#include "loaders/grammar/nfa.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace klens::grammar {
namespace {

constexpr size_t kMostNfaStates = 1 << 18, kMostStateSets = 1 << 15, kMostMembers = 1 << 21;
// What a repetition may take written out, and a rule that is put in place of its call.
constexpr size_t kWrittenOut = 1024, kInlined = 12;

[[noreturn]] void fail_to_fit(const std::string& where, size_t most) {
  throw Error(ErrorKind::kUnsupported, where + ": makes an automaton of more than " +
                                           std::to_string(most) +
                                           " states; use smaller repetitions or a simpler pattern");
}

class Builder {
 public:
  Builder(const NfaContext& context, const std::string& where) : context_(context), where_(where) {}

  Nfa build(NodeId node) {
    const uint32_t start = state();
    nfa_.end = add(node, start);
    return std::move(nfa_);
  }

 private:
  uint32_t state() {
    if (nfa_.states.size() >= kMostNfaStates) fail_to_fit(where_, kMostNfaStates);
    nfa_.states.emplace_back();
    return static_cast<uint32_t>(nfa_.states.size() - 1);
  }
  void empty(uint32_t from, uint32_t to) { nfa_.states[from].empty.push_back(to); }
  void range(uint32_t from, uint8_t first, uint8_t last, uint32_t to) {
    nfa_.states[from].ranges.push_back({first, last, to});
  }

  // Adds what the node stands for behind `from`; returns where it ends.
  uint32_t add(NodeId id, uint32_t from) {
    return std::visit([&](const auto& node) { return add(node, from); }, context_.grammar.node(id));
  }

  uint32_t add(const Text& node, uint32_t from) {
    for (const char c : node.bytes) {
      const uint32_t to = state();
      range(from, static_cast<uint8_t>(c), static_cast<uint8_t>(c), to);
      from = to;
    }
    return from;
  }

  uint32_t add(const ByteSet& node, uint32_t from) {
    const uint32_t to = state();
    for (int first = 0; first < 256; ++first) {
      if (!node.bytes[static_cast<size_t>(first)]) continue;
      int last = first;
      while (last < 255 && node.bytes[static_cast<size_t>(last) + 1]) ++last;
      range(from, static_cast<uint8_t>(first), static_cast<uint8_t>(last), to);
      first = last;
    }
    return to;
  }

  uint32_t add(const Sequence& node, uint32_t from) {
    for (const NodeId part : node.parts) from = add(part, from);
    return from;
  }

  uint32_t add(const Choice& node, uint32_t from) {
    const uint32_t end = state();
    for (const NodeId part : node.parts) {
      // A part may come back to where it begins: that must not be where the others do.
      const uint32_t begin = state();
      empty(from, begin);
      empty(add(part, begin), end);
    }
    return end;
  }

  uint32_t add(const Repeat& node, uint32_t from) {
    const Grammar& grammar = context_.grammar;
    if (!productive(grammar, node.body, context_.facts.productive))
      return node.min == 0 ? from : state();
    const bool unlimited = node.max == kNoLimit;
    uint32_t at = from;
    const uint32_t most = unlimited ? node.min : node.max;
    if (most > 1 && context_.counted && size(node.body) * most > kWrittenOut)
      at = add_counted(node.body, node.min, most, at);
    else
      at = add_copies(node.body, node.min, most, at);
    if (!unlimited) return at;
    const uint32_t loop = state();
    empty(at, loop);
    const uint32_t begin = state();
    empty(loop, begin);
    empty(add(node.body, begin), loop);
    return loop;
  }

  uint32_t add_copies(NodeId body, uint32_t min, uint32_t max, uint32_t from) {
    std::vector<uint32_t> ends;
    for (uint32_t i = 0; i < max; ++i) {
      if (i >= min) ends.push_back(from);
      const uint32_t begin = state();
      empty(from, begin);
      from = add(body, begin);
    }
    if (ends.empty()) return from;
    const uint32_t end = state();
    ends.push_back(from);
    for (const uint32_t at : ends) empty(at, end);
    return end;
  }

  uint32_t add_counted(NodeId body, uint32_t min, uint32_t max, uint32_t from) {
    const bool empties = nullable(context_.grammar, body, context_.facts.nullable);
    return add_call(context_.counted(body, empties ? 1 : std::max<uint32_t>(min, 1), max),
                    empties || min == 0, from);
  }

  uint32_t add_call(RuleId rule, bool empties, uint32_t from) {
    const uint32_t to = state();
    nfa_.states[from].calls.emplace_back(rule, to);
    if (empties) empty(from, to);
    return to;
  }

  uint32_t add(const Call& node, uint32_t from) {
    if (!context_.facts.productive[node.rule]) return state();
    const NodeId body = context_.grammar.rules()[node.rule].body;
    if (size(body) <= kInlined) return add(body, from);
    return add_call(node.rule, context_.facts.nullable[node.rule], from);
  }

  uint32_t add(const Regular& node, uint32_t from) {
    std::vector<uint32_t> numbers;
    for (size_t i = 0; i < node.dfa->states.size(); ++i) numbers.push_back(state());
    const uint32_t end = state();
    empty(from, numbers[0]);
    for (size_t i = 0; i < numbers.size(); ++i) {
      for (const Dfa::Range& r : node.dfa->states[i].ranges)
        range(numbers[i], r.first, r.last, numbers[r.to]);
      if (node.dfa->states[i].accepts) empty(numbers[i], end);
    }
    return end;
  }

  // A grid of how many items are past and how many of them were there; where neither bound matters
  // any more, what is more is counted no further.
  uint32_t add(const List& node, uint32_t from) {
    const size_t limit = node.max == kNoLimit ? std::max<size_t>(node.min, 1) : node.max;
    if (limit >= kMostNfaStates) fail_to_fit(where_, kMostNfaStates);
    std::vector<uint32_t> row(limit + 1, UINT32_MAX);  // by how many there were
    row[0] = from;
    for (const List::Item& item : node.items) row = add_item(node, item, row);
    const uint32_t end = state();
    for (size_t count = node.min; count <= limit; ++count)
      if (row[count] != UINT32_MAX) empty(row[count], end);
    return end;
  }

  std::vector<uint32_t> add_item(const List& list, const List::Item& item,
                                 const std::vector<uint32_t>& row) {
    const size_t limit = row.size() - 1;
    std::vector<uint32_t> after(row.size(), UINT32_MAX);
    const auto reach = [&](size_t count) {
      if (after[count] == UINT32_MAX) after[count] = state();
      return after[count];
    };
    const bool can = productive(context_.grammar, item.body, context_.facts.productive);
    for (size_t count = 0; count <= limit; ++count) {
      if (row[count] == UINT32_MAX && !(item.repeats && after[count] != UINT32_MAX)) continue;
      if (row[count] != UINT32_MAX && !item.required) empty(row[count], reach(count));
      const bool full = count == limit && list.max != kNoLimit;
      if (!can || full) continue;
      const uint32_t begin = state();
      if (row[count] != UINT32_MAX) separate(list, count, row[count], begin);
      if (item.repeats && after[count] != UINT32_MAX) separate(list, count, after[count], begin);
      const uint32_t end = reach(std::min(count + 1, limit));
      empty(add(item.body, begin), end);
      // The last count stands for all above it.
      if (item.repeats && count == limit) separate(list, count, end, begin);
    }
    return after;
  }

  void separate(const List& list, size_t count, uint32_t from, uint32_t to) {
    empty(count == 0 ? from : add(list.separator, from), to);
  }

  // About how many states a node takes; a call counts as too many to be put in place of one.
  size_t size(NodeId id) const {
    struct Visit {
      const Builder& builder;
      size_t all(const std::vector<NodeId>& parts) const {
        size_t total = 1;
        for (const NodeId part : parts)
          total = std::min(total + builder.size(part), kMostNfaStates);
        return total;
      }
      size_t operator()(const Text& node) const { return node.bytes.size(); }
      size_t operator()(const ByteSet&) const { return 1; }
      size_t operator()(const Sequence& node) const { return all(node.parts); }
      size_t operator()(const Choice& node) const { return all(node.parts) + node.parts.size(); }
      size_t operator()(const Repeat& node) const {
        const size_t times = node.max == kNoLimit ? node.min + 1 : node.max;
        return std::min((builder.size(node.body) + 1) * std::min(times, kMostNfaStates),
                        kMostNfaStates);
      }
      size_t operator()(const Call&) const { return kInlined + 1; }
      size_t operator()(const Regular& node) const { return node.dfa->states.size(); }
      size_t operator()(const List& node) const {
        size_t total = kInlined + 1;
        for (const List::Item& item : node.items)
          total = std::min(total + builder.size(item.body), kMostNfaStates);
        return total;
      }
    };
    return std::visit(Visit{*this}, context_.grammar.node(id));
  }

  const NfaContext& context_;
  const std::string& where_;
  Nfa nfa_;
};

// The subset construction.
class Subsets {
 public:
  Subsets(const Nfa& nfa, const std::string& where)
      : nfa_(nfa), where_(where), seen_(nfa.states.size()) {}

  RuleAutomaton run() {
    state_of({0});
    for (size_t i = 0; i < made_.states.size(); ++i) expand(i);
    return std::move(made_);
  }

 private:
  // That of some members, with all that nothing leads to from them.
  uint32_t state_of(std::vector<uint32_t> members) {
    std::sort(members.begin(), members.end());
    const auto seen = by_targets_.find(members);
    if (seen != by_targets_.end()) return seen->second;
    std::vector<uint32_t> closed = members;
    close(closed);
    return by_targets_[std::move(members)] = state_of_closed(std::move(closed));
  }

  uint32_t state_of_closed(std::vector<uint32_t> members) {
    const auto [at, added] =
        known_.try_emplace(std::move(members), static_cast<uint32_t>(made_.states.size()));
    if (!added) return at->second;
    members_ += at->first.size();
    if (made_.states.size() >= kMostStateSets || members_ > kMostMembers)
      fail_to_fit(where_, kMostStateSets);
    RuleAutomaton::State state;
    state.accepts = std::binary_search(at->first.begin(), at->first.end(), nfa_.end);
    made_.states.push_back(std::move(state));
    sets_.push_back(&at->first);
    return at->second;
  }

  // With all that nothing leads to; in order. States that only lead on by nothing are left out.
  void close(std::vector<uint32_t>& members) {
    ++round_;
    std::vector<uint32_t> todo = std::move(members);
    members.clear();
    while (!todo.empty()) {
      const uint32_t state = todo.back();
      todo.pop_back();
      if (seen_[state] == round_) continue;
      seen_[state] = round_;
      const Nfa::State& of = nfa_.states[state];
      if (!of.ranges.empty() || !of.calls.empty() || state == nfa_.end) members.push_back(state);
      todo.insert(todo.end(), of.empty.begin(), of.empty.end());
    }
    std::sort(members.begin(), members.end());
  }

  void expand(size_t index) {
    std::vector<Dfa::Range> all;
    std::map<RuleId, std::vector<uint32_t>> calls;
    std::vector<int> at;
    for (const uint32_t member : *sets_[index]) {
      const Nfa::State& of = nfa_.states[member];
      for (const Dfa::Range& range : of.ranges) {
        all.push_back(range);
        at.push_back(range.first);
        at.push_back(range.last + 1);
      }
      for (const auto& [rule, to] : of.calls) calls[rule].push_back(to);
    }
    std::sort(at.begin(), at.end());
    at.erase(std::unique(at.begin(), at.end()), at.end());
    std::vector<Dfa::Range> ranges;
    for (size_t i = 0; i + 1 < at.size(); ++i) {
      std::vector<uint32_t> targets;
      for (const Dfa::Range& range : all)
        if (range.first <= at[i] && at[i] <= range.last) targets.push_back(range.to);
      if (targets.empty()) continue;
      const uint32_t to = state_of(std::move(targets));
      const auto first = static_cast<uint8_t>(at[i]), last = static_cast<uint8_t>(at[i + 1] - 1);
      if (!ranges.empty() && ranges.back().to == to && ranges.back().last + 1 == first)
        ranges.back().last = last;
      else
        ranges.push_back({first, last, to});
    }
    std::vector<std::pair<RuleId, uint32_t>> called;
    for (auto& [rule, to] : calls) called.emplace_back(rule, state_of(std::move(to)));
    made_.states[index].ranges = std::move(ranges);
    made_.states[index].calls = std::move(called);
  }

  const Nfa& nfa_;
  const std::string& where_;
  RuleAutomaton made_;
  std::map<std::vector<uint32_t>, uint32_t> known_, by_targets_;  // the latter before closing
  std::vector<const std::vector<uint32_t>*> sets_;                // of each state: keys of `known_`
  size_t members_ = 0;                                            // of all sets
  std::vector<uint32_t> seen_;                                    // the last round that met a state
  uint32_t round_ = 0;
};

// Drops what cannot reach an end.
void trim_dead(RuleAutomaton& automaton) {
  const size_t count = automaton.states.size();
  std::vector<std::vector<uint32_t>> into(count);
  std::vector<uint32_t> todo;
  std::vector<bool> alive(count);
  for (uint32_t i = 0; i < count; ++i) {
    for (const Dfa::Range& range : automaton.states[i].ranges) into[range.to].push_back(i);
    for (const auto& call : automaton.states[i].calls) into[call.second].push_back(i);
    if (automaton.states[i].accepts) todo.push_back(i);
  }
  while (!todo.empty()) {
    const uint32_t state = todo.back();
    todo.pop_back();
    if (alive[state]) continue;
    alive[state] = true;
    todo.insert(todo.end(), into[state].begin(), into[state].end());
  }
  for (RuleAutomaton::State& state : automaton.states) {
    std::erase_if(state.ranges, [&](const Dfa::Range& range) { return !alive[range.to]; });
    std::erase_if(state.calls, [&](const auto& call) { return !alive[call.second]; });
  }
}

}  // namespace

Nfa make_nfa(const NfaContext& context, NodeId node, const std::string& where) {
  return Builder(context, where).build(node);
}

RuleAutomaton determinised(const Nfa& nfa, const std::string& where) {
  RuleAutomaton automaton = Subsets(nfa, where).run();
  trim_dead(automaton);
  return automaton;
}

Dfa make_dfa(const Grammar& grammar, NodeId node, const std::string& where) {
  const RuleFacts none;
  const NfaContext context{.grammar = grammar, .facts = none};
  const RuleAutomaton automaton = determinised(make_nfa(context, node, where), where);
  Dfa dfa;
  for (const RuleAutomaton::State& state : automaton.states)
    dfa.states.push_back({state.ranges, state.accepts});
  trim(dfa);
  return minimised(dfa);
}

}  // namespace klens::grammar
