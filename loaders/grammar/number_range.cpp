#include "loaders/grammar/number_range.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "base/error.h"
#include "loaders/grammar/nfa.h"

namespace klens::grammar {
namespace {

constexpr size_t kMostFractionDigits = 16;
constexpr int64_t kMostMultiple = 10000;
constexpr size_t kMostPlaces = 16;

Decimal from_text(std::string_view text) {
  Decimal made;
  made.negative = text.starts_with('-');
  if (made.negative) text.remove_prefix(1);
  const size_t point = std::min(text.find('.'), text.size());
  made.whole = text.substr(0, point);
  if (point < text.size()) made.fraction = text.substr(point + 1);
  while (!made.fraction.empty() && made.fraction.back() == '0') made.fraction.pop_back();
  if (made.zero()) made.negative = false;
  return made;
}

int compare_sizes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  return std::tie(a.whole, a.fraction) < std::tie(b.whole, b.fraction)    ? -1
         : std::tie(a.whole, a.fraction) == std::tie(b.whole, b.fraction) ? 0
                                                                          : 1;
}

// Unsigned decimal texts by how they compare with a bound: -1, 0, 1. What has a leading zero may be
// judged wrongly.
class Comparison {
 public:
  Comparison(const Decimal& bound, std::vector<int> accepted)
      : bound_(bound), accepted_(std::move(accepted)) {}

  Dfa make() {
    visit({false, 0, 0});
    for (size_t i = 0; i < todo_.size(); ++i) expand(i);
    trim(dfa_);
    return std::move(dfa_);
  }

 private:
  struct At {
    bool behind_point;
    size_t digits;  // read, as far as that matters
    int so_far;     // of those digits
    auto operator<=>(const At&) const = default;
  };

  uint32_t visit(const At& at) {
    const auto [found, added] = known_.try_emplace(at, static_cast<uint32_t>(todo_.size()));
    if (added) {
      todo_.push_back(at);
      const int result = outcome(at);
      const bool ends = at.behind_point || at.digits > 0;
      dfa_.states.push_back(
          {.ranges = {},
           .accepts = ends && std::count(accepted_.begin(), accepted_.end(), result) > 0});
    }
    return found->second;
  }

  // If the text ended there.
  int outcome(const At& at) const {
    if (!at.behind_point && at.digits != bound_.whole.size())
      return at.digits < bound_.whole.size() ? -1 : 1;
    if (at.so_far != 0) return at.so_far;
    const size_t read = at.behind_point ? at.digits : 0;
    return read < bound_.fraction.size() ? -1 : 0;
  }

  void expand(size_t index) {
    const At at = todo_[index];
    const std::string& digits = at.behind_point ? bound_.fraction : bound_.whole;
    std::vector<Dfa::Range> ranges;
    if (!at.behind_point && at.digits > 0)
      ranges.push_back({'.', '.', visit({true, 0, whole_outcome(at)})});
    for (char digit = '0'; digit <= '9'; ++digit) {
      const bool past = at.digits >= digits.size();
      const char against = past ? '0' : digits[at.digits];
      const int now = digit < against ? -1 : digit > against ? 1 : 0;
      At next = {at.behind_point, std::min(at.digits + 1, digits.size() + 1),
                 at.so_far != 0 ? at.so_far : now};
      if (!at.behind_point && past) next.so_far = 1;
      ranges.push_back({static_cast<uint8_t>(digit), static_cast<uint8_t>(digit), visit(next)});
    }
    dfa_.states[index].ranges = std::move(ranges);
  }
  int whole_outcome(const At& at) const {
    if (at.digits != bound_.whole.size()) return at.digits < bound_.whole.size() ? -1 : 1;
    return at.so_far;
  }

