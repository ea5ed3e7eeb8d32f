#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "loaders/grammar/number_range.h"

namespace klens::grammar {

using Json = nlohmann::ordered_json;

// A part of a schema, which outlives all that refers to it.
struct SubSchema {
  const Json* json;
  std::string where;  // "schema" for the whole, or "schema: /properties/name"
  bool operator<(const SubSchema& other) const { return json < other.json; }
};
// All of them hold; none: anything is allowed.
using AllOf = std::vector<SubSchema>;

enum TypeBit : unsigned {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kFraction = 8,  // numbers that are no integers
  kString = 16,
  kArray = 32,
  kObject = 64,
  kAnyType = 127
};

// What one schema object says of the members of objects, and of the items of arrays. Several say it
// of one value where schemas are combined; each item and member then meets them all.
struct MemberRules {
  std::vector<std::pair<std::string, AllOf>> properties;
  std::vector<std::pair<std::string, AllOf>> patterns;
  AllOf others;  // names that are neither
  bool judges_others = false;
};
struct ItemRules {
  std::vector<AllOf> first;
  AllOf rest;
  bool judges_rest = false;
};

// A schema without choices: what is left of it once references are followed, all that holds
// together is put together, and each combination of choices stands alone.
struct Shape {
  std::string where;
  unsigned types = kAnyType;
  std::optional<std::vector<Json>> values;  // of enum and const
  NumberRange numbers;                      // `whole` is the types' to say
  uint64_t min_length = 0, max_length = UINT64_MAX;
  std::vector<std::pair<std::string, std::string>> patterns;  // with where each stands
  uint64_t min_items = 0, max_items = UINT64_MAX;
  std::vector<ItemRules> items;
  uint64_t min_members = 0, max_members = UINT64_MAX;
  std::vector<MemberRules> members;
  std::vector<std::string> required;  // in order, each once
  AllOf names;
};

// Reads the parts of one schema.
class SchemaReader {
 public:
  SchemaReader(const Json& root, const std::string& name) : root_(root), name_(name) {}

  SubSchema root() const { return {&root_, name_}; }
  // The shapes of which a value must meet one; none: there is no such value. Throws Error naming a
  // keyword that cannot be enforced, and its place.
  std::vector<Shape> shapes(const AllOf& all);

 private:
  std::vector<Shape> expand(const SubSchema& schema, std::set<const Json*>& open);
  std::vector<Shape> expand_object(const SubSchema& schema, std::set<const Json*>& open);
  SubSchema resolve(const std::string& reference, const std::string& where) const;

  const Json& root_;
  std::string name_;
  size_t steps_ = 0;
};

}  // namespace klens::grammar
