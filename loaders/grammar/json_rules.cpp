#include "loaders/grammar/json_rules.h"

namespace klens::grammar {
namespace {

constexpr uint32_t kMostDigits = 16, kMostIndent = 20;

std::bitset<256> bytes_of(std::string_view bytes) {
  std::bitset<256> set;
  for (const char c : bytes) set.set(static_cast<uint8_t>(c));
  return set;
}

}  // namespace

template <class Make>
NodeId JsonRules::shared(std::optional<RuleId>& rule, const char* name, const Make& make) {
  if (!rule) {
    rule = grammar_.add_rule(name);
    grammar_.define(*rule, make());
  }
  return grammar_.call(*rule);
}

NodeId JsonRules::space() {
  return shared(space_, "white space", [&] {
    return grammar_.choice(
        {grammar_.text(""), grammar_.text(" "),
         grammar_.sequence({grammar_.text("\n"),
                            grammar_.repeat(grammar_.bytes(bytes_of(" \t")), 0, kMostIndent)})});
  });
}

NodeId JsonRules::digits(uint32_t min, uint32_t max) {
  return grammar_.repeat(grammar_.bytes(bytes_of("0123456789")), min, max);
}

NodeId JsonRules::integer() {
  return shared(integer_, "integer", [&] {
    return grammar_.sequence(
        {grammar_.optional(grammar_.text("-")),
         grammar_.choice(
             {grammar_.text("0"), grammar_.sequence({grammar_.bytes(bytes_of("123456789")),
                                                     digits(0, kMostDigits - 1)})})});
  });
}

NodeId JsonRules::number() {
  return shared(number_, "number", [&] {
    // With 16 digits before the point this stays below the largest double.
    const NodeId exponent =
        grammar_.choice({digits(1, 2), grammar_.sequence({grammar_.text("1"), digits(2, 2)}),
                         grammar_.sequence({grammar_.text("2"),
                                            grammar_.bytes(bytes_of("012345678")), digits(1, 1)})});
    return grammar_.sequence(
        {integer(),
         grammar_.optional(grammar_.sequence({grammar_.text("."), digits(1, kMostDigits)})),
         grammar_.optional(
             grammar_.sequence({grammar_.bytes(bytes_of("eE")),
                                grammar_.optional(grammar_.bytes(bytes_of("+-"))), exponent}))});
  });
}

NodeId JsonRules::any_character() { return json_character(grammar_, {{0, kLastCharacter}}); }

NodeId JsonRules::quoted(NodeId inside) {
  const NodeId quote = grammar_.text("\"");
  return grammar_.sequence({quote, inside, quote});
}

NodeId JsonRules::string() {
  return shared(string_, "string", [&] {
    const NodeId hex = grammar_.bytes(bytes_of("0123456789abcdefABCDEF"));
    const NodeId d = grammar_.bytes(bytes_of("dD"));
    const NodeId whole = grammar_.choice(
        {grammar_.sequence({grammar_.bytes(bytes_of("0123456789abcefABCEF")), hex, hex, hex}),
         grammar_.sequence({d, grammar_.bytes(bytes_of("01234567")), hex, hex})});
    const NodeId pair =
        grammar_.sequence({d, grammar_.bytes(bytes_of("89abAB")), hex, hex, grammar_.text("\\u"), d,
                           grammar_.bytes(bytes_of("cdefCDEF")), hex, hex});
    const NodeId escape = grammar_.sequence(
        {grammar_.text("\\"),
         grammar_.choice(
             {grammar_.bytes(bytes_of("\"\\/bfnrt")),
              grammar_.sequence({grammar_.text("u"), grammar_.choice({whole, pair})})})});
    const NodeId plain = character(grammar_, {{' ', '!'}, {'#', '['}, {']', kLastCharacter}});
    return quoted(grammar_.repeat(grammar_.choice({plain, escape}), 0, kNoLimit));
  });
}

NodeId JsonRules::comma() { return grammar_.sequence({grammar_.text(","), space()}); }

NodeId JsonRules::member(NodeId key, NodeId value) {
  return grammar_.sequence({key, grammar_.text(":"), grammar_.optional(grammar_.text(" ")), value});
}

NodeId JsonRules::object_of(const List& members) {
  return grammar_.sequence(
      {grammar_.text("{"), space(), grammar_.list(members), space(), grammar_.text("}")});
}

NodeId JsonRules::array_of(NodeId items) {
  return grammar_.sequence({grammar_.text("["), space(), items, space(), grammar_.text("]")});
}

NodeId JsonRules::object() {
  return shared(object_, "object", [&] {
    return object_of({.items = {{member(string(), value()), false, true}},
                      .separator = comma(),
                      .min = 0,
                      .max = kNoLimit});
  });
}

NodeId JsonRules::array() {
  return shared(array_, "array", [&] {
    const NodeId more = grammar_.repeat(grammar_.sequence({comma(), value()}), 0, kNoLimit);
    return array_of(grammar_.optional(grammar_.sequence({value(), more})));
  });
}

NodeId JsonRules::value() {
  return shared(value_, "value", [&] {
    return grammar_.choice({object(), array(), string(), number(), grammar_.text("true"),
                            grammar_.text("false"), grammar_.text("null")});
  });
}

}  // namespace klens::grammar
