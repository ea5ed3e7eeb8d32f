#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace klens::grammar {

// A deterministic automaton over bytes. State 0 is the start; every state can reach an accepting
// one, but for the start of an automaton that accepts nothing.
struct Dfa {
  struct Range {
    uint8_t first, last;
    uint32_t to;
  };
  struct State {
    std::vector<Range> ranges;  // in order, disjoint
    bool accepts = false;
  };
  std::vector<State> states;

  bool empty() const {
    return states.size() == 1 && !states[0].accepts && states[0].ranges.empty();
  }
  bool accepts(std::string_view text) const;
};

// Texts of both, and those of `a` that are not of `b`. Throw Error naming `where` if the result has
// too many states.
Dfa intersection(const Dfa& a, const Dfa& b, const std::string& where);
Dfa difference(const Dfa& a, const Dfa& b, const std::string& where);

// The same texts with the fewest states.
Dfa minimised(const Dfa& dfa);

// Some text that it accepts, of the fewest bytes; the automaton must accept one.
std::string shortest_text(const Dfa& dfa);

// Drops states from which no accepting one is reached, and those that the start does not reach.
void trim(Dfa& dfa);

}  // namespace klens::grammar
