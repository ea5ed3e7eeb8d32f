#include "loaders/grammar/schema_shape.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "loaders/grammar/formats.h"
#include "loaders/json.h"

namespace klens::grammar {
namespace {

constexpr size_t kMostShapes = 4096;
constexpr size_t kMostSteps = 1 << 18;  // schemas read, each as often as it is combined
constexpr size_t kMostOpen = 256;       // references and combinations within each other

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::kUnsupported, where + ": " + what);
}
[[noreturn]] void bad(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::kBadArgument, where + ": " + what);
}

// The place of a part of a schema.
std::string inside(const std::string& where, const std::string& path) {
  return where + (where.find(": /") == std::string::npos ? ": /" : "/") + path;
}

// Reads the keywords of one schema object into a shape, but for those that combine schemas.
class KeywordReader {
 public:
  KeywordReader(const SubSchema& schema, bool root)
      : json_(*schema.json), where_(schema.where), root_(root) {
    shape_.where = schema.where;
  }

  Shape read() {
    for (const auto& [key, value] : json_.items()) keyword(key, value);
    read_items();
    read_members();
    if (flag("nullable") && shape_.types != kAnyType) shape_.types |= kNull;
    return std::move(shape_);
  }

 private:
  using Read = void (KeywordReader::*)(const std::string& key, const Json& value);
  static const std::map<std::string, Read>& keywords();

  void keyword(const std::string& key, const Json& value) {
    const auto at = keywords().find(key);
    if (at == keywords().end()) {
      if (key.starts_with("x-")) return;
      fail(where_, "the keyword " + brief(key) + " cannot be enforced; leave it out");
    }
    (this->*at->second)(key, value);
  }

