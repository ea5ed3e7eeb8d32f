#include "loaders/grammar/json_schema.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <tuple>

#include "base/error.h"
#include "loaders/grammar/json_rules.h"
#include "loaders/grammar/nfa.h"
#include "loaders/grammar/pattern.h"
#include "loaders/grammar/schema_shape.h"
#include "loaders/json.h"

namespace klens::grammar {
namespace {

constexpr size_t kMostFirstItems = 256, kMostPatterns = 4, kMostRules = 1 << 16;
// Members that an object's automaton spells out: beyond, each is a rule, as which of them may come
// next would multiply by all their names.
constexpr size_t kMostSpelled = 24;
constexpr int kMostValueDepth = 64;  // of values of enum and const

// Makes a rule of each schema, or of schemas that hold together.
class Compiler {
 public:
  Compiler(const Json& root, const std::string& name) : reader_(root, name), rules_(grammar_) {}

  Grammar run() {
    grammar_.start = rule_for({reader_.root()});
    while (!todo_.empty()) {
      const auto [rule, all] = std::move(todo_.front());
      todo_.pop_front();
      grammar_.define(rule, body(all));
    }
    check_possible();
    return std::move(grammar_);
  }

 private:
  static bool says_nothing(const SubSchema& schema) {
    return *schema.json == Json(true) || (schema.json->is_object() && schema.json->empty());
  }
  static bool impossible(const AllOf& all) {
    return std::any_of(all.begin(), all.end(),
                       [](const SubSchema& schema) { return *schema.json == Json(false); });
  }

  RuleId rule_for(AllOf all) {
    std::sort(all.begin(), all.end());
    std::vector<const Json*> key;
    for (const SubSchema& schema : all)
      if (key.empty() || key.back() != schema.json) key.push_back(schema.json);
    const auto [at, added] = by_schemas_.try_emplace(std::move(key), 0);
    if (!added) return at->second;
    if (by_schemas_.size() > kMostRules)
      throw Error(ErrorKind::kUnsupported,
                  all[0].where + ": the schema combines its parts too often; simplify it");
    at->second = grammar_.add_rule(all[0].where);
    todo_.emplace_back(at->second, std::move(all));
    return at->second;
  }

  NodeId value_of(AllOf all) {
    std::erase_if(all, says_nothing);
    return all.empty() ? rules_.value() : grammar_.call(rule_for(std::move(all)));
  }

  NodeId body(const AllOf& all) {
    std::vector<NodeId> parts;
    for (const Shape& shape : reader_.shapes(all)) add_shape(shape, parts);
    return grammar_.choice(std::move(parts));
  }

  void add_shape(const Shape& shape, std::vector<NodeId>& parts) {
    if (shape.values) {
      for (const Json& value : *shape.values)
        if (meets(shape, value, 0)) parts.push_back(literal(value));
      return;
    }
    if (shape.types & kNull) parts.push_back(grammar_.text("null"));
    if (shape.types & kBoolean)
      parts.insert(parts.end(), {grammar_.text("true"), grammar_.text("false")});
    if (shape.types & (kInteger | kFraction)) parts.push_back(number(shape));
    if (shape.types & kString) parts.push_back(string(shape));
    if (shape.types & kArray) parts.push_back(array(shape));
    if (shape.types & kObject) parts.push_back(object(shape));
  }

  // A rule for what many parts of a schema may ask for alike.
  NodeId once(const std::string& key, const std::string& where,
              const std::function<NodeId()>& make) {
    const auto [at, added] = by_text_.try_emplace(key, 0);
    if (added) {
      at->second = grammar_.add_rule(where);
      grammar_.define(at->second, make());
    }
    return grammar_.call(at->second);
  }

  // ---- numbers and strings ----------------------------------------------------------------------

  static NumberRange range_of(const Shape& shape) {
    NumberRange range = shape.numbers;
    range.whole = (shape.types & kFraction) == 0;
    return range;
  }

