#pragma once
#include <optional>
#include <string>
#include <vector>

#include "loaders/grammar/dfa.h"

namespace klens::grammar {

// A number as its decimal digits say: no exponent, no leading zeros, none behind the last digit of
// the fraction.
struct Decimal {
  bool negative = false;
  std::string whole = "0", fraction;
  bool zero() const { return whole == "0" && fraction.empty(); }
};
Decimal decimal(double value);
Decimal decimal(int64_t value);
Decimal decimal(uint64_t value);
int compare(const Decimal& a, const Decimal& b);  // less than, equal to or greater than 0

struct NumberRange {
  struct Bound {
    Decimal at;
    bool exclusive = false;
  };
  bool whole = false;  // integers
  std::optional<Bound> lower, upper;
  std::vector<Decimal> multiples_of;  // each greater than 0
};

// The numbers of a range, written without exponents and, where nothing asks for more, with up to 16
// digits before and behind the point. Throws Error naming `where` if that needs too many states.
Dfa number_dfa(const NumberRange& range, const std::string& where);
bool contains(const NumberRange& range, const Decimal& value);

}  // namespace klens::grammar