  std::string at(const std::string& key) const { return inside(where_, key); }
  SubSchema sub(const Json& value, const std::string& path) const { return {&value, at(path)}; }
  bool flag(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) return false;
    if (!found->is_boolean()) bad(at(key), "must be true or false");
    return found->get<bool>();
  }
  const Json& array(const std::string& key, const Json& value) const {
    if (!value.is_array()) bad(at(key), "must be a list");
    return value;
  }
  const Json& object(const std::string& key, const Json& value) const {
    if (!value.is_object()) bad(at(key), "must be an object");
    return value;
  }
  const std::string& text(const std::string& key, const Json& value) const {
    if (!value.is_string()) bad(at(key), "must be a text");
    return value.get_ref<const std::string&>();
  }
  uint64_t count(const std::string& key, const Json& value) const {
    if (value.is_number_unsigned()) return value.get<uint64_t>();
    if (value.is_number_float()) {
      const auto number = value.get<double>();
      if (number >= 0 && number < 1e15 && number == std::floor(number))
        return static_cast<uint64_t>(number);
    }
    bad(at(key), "must be an integer from 0");
  }
  Decimal number(const std::string& key, const Json& value) const {
    if (value.is_number_unsigned()) return decimal(value.get<uint64_t>());
    if (value.is_number_integer()) return decimal(value.get<int64_t>());
    if (value.is_number_float() && std::isfinite(value.get<double>()))
      return decimal(value.get<double>());
    bad(at(key), "must be a number");
  }

  void annotation(const std::string&, const Json&) {}
  void combination(const std::string&, const Json&) {}  // of expand_object
  void later(const std::string&, const Json&) {}        // of read_items and read_members
  void identity(const std::string& key, const Json&) {
    if (!root_)
      fail(at(key), "a schema of its own name within another is not supported; move it to $defs");
  }
  void refused_if_true(const std::string& key, const Json&) {
    if (flag(key.c_str())) fail(at(key), "cannot be enforced; leave it out or make it false");
  }

  static unsigned type_of(const std::string& name) {
    static const std::map<std::string, unsigned> kTypes = {
        {"null", kNull},       {"boolean", kBoolean},
        {"integer", kInteger}, {"number", kInteger | kFraction},
        {"string", kString},   {"array", kArray},
        {"object", kObject}};
    const auto found = kTypes.find(name);
    return found == kTypes.end() ? 0 : found->second;
  }
  void type(const std::string& key, const Json& value) {
    unsigned types = 0;
    const auto add = [&](const Json& name) {
      const unsigned bit = name.is_string() ? type_of(name.get<std::string>()) : 0;
      if (bit == 0)
        bad(at(key), "must name types: null, boolean, integer, number, string, array, object");
      types |= bit;
    };
    if (value.is_array())
      std::for_each(value.begin(), value.end(), add);
    else
      add(value);
    shape_.types &= types;
  }
  void enumeration(const std::string& key, const Json& value) {
    const Json& list = array(key, value);
    narrow_values({list.begin(), list.end()});
  }
  void constant(const std::string&, const Json& value) { narrow_values({value}); }
  void narrow_values(std::vector<Json> values) {
    if (shape_.values)
      std::erase_if(values, [&](const Json& value) {
        return std::find(shape_.values->begin(), shape_.values->end(), value) ==
               shape_.values->end();
      });
    shape_.values = std::move(values);
  }

  void bound(const std::string& key, const Json& value) {
    const bool lower = key == "minimum" || key == "exclusiveMinimum";
    const bool exclusive = key.starts_with("exclusive");
    if (exclusive && value.is_boolean()) {  // of draft 4: says so of the other keyword
      if (value.get<bool>()) fail(at(key), "must be a number; write the bound here");
      return;
    }
    narrow(shape_.numbers, {number(key, value), exclusive}, lower);
  }
  void multiple(const std::string& key, const Json& value) {
    const Decimal step = number(key, value);
    if (step.negative || step.zero()) bad(at(key), "must be greater than 0");
    shape_.numbers.multiples_of.push_back(step);
  }

  void length(const std::string& key, const Json& value) {
    const uint64_t given = count(key, value);
    if (key == "minLength") shape_.min_length = given;
    if (key == "maxLength") shape_.max_length = given;
    if (key == "minItems") shape_.min_items = given;
    if (key == "maxItems") shape_.max_items = given;
    if (key == "minProperties") shape_.min_members = given;
    if (key == "maxProperties") shape_.max_members = given;
  }
  void pattern(const std::string& key, const Json& value) {
    shape_.patterns.emplace_back(text(key, value), at(key));
  }
  void format(const std::string& key, const Json& value) {
    const std::string& name = text(key, value);
    if (name == "float" || name == "double" || name == "password") return;  // hints, to people
    if (name == "int32") return integers("-2147483648", "2147483647");
    if (name == "int64") return integers("-9223372036854775808", "9223372036854775807");
    const char* known = format_pattern(name);
    if (known == nullptr)
      fail(at(key), "the format " + brief(name) + " cannot be enforced; there are " +
                        format_names() + ", int32 and int64");
    shape_.patterns.emplace_back(known, at(key));
  }
  void integers(const char* least, const char* most) {
    const auto bound = [](std::string_view digits) {
      const bool negative = digits.starts_with('-');
      return NumberRange::Bound{{negative, std::string(digits.substr(negative ? 1 : 0)), ""},
                                false};
    };
    narrow(shape_.numbers, bound(least), true);
    narrow(shape_.numbers, bound(most), false);
  }
  void required(const std::string& key, const Json& value) {
    for (const Json& name : array(key, value)) {
      const std::string& given = text(key, name);
      if (std::find(shape_.required.begin(), shape_.required.end(), given) == shape_.required.end())
        shape_.required.push_back(given);
    }
  }
  void names(const std::string& key, const Json& value) { shape_.names.push_back(sub(value, key)); }

  void read_items() {
    ItemRules rules;
    const auto list = json_.find("prefixItems"), items = json_.find("items");
    const bool older = items != json_.end() && items->is_array();  // before 2020-12
    const auto add_first = [&](const std::string& key, const Json& schemas) {
      for (size_t i = 0; i < array(key, schemas).size(); ++i)
        rules.first.push_back({sub(schemas[i], key + "/" + std::to_string(i))});
    };
    if (list != json_.end()) add_first("prefixItems", *list);
    if (older) add_first("items", *items);
    const auto rest = older ? json_.find("additionalItems") : items;
    rules.judges_rest = rest != json_.end();
    if (rules.judges_rest) rules.rest.push_back(sub(*rest, older ? "additionalItems" : "items"));
    if (rules.judges_rest || !rules.first.empty()) shape_.items.push_back(std::move(rules));
  }

  void read_members() {
    MemberRules rules;
    const auto add = [&](const char* key, auto& list) {
      const auto found = json_.find(key);
      if (found == json_.end()) return;
      for (const auto& [name, schema] : object(key, *found).items())
        list.push_back({name, {sub(schema, std::string(key) + "/" + brief(name))}});
    };
    add("properties", rules.properties);
    add("patternProperties", rules.patterns);
    const auto others = json_.find("additionalProperties");
    rules.judges_others = others != json_.end();
    if (rules.judges_others) rules.others.push_back(sub(*others, "additionalProperties"));
    if (rules.judges_others || !rules.properties.empty() || !rules.patterns.empty())
      shape_.members.push_back(std::move(rules));
  }

 public:
  static void narrow(NumberRange& range, const NumberRange::Bound& bound, bool lower) {
    std::optional<NumberRange::Bound>& known = lower ? range.lower : range.upper;
    const int order = known ? compare(bound.at, known->at) * (lower ? 1 : -1) : 1;
    if (order > 0 || (order == 0 && bound.exclusive)) known = bound;
  }

 private:
  const Json& json_;
  const std::string& where_;
  bool root_;
  Shape shape_;
};

