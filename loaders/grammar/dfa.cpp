#include "loaders/grammar/dfa.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "base/error.h"

namespace klens::grammar {
namespace {

constexpr size_t kMostDfaStates = 1 << 16;
constexpr uint32_t kNoState = UINT32_MAX;

uint32_t next(const Dfa& dfa, uint32_t state, uint8_t byte) {
  if (state == kNoState) return kNoState;
  for (const Dfa::Range& range : dfa.states[state].ranges)
    if (byte >= range.first && byte <= range.last) return range.to;
  return kNoState;
}

// Where either state's ranges begin, and 256.
std::vector<int> boundaries(const Dfa& a, uint32_t s, const Dfa& b, uint32_t t) {
  std::vector<int> at = {0, 256};
  const auto add = [&](const Dfa& dfa, uint32_t state) {
    if (state == kNoState) return;
    for (const Dfa::Range& range : dfa.states[state].ranges) {
      at.push_back(range.first);
      at.push_back(range.last + 1);
    }
  };
  add(a, s);
  add(b, t);
  std::sort(at.begin(), at.end());
  at.erase(std::unique(at.begin(), at.end()), at.end());
  return at;
}

// The product over pairs of states; the second may be none where texts outside `b` count.
Dfa product(const Dfa& a, const Dfa& b, bool outside, const std::string& where) {
  Dfa made;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> known;
  std::deque<std::pair<uint32_t, uint32_t>> todo;
  const auto state_of = [&](uint32_t s, uint32_t t) {
    const auto [at, added] = known.try_emplace({s, t}, static_cast<uint32_t>(made.states.size()));
    if (added) {
      if (made.states.size() >= kMostDfaStates)
        throw Error(ErrorKind::kUnsupported,
                    where + ": its constraints together make an automaton of more than " +
                        std::to_string(kMostDfaStates) + " states; drop or simplify one of them");
      const bool in_b = t != kNoState && b.states[t].accepts;
      made.states.push_back({.ranges = {}, .accepts = a.states[s].accepts && in_b != outside});
      todo.emplace_back(s, t);
    }
    return at->second;
  };
  state_of(0, 0);
  for (uint32_t from = 0; !todo.empty(); ++from) {
    const auto [s, t] = todo.front();
    todo.pop_front();
    const std::vector<int> at = boundaries(a, s, b, t);
    std::vector<Dfa::Range> ranges;
    for (size_t i = 0; i + 1 < at.size(); ++i) {
      const auto byte = static_cast<uint8_t>(at[i]);
      const uint32_t u = next(a, s, byte), v = next(b, t, byte);
      if (u == kNoState || (v == kNoState && !outside)) continue;
      ranges.push_back({byte, static_cast<uint8_t>(at[i + 1] - 1), state_of(u, v)});
    }
    made.states[from].ranges = std::move(ranges);
  }
  trim(made);
  return minimised(made);
}

}  // namespace

bool Dfa::accepts(std::string_view text) const {
  uint32_t state = 0;
  for (const char c : text) {
    state = next(*this, state, static_cast<uint8_t>(c));
    if (state == kNoState) return false;
  }
  return states[state].accepts;
}

Dfa intersection(const Dfa& a, const Dfa& b, const std::string& where) {
  return product(a, b, false, where);
}

Dfa difference(const Dfa& a, const Dfa& b, const std::string& where) {
  return product(a, b, true, where);
}

// Moore's refinement: states are told apart by what they accept, then by where their ranges lead.
Dfa minimised(const Dfa& dfa) {
  const size_t count = dfa.states.size();
  std::vector<uint32_t> part(count);
  for (size_t i = 0; i < count; ++i) part[i] = dfa.states[i].accepts ? 1 : 0;
  using Look = std::pair<uint32_t, std::vector<Dfa::Range>>;
  const auto less = [](const Look& a, const Look& b) {
    if (a.first != b.first) return a.first < b.first;
    return std::lexicographical_compare(
        a.second.begin(), a.second.end(), b.second.begin(), b.second.end(),
        [](const Dfa::Range& x, const Dfa::Range& y) {
          return std::tuple(x.first, x.last, x.to) < std::tuple(y.first, y.last, y.to);
        });
  };
  // As part sees it: neighbouring ranges that lead to one part are one.
  const auto ranges_of = [&](size_t state) {
    std::vector<Dfa::Range> merged;
    for (Dfa::Range range : dfa.states[state].ranges) {
      range.to = part[range.to];
      if (!merged.empty() && merged.back().to == range.to && merged.back().last + 1 == range.first)
        merged.back().last = range.last;
      else
        merged.push_back(range);
    }
    return merged;
  };
  for (size_t parts = 0;;) {
    std::map<Look, uint32_t, decltype(less)> looks(less);
    std::vector<uint32_t> finer(count);
    // The start's part is 0, as the loop meets it first.
    for (size_t i = 0; i < count; ++i)
      finer[i] = looks.try_emplace({part[i], ranges_of(i)}, static_cast<uint32_t>(looks.size()))
                     .first->second;
    part = std::move(finer);
    if (looks.size() == parts) break;
    parts = looks.size();
  }
  Dfa small;
  for (size_t i = 0; i < count; ++i) {
    if (part[i] != small.states.size()) continue;
    small.states.push_back({ranges_of(i), dfa.states[i].accepts});
  }
  return small;
}

std::string shortest_text(const Dfa& dfa) {
  std::vector<std::pair<uint32_t, uint8_t>> from(dfa.states.size(), {kNoState, 0});
  std::deque<uint32_t> todo = {0};
  for (uint32_t state = 0;; todo.pop_front()) {
    state = todo.front();
    if (!dfa.states[state].accepts) {
      for (const Dfa::Range& range : dfa.states[state].ranges) {
        if (range.to == 0 || from[range.to].first != kNoState) continue;
        from[range.to] = {state, range.first};
        todo.push_back(range.to);
      }
      continue;
    }
    std::string text;
    for (; state != 0; state = from[state].first) text += static_cast<char>(from[state].second);
    std::reverse(text.begin(), text.end());
    return text;
  }
}

void trim(Dfa& dfa) {
  const size_t count = dfa.states.size();
  std::vector<std::vector<uint32_t>> into(count);
  std::vector<uint32_t> todo;
  std::vector<bool> alive(count);
  for (uint32_t i = 0; i < count; ++i) {
    for (const Dfa::Range& range : dfa.states[i].ranges) into[range.to].push_back(i);
    if (!dfa.states[i].accepts) continue;
    alive[i] = true;
    todo.push_back(i);
  }
  while (!todo.empty()) {
    const uint32_t state = todo.back();
    todo.pop_back();
    for (const uint32_t before : into[state]) {
      if (alive[before]) continue;
      alive[before] = true;
      todo.push_back(before);
    }
  }
  // The start stays; the rest is numbered as it is reached.
  std::vector<uint32_t> number(count, kNoState);
  std::vector<uint32_t> order = {0};
  number[0] = 0;
  Dfa made;
  for (size_t i = 0; i < order.size(); ++i) {
    Dfa::State state{.ranges = {}, .accepts = dfa.states[order[i]].accepts};
    for (Dfa::Range range : dfa.states[order[i]].ranges) {
      if (!alive[range.to]) continue;
      if (number[range.to] == kNoState) {
        number[range.to] = static_cast<uint32_t>(order.size());
        order.push_back(range.to);
      }
      range.to = number[range.to];
      state.ranges.push_back(range);
    }
    made.states.push_back(std::move(state));
  }
  dfa = std::move(made);
}

}  // namespace klens::grammar