  const Decimal& bound_;
  std::vector<int> accepted_;
  std::map<At, uint32_t> known_;
  std::vector<At> todo_;
  Dfa dfa_;
};

// Unsigned decimal texts that are multiples of step / 10^places.
Dfa multiples(int64_t step, size_t places) {
  struct At {
    int64_t rest;
    size_t read;  // digits: 0: none yet; 1: before the point; from 2 on: behind it, and the point
    auto operator<=>(const At&) const = default;
  };
  Dfa dfa;
  std::map<At, uint32_t> known;
  std::vector<At> todo;
  const auto visit = [&](const At& at) {
    const auto [found, added] = known.try_emplace(at, static_cast<uint32_t>(todo.size()));
    if (added) {
      todo.push_back(at);
      int64_t rest = at.rest;
      for (size_t behind = at.read < 2 ? 0 : at.read - 2; behind < places; ++behind)
        rest = rest * 10 % step;
      dfa.states.push_back({.ranges = {}, .accepts = rest == 0 && at.read != 0 && at.read != 2});
    }
    return found->second;
  };
  visit({0, 0});
  for (size_t i = 0; i < todo.size(); ++i) {
    const At at = todo[i];
    std::vector<Dfa::Range> ranges;
    if (at.read == 1 && places > 0) ranges.push_back({'.', '.', visit({at.rest, 2})});
    const size_t next = at.read < 2 ? 1 : at.read + 1;
    if (next < places + 3)
      for (uint8_t digit = 0; digit <= 9; ++digit) {
        const auto c = static_cast<uint8_t>('0' + digit);
        ranges.push_back({c, c, visit({(at.rest * 10 + digit) % step, next})});
      }
    dfa.states[i].ranges = std::move(ranges);
  }
  trim(dfa);
  return dfa;
}

// Number texts with `positive` before or behind a minus sign, in either case any or none.
Dfa with_signs(const Dfa* positive, const Dfa* negative, const std::string& where) {
  Grammar grammar;
  std::vector<NodeId> parts;
  if (positive != nullptr) parts.push_back(grammar.regular(*positive));
  if (negative != nullptr)
    parts.push_back(grammar.sequence({grammar.text("-"), grammar.regular(*negative)}));
  return make_dfa(grammar, grammar.choice(std::move(parts)), where);
}

std::bitset<256> digits_from(char first) {
  std::bitset<256> set;
  for (char c = first; c <= '9'; ++c) set.set(static_cast<uint8_t>(c));
  return set;
}

// Numbers without an exponent. What is less than zero is not zero.
Dfa plain_numbers(bool whole, size_t digits, const std::string& where) {
  Grammar grammar;
  const NodeId digit = grammar.bytes(digits_from('0'));
  std::vector<NodeId> parts = {grammar.choice(
      {grammar.text("0"),
       grammar.sequence({grammar.bytes(digits_from('1')),
                         grammar.repeat(digit, 0, static_cast<uint32_t>(digits - 1))})})};
  if (!whole)
    parts.push_back(grammar.optional(
        grammar.sequence({grammar.text("."), grammar.repeat(digit, 1, kMostFractionDigits)})));
  const Dfa size = make_dfa(grammar, grammar.sequence(std::move(parts)), where);
  const Decimal zero;
  const Dfa more = intersection(size, Comparison(zero, {1}).make(), where);
  return with_signs(&size, &more, where);
}

Dfa bounded(const NumberRange::Bound& bound, bool lower, const std::string& where) {
  const Decimal zero;
  const Dfa any = Comparison(zero, {0, 1}).make();
  // Of a bound that is negative, sizes compare the other way round.
  std::vector<int> good = {lower != bound.at.negative ? 1 : -1};
  if (!bound.exclusive) good.push_back(0);
  const Dfa sizes = Comparison(bound.at, good).make();
  const bool negatives_only = !lower && bound.at.negative,
             positives_only = lower && !bound.at.negative;
  if (positives_only) return with_signs(&sizes, nullptr, where);
  if (negatives_only) return with_signs(nullptr, &sizes, where);
  return lower ? with_signs(&any, &sizes, where) : with_signs(&sizes, &any, where);
}

struct Step {
  int64_t step;
  size_t places;
};
Step step_of(const Decimal& multiple, const std::string& where) {
  const std::string digits = multiple.whole + multiple.fraction;
  if (multiple.fraction.size() > kMostPlaces || digits.size() > 18 ||
      std::stoll(digits) > kMostMultiple)
    throw Error(ErrorKind::kUnsupported, where + ": multipleOf is enforced up to " +
                                             std::to_string(kMostMultiple) +
                                             " (its digits, without a point); use another");
  return {std::stoll(digits), multiple.fraction.size()};
}

}  // namespace

Decimal decimal(double value) {
  char text[400];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed).ptr;
  return from_text(std::string_view(text, static_cast<size_t>(end - text)));
}
Decimal decimal(int64_t value) { return from_text(std::to_string(value)); }
Decimal decimal(uint64_t value) { return from_text(std::to_string(value)); }

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  return a.negative ? compare_sizes(b, a) : compare_sizes(a, b);
}

Dfa number_dfa(const NumberRange& range, const std::string& where) {
  size_t digits = kMostFractionDigits;
  if (range.lower && !range.lower->at.negative)
    digits = std::max(digits, range.lower->at.whole.size());
  if (range.upper && range.upper->at.negative)
    digits = std::max(digits, range.upper->at.whole.size());
  Dfa dfa = plain_numbers(range.whole, digits, where);
  if (range.lower) dfa = intersection(dfa, bounded(*range.lower, true, where), where);
  if (range.upper) dfa = intersection(dfa, bounded(*range.upper, false, where), where);
  for (const Decimal& multiple : range.multiples_of) {
    const Step step = step_of(multiple, where);
    const Dfa sizes = multiples(step.step, step.places);
    dfa = intersection(dfa, with_signs(&sizes, &sizes, where), where);
  }
  return dfa;
}

bool contains(const NumberRange& range, const Decimal& value) {
  if (range.whole && !value.fraction.empty()) return false;
  const auto within = [&](const NumberRange::Bound& bound, int side) {
    const int order = compare(value, bound.at) * side;
    return bound.exclusive ? order > 0 : order >= 0;
  };
  if (range.lower && !within(*range.lower, 1)) return false;
  if (range.upper && !within(*range.upper, -1)) return false;
  const std::string text = value.whole + (value.fraction.empty() ? "" : "." + value.fraction);
  return std::all_of(range.multiples_of.begin(), range.multiples_of.end(),
                     [&](const Decimal& multiple) {
                       const Step step = step_of(multiple, "multipleOf");
                       return multiples(step.step, step.places).accepts(text);
                     });
}

}  // namespace klens::grammar