  NodeId number(const Shape& shape) {
    const NumberRange range = range_of(shape);
    if (!range.lower && !range.upper && range.multiples_of.empty())
      return range.whole ? rules_.integer() : rules_.number();
    std::string key = range.whole ? "integer" : "number";
    const auto add = [&](const Decimal& number) {
      key += (number.negative ? " -" : " ") + number.whole + "." + number.fraction;
    };
    for (const auto* bound : {&range.lower, &range.upper}) {
      key += *bound ? ((*bound)->exclusive ? " !" : " =") : " none";
      if (*bound) add((*bound)->at);
    }
    for (const Decimal& multiple : range.multiples_of) add(multiple);
    return once(key, shape.where, [&] { return grammar_.regular(number_dfa(range, shape.where)); });
  }

  static bool any_string(const Shape& shape) {
    return shape.patterns.empty() && shape.min_length == 0 && shape.max_length == UINT64_MAX;
  }

  static uint32_t times(uint64_t count, const std::string& where) {
    if (count == UINT64_MAX) return kNoLimit;
    constexpr uint64_t kMost = 1'000'000'000;
    if (count > kMost)
      throw Error(ErrorKind::kUnsupported, where + ": lengths and counts are enforced up to " +
                                               std::to_string(kMost) + "; use a smaller one");
    return static_cast<uint32_t>(count);
  }

  NodeId string(const Shape& shape) {
    if (any_string(shape)) return rules_.string();
    std::string key =
        "string " + std::to_string(shape.min_length) + " " + std::to_string(shape.max_length);
    for (const auto& pattern : shape.patterns) key += '\0' + pattern.first;
    return once(key, shape.where, [&] {
      return rules_.quoted(shape.patterns.empty() ? characters(grammar_, shape)
                                                  : grammar_.regular(string_dfa(shape)));
    });
  }

  // So many characters of a string.
  NodeId characters(Grammar& grammar, const Shape& shape) {
    if (shape.min_length > shape.max_length) return grammar.choice({});
    const uint32_t max = times(shape.max_length, shape.where);
    return grammar.repeat(json_character(grammar, {{0, kLastCharacter}}),
                          times(shape.min_length, shape.where), max);
  }

  // All that a shape asks of strings, as they stand between quotes.
  Dfa string_dfa(const Shape& shape) {
    std::optional<Dfa> dfa;
    const auto add = [&](const Dfa& other) {
      dfa = dfa ? intersection(*dfa, other, shape.where) : other;
    };
    for (const auto& [pattern, where] : shape.patterns) add(pattern_of(pattern, where));
    if (!dfa || shape.min_length != 0 || shape.max_length != UINT64_MAX) {
      Grammar grammar;
      add(make_dfa(grammar, characters(grammar, shape), shape.where));
    }
    return std::move(*dfa);
  }

  const Dfa& pattern_of(const std::string& pattern, const std::string& where) {
    const auto at = patterns_.find(pattern);
    if (at != patterns_.end()) return at->second;
    return patterns_.emplace(pattern, pattern_dfa(pattern, where)).first->second;
  }

  // ---- arrays -----------------------------------------------------------------------------------