const std::map<std::string, KeywordReader::Read>& KeywordReader::keywords() {
  using K = KeywordReader;
  static const std::map<std::string, Read> kKeywords = [] {
    std::map<std::string, Read> all = {
        {"type", &K::type},
        {"enum", &K::enumeration},
        {"const", &K::constant},
        {"minimum", &K::bound},
        {"maximum", &K::bound},
        {"exclusiveMinimum", &K::bound},
        {"exclusiveMaximum", &K::bound},
        {"multipleOf", &K::multiple},
        {"pattern", &K::pattern},
        {"format", &K::format},
        {"required", &K::required},
        {"propertyNames", &K::names},
        {"$id", &K::identity},
        {"id", &K::identity},
        {"uniqueItems", &K::refused_if_true},
    };
    for (const char* key :
         {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
      all[key] = &K::length;
    for (const char* key : {"items", "prefixItems", "additionalItems", "properties",
                            "patternProperties", "additionalProperties", "nullable"})
      all[key] = &K::later;
    for (const char* key : {"allOf", "anyOf", "oneOf", "$ref", "not", "unevaluatedProperties",
                            "unevaluatedItems", "$defs", "definitions"})
      all[key] = &K::combination;
    for (const char* key :
         {"title", "description", "default", "example", "examples", "$comment", "$schema",
          "$anchor", "readOnly", "writeOnly", "deprecated", "contentEncoding", "contentMediaType",
          "contentSchema", "discriminator", "externalDocs", "xml"})
      all[key] = &K::annotation;
    return all;
  }();
  return kKeywords;
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Both hold; none if that is known to be impossible.
std::optional<Shape> both(const Shape& a, const Shape& b) {
  Shape made = a;
  made.types &= b.types;
  if (made.types == 0) return std::nullopt;
  if (b.values && made.values)
    std::erase_if(*made.values, [&](const Json& value) {
      return std::find(b.values->begin(), b.values->end(), value) == b.values->end();
    });
  else if (b.values)
    made.values = b.values;
  if (b.numbers.lower) KeywordReader::narrow(made.numbers, *b.numbers.lower, true);
  if (b.numbers.upper) KeywordReader::narrow(made.numbers, *b.numbers.upper, false);
  append(made.numbers.multiples_of, b.numbers.multiples_of);
  made.min_length = std::max(a.min_length, b.min_length);
  made.max_length = std::min(a.max_length, b.max_length);
  append(made.patterns, b.patterns);
  made.min_items = std::max(a.min_items, b.min_items);
  made.max_items = std::min(a.max_items, b.max_items);
  append(made.items, b.items);
  made.min_members = std::max(a.min_members, b.min_members);
  made.max_members = std::min(a.max_members, b.max_members);
  append(made.members, b.members);
  append(made.names, b.names);
  for (const std::string& name : b.required)
    if (std::find(made.required.begin(), made.required.end(), name) == made.required.end())
      made.required.push_back(name);
  return made;
}

std::vector<Shape> both(const std::vector<Shape>& a, const std::vector<Shape>& b,
                        const std::string& where) {
  std::vector<Shape> all;
  for (const Shape& x : a)
    for (const Shape& y : b) {
      if (std::optional<Shape> made = both(x, y)) all.push_back(std::move(*made));
      if (all.size() > kMostShapes)
        fail(where, "its choices combine in more than " + std::to_string(kMostShapes) +
                        " ways; simplify them");
    }
  return all;
}

// What is left to judge once a schema and all that it combines have been read.
void add_unevaluated(const SubSchema& schema, std::vector<Shape>& shapes) {
  const Json& json = *schema.json;
  if (const auto members = json.find("unevaluatedProperties"); members != json.end())
    for (Shape& shape : shapes) {
      MemberRules rules{.properties = {},
                        .patterns = {},
                        .others = {{&*members, inside(schema.where, "unevaluatedProperties")}},
                        .judges_others = true};
      bool judged = false;
      for (const MemberRules& known : shape.members) {
        judged = judged || known.judges_others;
        for (const auto& property : known.properties)
          rules.properties.push_back({property.first, {}});
        for (const auto& pattern : known.patterns) rules.patterns.push_back({pattern.first, {}});
      }
      if (!judged) shape.members.push_back(std::move(rules));
    }
  if (const auto items = json.find("unevaluatedItems"); items != json.end())
    for (Shape& shape : shapes) {
      ItemRules rules{.first = {},
                      .rest = {{&*items, inside(schema.where, "unevaluatedItems")}},
                      .judges_rest = true};
      bool judged = false;
      for (const ItemRules& known : shape.items) {
        judged = judged || known.judges_rest;
        rules.first.resize(std::max(rules.first.size(), known.first.size()));
      }
      if (!judged) shape.items.push_back(std::move(rules));
    }
}

// A step of a JSON pointer in a reference, which is also part of a URI.
std::string decoded_step(const std::string& step, const std::string& where) {
  std::string out;
  for (size_t i = 0; i < step.size(); ++i) {
    if (step[i] == '~' && i + 1 < step.size()) {
      out += step[++i] == '0' ? '~' : '/';
    } else if (step[i] == '%') {
      const std::string digits = step.substr(i + 1, 2);
      if (digits.size() != 2 || !std::isxdigit(static_cast<uint8_t>(digits[0])) ||
          !std::isxdigit(static_cast<uint8_t>(digits[1])))
        bad(where, "has a % without two hexadecimal digits behind it");
      out += static_cast<char>(std::stoi(digits, nullptr, 16));
      i += 2;
    } else {
      out += step[i];
    }
  }
  return out;
}

}  // namespace

SubSchema SchemaReader::resolve(const std::string& reference, const std::string& where) const {
  if (!reference.starts_with("#") || (reference.size() > 1 && reference[1] != '/'))
    fail(where,
         "refers to " + brief(reference) +
             ", which is outside of the schema; put it under $defs and refer to #/$defs/...");
  const Json* at = &root_;
  for (size_t begin = 2; begin <= reference.size() && reference.size() > 1;) {
    const size_t end = std::min(reference.find('/', begin), reference.size());
    const std::string step = decoded_step(reference.substr(begin, end - begin), where);
    const Json* next = nullptr;
    if (at->is_object() && at->contains(step)) next = &(*at)[step];
    if (at->is_array() && !step.empty() && step.size() < 6 &&
        std::all_of(step.begin(), step.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
        std::stoul(step) < at->size())
      next = &(*at)[std::stoul(step)];
    if (next == nullptr)
      bad(where, "refers to " + brief(reference) + ", which is not in the schema; correct it");
    at = next;
    begin = end + 1;
  }
  return {at, reference.size() > 1 ? name_ + ": " + brief(reference.substr(1)) : name_};
}

std::vector<Shape> SchemaReader::shapes(const AllOf& all) {
  std::vector<Shape> made = {Shape{}};
  made[0].where = all.empty() ? name_ : all[0].where;
  for (const SubSchema& schema : all) {
    std::set<const Json*> open;
    made = both(made, expand(schema, open), schema.where);
  }
  return made;
}

std::vector<Shape> SchemaReader::expand(const SubSchema& schema, std::set<const Json*>& open) {
  const Json& json = *schema.json;
  if (json.is_boolean()) {
    if (!json.get<bool>()) return {};
    Shape any;
    any.where = schema.where;
    return {any};
  }
  if (!json.is_object()) bad(schema.where, "a schema must be an object, true or false");
  if (++steps_ > kMostSteps)
    fail(schema.where, "the schema combines its parts too often; simplify it");
  // What leads back to itself before it says anything has no value of its own.
  if (!open.insert(&json).second) return {};
  if (open.size() > kMostOpen)
    fail(schema.where, "is combined of too many schemas within each other; simplify it");
  std::vector<Shape> made = expand_object(schema, open);
  open.erase(&json);
  return made;
}

std::vector<Shape> SchemaReader::expand_object(const SubSchema& schema,
                                               std::set<const Json*>& open) {
  const Json& json = *schema.json;
  std::vector<Shape> made = {KeywordReader(schema, schema.json == &root_).read()};
  const auto list_of = [&](const char* key) -> const Json* {
    const auto found = json.find(key);
    if (found == json.end()) return nullptr;
    if (!found->is_array() || found->empty())
      bad(inside(schema.where, key), "must be a list of schemas");
    return &*found;
  };
  const auto sub = [&](const char* key, size_t i, const Json& value) {
    return SubSchema{&value, inside(schema.where, std::string(key) + "/" + std::to_string(i))};
  };
  if (const auto reference = json.find("$ref"); reference != json.end()) {
    if (!reference->is_string()) bad(inside(schema.where, "$ref"), "must be a text");
    made = both(made, expand(resolve(reference->get<std::string>(), schema.where), open),
                schema.where);
  }
  if (const Json* list = list_of("allOf"))
    for (size_t i = 0; i < list->size(); ++i)
      made = both(made, expand(sub("allOf", i, (*list)[i]), open), schema.where);
  for (const char* key : {"anyOf", "oneOf"}) {
    const Json* list = list_of(key);
    if (list == nullptr) continue;
    std::vector<Shape> any;
    for (size_t i = 0; i < list->size(); ++i) append(any, expand(sub(key, i, (*list)[i]), open));
    made = both(made, any, schema.where);
  }
  if (const auto negated = json.find("not"); negated != json.end()) {
    if (*negated == Json(true) || *negated == Json::object()) return {};
    if (*negated != Json(false))
      fail(inside(schema.where, "not"), "cannot be enforced; leave it out");
  }
  add_unevaluated(schema, made);
  return made;
}

}  // namespace klens::grammar