  static AllOf item_schemas(const Shape& shape, size_t index) {
    AllOf all;
    for (const ItemRules& rules : shape.items) {
      const AllOf& part = index < rules.first.size() ? rules.first[index] : rules.rest;
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
  static size_t first_items(const Shape& shape) {
    size_t count = 0;
    for (const ItemRules& rules : shape.items) count = std::max(count, rules.first.size());
    return count;
  }

  NodeId array(const Shape& shape) {
    const size_t first = first_items(shape);
    if (shape.items.empty() && shape.min_items == 0 && shape.max_items == UINT64_MAX)
      return rules_.array();
    if (first > kMostFirstItems)
      throw Error(ErrorKind::kUnsupported, shape.where + ": has more than " +
                                               std::to_string(kMostFirstItems) +
                                               " prefixItems; use fewer");
    const uint32_t min = times(shape.min_items, shape.where);
    const uint32_t max = times(shape.max_items, shape.where);
    if (min > max) return grammar_.choice({});
    // From the last to the first: what may follow `i` items.
    const AllOf rest = item_schemas(shape, first);
    NodeId after = grammar_.sequence({});
    if (!impossible(rest) && max > first) {
      const NodeId item = value_of(rest);
      const auto from = static_cast<uint32_t>(first);
      const uint32_t least = min > from ? min - from : 0;
      const uint32_t most = max == kNoLimit ? kNoLimit : max - from;
      after = first > 0 ? repeated(least, most, item) : repeated_from_first(least, most, item);
    } else if (min > first) {
      return grammar_.choice({});
    }
    for (size_t i = std::min<size_t>(first, max); i-- > 0;) {
      NodeId item = value_of(item_schemas(shape, i));
      if (i > 0) item = grammar_.sequence({rules_.comma(), item});
      after = grammar_.sequence({item, after});
      if (i >= min) after = grammar_.optional(after);
    }
    return rules_.array_of(after);
  }

  NodeId repeated(uint32_t min, uint32_t max, NodeId item) {
    return grammar_.repeat(grammar_.sequence({rules_.comma(), item}), min, max);
  }
  NodeId repeated_from_first(uint32_t min, uint32_t max, NodeId item) {
    const uint32_t more = max == kNoLimit ? kNoLimit : max - 1;
    const NodeId items = grammar_.sequence({item, repeated(min > 0 ? min - 1 : 0, more, item)});
    return min == 0 ? grammar_.optional(items) : items;
  }

  // ---- objects ----------------------------------------------------------------------------------

  // What holds for the member of a name. `matches` says whether a pattern matches it.
  static AllOf member_schemas(const Shape& shape, const std::string* name,
                              const std::function<bool(const std::string&)>& matches) {
    AllOf all;
    for (const MemberRules& rules : shape.members) {
      bool judged = false;
      const auto add = [&](const AllOf& schemas) {
        judged = true;
        all.insert(all.end(), schemas.begin(), schemas.end());
      };
      for (const auto& [known, schemas] : rules.properties)
        if (name != nullptr && known == *name) add(schemas);
      for (const auto& [pattern, schemas] : rules.patterns)
        if (matches(pattern)) add(schemas);
      if (!judged) add(rules.others);
    }
    return all;
  }

  AllOf schemas_of(const Shape& shape, const std::string& name) {
    const std::string text = json_text(name);
    return member_schemas(shape, &name, [&](const std::string& pattern) {
      return pattern_of(pattern, shape.where).accepts(text);
    });
  }

  static std::vector<std::string> names_of(const Shape& shape) {
    std::vector<std::string> names;
    std::set<std::string> known;
    for (const MemberRules& rules : shape.members)
      for (const auto& property : rules.properties)
        if (known.insert(property.first).second) names.push_back(property.first);
    for (const std::string& name : shape.required)
      if (known.insert(name).second) names.push_back(name);
    return names;
  }

  NodeId object(const Shape& shape) {
    const std::vector<std::string> names = names_of(shape);
    List list{.items = {},
              .separator = rules_.comma(),
              .min = times(shape.min_members, shape.where),
              .max = times(shape.max_members, shape.where)};
    for (const std::string& name : names) {
      const AllOf all = schemas_of(shape, name);
      const bool possible = !impossible(all) && allows(shape.names, Json(name), 0);
      const NodeId key = grammar_.text("\"" + json_text(name) + "\"");
      const NodeId value = possible ? value_of(all) : grammar_.choice({});
      const bool required =
          std::find(shape.required.begin(), shape.required.end(), name) != shape.required.end();
      NodeId member = rules_.member(key, value);
      if (names.size() > kMostSpelled)
        member = grammar_.call(grammar_.add_rule(shape.where, member));
      if (possible || required) list.items.push_back({member, required, false});
    }
    std::vector<NodeId> others;
    add_others(shape, names, others);
    if (!others.empty()) {
      check_counts(shape);
      list.items.push_back({grammar_.choice(std::move(others)), false, true});
    }
    return rules_.object_of(list);
  }

  // A name may come twice among those that the schema does not give, so they are not counted.
  static void check_counts(const Shape& shape) {
    if (shape.min_members > std::max<size_t>(shape.required.size(), 1))
      throw Error(ErrorKind::kUnsupported,
                  shape.where +
                      ": minProperties cannot be enforced where names are free; name "
                      "the properties, and add \"additionalProperties\": false");
  }

  // Members under names that the schema does not give: by the patterns that a name matches.
  void add_others(const Shape& shape, const std::vector<std::string>& names,
                  std::vector<NodeId>& others) {
    std::vector<std::string> patterns;
    // Where a schema names members and says nothing of others, there are none.
    bool spoken_of = shape.members.empty();
    for (const MemberRules& rules : shape.members) {
      for (const auto& pattern : rules.patterns)
        if (std::find(patterns.begin(), patterns.end(), pattern.first) == patterns.end())
          patterns.push_back(pattern.first);
      spoken_of = spoken_of || rules.judges_others;
    }
    if (patterns.size() > kMostPatterns)
      throw Error(ErrorKind::kUnsupported, shape.where + ": has more than " +
                                               std::to_string(kMostPatterns) +
                                               " patternProperties; use fewer");
    for (size_t chosen = 0; chosen < size_t{1} << patterns.size(); ++chosen) {
      if (chosen == 0 && !spoken_of) continue;
      const auto matches = [&](const std::string& pattern) {
        const auto at = std::find(patterns.begin(), patterns.end(), pattern) - patterns.begin();
        return (chosen >> at & 1) != 0;
      };
      const AllOf all = member_schemas(shape, nullptr, matches);
      if (impossible(all)) continue;
      const std::optional<NodeId> key = other_key(shape, names, patterns, chosen);
      if (key) others.push_back(rules_.member(*key, value_of(all)));
    }
  }

  // A name that matches the chosen patterns, no other, and is none of `names`.
  std::optional<NodeId> other_key(const Shape& shape, const std::vector<std::string>& names,
                                  const std::vector<std::string>& patterns, size_t chosen) {
    if (names.empty() && patterns.empty() && shape.names.empty()) return rules_.string();
    Shape any;
    any.where = shape.where;
    Dfa key = string_dfa(any);
    for (size_t i = 0; i < patterns.size(); ++i) {
      const Dfa& pattern = pattern_of(patterns[i], shape.where);
      key = (chosen >> i & 1) != 0 ? intersection(key, pattern, shape.where)
                                   : difference(key, pattern, shape.where);
    }
    Grammar grammar;
    std::vector<NodeId> texts;
    for (const std::string& name : names) texts.push_back(grammar.text(json_text(name)));
    key = difference(key, make_dfa(grammar, grammar.choice(std::move(texts)), shape.where),
                     shape.where);
    if (!shape.names.empty()) key = intersection(key, name_dfa(shape), shape.where);
    if (key.empty()) return std::nullopt;
    return rules_.quoted(grammar_.regular(std::move(key)));
  }

  // What propertyNames allows.
  Dfa name_dfa(const Shape& shape) {
    Grammar grammar;
    std::vector<NodeId> parts;
    for (const Shape& name : reader_.shapes(shape.names)) {
      if (name.values) {
        for (const Json& value : *name.values)
          if (value.is_string() && meets(name, value, 0))
            parts.push_back(grammar.text(json_text(value.get<std::string>())));
      } else if (name.types & kString) {
        parts.push_back(grammar.regular(string_dfa(name)));
      }
    }
    return make_dfa(grammar, grammar.choice(std::move(parts)), shape.where);
  }

  // ---- values that a schema names ---------------------------------------------------------------

  NodeId literal(const Json& value) {
    if (value.is_object()) {
      List list{.items = {}, .separator = rules_.comma(), .min = 0, .max = kNoLimit};
      for (const auto& [key, member] : value.items())
        list.items.push_back(
            {rules_.member(grammar_.text("\"" + json_text(key) + "\""), literal(member)), true,
             false});
      return rules_.object_of(list);
    }
    if (value.is_array()) {
      std::vector<NodeId> items;
      for (const Json& item : value) {
        if (!items.empty()) items.push_back(rules_.comma());
        items.push_back(literal(item));
      }
      return rules_.array_of(grammar_.sequence(std::move(items)));
    }
    if (value.is_string())
      return grammar_.text("\"" + json_text(value.get_ref<const std::string&>()) + "\"");
    return grammar_.text(value.dump());
  }

  bool allows(const AllOf& all, const Json& value, int depth) {
    if (all.empty()) return true;
    const std::vector<Shape> shapes = reader_.shapes(all);
    return std::any_of(shapes.begin(), shapes.end(),
                       [&](const Shape& shape) { return allows(shape, value, depth); });
  }

  bool allows(const Shape& shape, const Json& value, int depth) {
    return (!shape.values ||
            std::find(shape.values->begin(), shape.values->end(), value) != shape.values->end()) &&
           meets(shape, value, depth);
  }

  // But for enum and const.
  bool meets(const Shape& shape, const Json& value, int depth) {
    if (depth > kMostValueDepth)
      throw Error(ErrorKind::kUnsupported, shape.where +
                                               ": a value of enum or const is nested too "
                                               "deeply; use a simpler one");
    if (value.is_null()) return (shape.types & kNull) != 0;
    if (value.is_boolean()) return (shape.types & kBoolean) != 0;
    if (value.is_number()) return allows_number(shape, value);
    if (value.is_string())
      return (shape.types & kString) != 0 &&
             (any_string(shape) ||
              string_dfa(shape).accepts(json_text(value.get_ref<const std::string&>())));
    const size_t size = value.size();
    if (value.is_array()) {
      if ((shape.types & kArray) == 0 || size < shape.min_items || size > shape.max_items)
        return false;
      for (size_t i = 0; i < size; ++i)
        if (!allows(item_schemas(shape, i), value[i], depth + 1)) return false;
      return true;
    }
    if ((shape.types & kObject) == 0 || size < shape.min_members || size > shape.max_members)
      return false;
    for (const std::string& name : shape.required)
      if (!value.contains(name)) return false;
    for (const auto& [name, member] : value.items())
      if (!allows(shape.names, Json(name), depth + 1) ||
          !allows(schemas_of(shape, name), member, depth + 1))
        return false;
    return true;
  }

  static bool allows_number(const Shape& shape, const Json& value) {
    const Decimal number = value.is_number_unsigned()  ? decimal(value.get<uint64_t>())
                           : value.is_number_integer() ? decimal(value.get<int64_t>())
                                                       : decimal(value.get<double>());
    NumberRange range = shape.numbers;
    range.whole = false;
    const unsigned type = number.fraction.empty() ? kInteger : kFraction;
    return (shape.types & type) != 0 && contains(range, number);
  }

  // The first rule that is impossible by itself is what to tell.
  void check_possible() {
    const RuleFacts facts = find_facts(grammar_);
    if (facts.productive[grammar_.start]) return;
    std::vector<bool> others(facts.productive.size(), true);
    RuleId told = grammar_.start;
    for (RuleId rule = 0; rule < others.size(); ++rule) {
      if (productive(grammar_, grammar_.rules()[rule].body, others)) continue;
      told = rule;
      break;
    }
    throw Error(ErrorKind::kBadArgument, grammar_.rules()[told].name +
                                             ": no finite value can meet this part of the schema, "
                                             "so none meets the whole; correct it");
  }

  Grammar grammar_;
  SchemaReader reader_;
  JsonRules rules_;
  std::map<std::vector<const Json*>, RuleId> by_schemas_;
  std::map<std::string, RuleId> by_text_;
  std::map<std::string, Dfa> patterns_;
  std::deque<std::pair<RuleId, AllOf>> todo_;
};

}  // namespace

Grammar parse_json_schema(std::string_view text, const std::string& name) {
  parse_json(text, name, DuplicateKeys::kRefused);  // an ordered_json keeps the last of two
  const Json root = parse_ordered_json(text, name);
  return Compiler(root, name).run();
}

Grammar json_object() {
  Grammar grammar;
  JsonRules rules(grammar);
  const NodeId object = rules.object();
  grammar.start = grammar.add_rule("object", object);
  return grammar;
}

}  // namespace klens::grammar
