#include <algorithm>
#include <cctype>
#include <cstddef>
#include <utility>

#include "loaders/chat_template/filters.h"
#include "loaders/chat_template/text.h"

namespace klens::jinja {
namespace {

// The member that a name such as "function.name" or a number leads to; `otherwise`, if it is given,
// stands for every one on the way that is missing.
Value member(Runtime& r, const Value& value, const Value& path, const Value* otherwise = nullptr) {
  const auto step = [&](const Value& from, const Value& key) {
    const Value found = item(r, from, key);
    return found.is_undefined() && otherwise ? *otherwise : found;
  };
  if (!path.is_text()) return step(value, path);
  Value at = value;
  for (const std::string& name : split_at(path.as_text(), ".", -1, false)) {
    const bool number =
        !name.empty() && name.size() < 10 &&
        std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); });
    at = step(at, number ? Value::integer(std::stoll(name)) : r.text(name));
  }
  return at;
}

Value join(Runtime& r, const Value& self, const Args& a) {
  a.allow({"d", "attribute"});
  const Value* separator = a.find(0, "d");
  const Value* path = a.find(1, "attribute");
  const std::string between = separator ? to_text(*separator) : "";
  std::string out;
  bool first = true;
  for (const Value& value : items_of(r, self)) {
    if (!std::exchange(first, false)) out += between;
    out += to_text(path && !path->is_none() ? member(r, value, *path) : value);
    check_text_size(out.size());
  }
  return r.text(std::move(out));
}

template <bool kLast>
Value end_item(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  if (kLast && self.is_generator()) fail("'generator' object is not reversible");
  const std::vector<Value> items = items_of(r, self);
  if (items.empty())
    return Value::undefined(kLast ? "the last of no items" : "the first of no items");
  return kLast ? items.back() : items.front();
}

Value list_filter(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return r.list(items_of(r, self));
}

Value items_filter(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  std::vector<Value> out;
  if (self.is_undefined()) return r.generator(std::move(out));
  if (!self.is_dict() || self.as_dict().kind != Dict::Kind::kDict)
    fail("Can only get item pairs from a mapping.");
  for (const auto& [k, v] : self.as_dict().entries) out.push_back(r.tuple({k, v}));
  return r.generator(std::move(out));
}

// What select, reject and map see: nothing of a value that counts as false, None among them.
std::vector<Value> items_if_any(Runtime& r, const Value& value) {
  return value.truth() ? items_of(r, value) : std::vector<Value>();
}

// A test's or filter's name and arguments, from place `skip` of another filter's arguments on.
Args rest_of(const Args& a, size_t skip) {
  Args rest;
  rest.named = a.named;
  for (size_t i = skip; i < a.positional.size(); ++i) rest.positional.push_back(a.positional[i]);
  return rest;
}

template <bool kKeep, bool kByMember>
Value choose(Runtime& r, const Value& self, const Args& a) {
  constexpr size_t kSkip = kByMember ? 1 : 0;
  std::vector<Value> out;
  for (const Value& value : items_if_any(r, self)) {
    if (kByMember && a.positional.empty()) fail("the name of a member is missing");
    const Value tested = kByMember ? member(r, value, a.positional[0]) : value;
    const bool yes = a.positional.size() > kSkip
                         ? apply_test(r, a.text(kSkip, ""), tested, rest_of(a, kSkip + 1))
                         : tested.truth();
    if (yes == kKeep) out.push_back(value);
  }
  return r.generator(std::move(out));
}

Value map(Runtime& r, const Value& self, const Args& a) {
  std::vector<Value> out;
  const bool by_member = a.positional.empty() && a.find(0, "attribute");
  if (by_member) a.allow({"attribute", "default"});
  const Value* otherwise = by_member ? a.find(1, "default") : nullptr;
  if (otherwise && otherwise->is_none()) otherwise = nullptr;
  for (const Value& value : items_if_any(r, self))
    out.push_back(by_member ? member(r, value, *a.find(0, "attribute"), otherwise)
                            : apply_filter(r, a.text(0, "filter"), value, rest_of(a, 1)));
  return r.generator(std::move(out));
}

// What texts are compared by unless their case matters.
Value folded(Runtime& r, const Value& value, bool case_sensitive) {
  return value.is_text() && !case_sensitive ? r.text(lower(value.as_text())) : value;
}

// Sorts by keys; counts the comparisons as work.
void sort_by(Runtime& r, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  r.work(keyed.size() * 8);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first) : less(a.first, b.first);
  });
}

Value dictsort(Runtime& r, const Value& self, const Args& a) {
  a.allow({"case_sensitive", "by", "reverse"});
  if (!self.is_dict() || self.as_dict().kind != Dict::Kind::kDict) fail("dictsort needs a dict");
  const bool case_sensitive = a.flag(0, "case_sensitive", false);
  const std::string by = a.text(1, "by", "key");
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [k, v] : self.as_dict().entries)
    keyed.emplace_back(folded(r, by == "value" ? v : k, case_sensitive), r.tuple({k, v}));
  sort_by(r, keyed, a.flag(2, "reverse", false));
  std::vector<Value> out;
  for (auto& [key, pair] : keyed) out.push_back(pair);
  return r.list(std::move(out));
}

// The argument that names a member, if there is one.
const Value* path_of(const Args& a, size_t place) {
  const Value* path = a.find(place, "attribute");
  return path && !path->is_none() ? path : nullptr;
}

// Several names with commas between sort by the first, then the second, and so on.
Value sort_key(Runtime& r, const Value& value, const Value* path, bool case_sensitive) {
  if (!path || !path->is_text() || path->as_text().find(',') == std::string::npos)
    return folded(r, path ? member(r, value, *path) : value, case_sensitive);
  std::vector<Value> keys;
  for (const std::string& name : split_at(path->as_text(), ",", -1, false))
    keys.push_back(folded(r, member(r, value, r.text(name)), case_sensitive));
  return r.list(std::move(keys));
}

Value sort(Runtime& r, const Value& self, const Args& a) {
  a.allow({"reverse", "case_sensitive", "attribute"});
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& v : items_of(r, self))
    keyed.emplace_back(sort_key(r, v, path_of(a, 2), a.flag(1, "case_sensitive", false)), v);
  sort_by(r, keyed, a.flag(0, "reverse", false));
  std::vector<Value> out;
  for (auto& [key, value] : keyed) out.push_back(value);
  return r.list(std::move(out));
}

// Pairs of what a member is and the items whose member that is.
Value group_by(Runtime& r, const Value& self, const Args& a) {
  a.allow({"attribute", "default", "case_sensitive"});
  const Value& path = a.need(0, "attribute");
  const Value* otherwise = a.find(1, "default");
  if (otherwise && otherwise->is_none()) otherwise = nullptr;
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& v : items_of(r, self))
    keyed.emplace_back(folded(r, member(r, v, path, otherwise), a.flag(2, "case_sensitive", false)),
                       v);
  sort_by(r, keyed, false);
  std::vector<Value> out;
  for (size_t begin = 0, end = 0; begin < keyed.size(); begin = end) {
    std::vector<Value> items;
    while (end < keyed.size() && equal(keyed[end].first, keyed[begin].first))
      items.push_back(keyed[end++].second);
    const Value key = member(r, items[0], path, otherwise);
    out.push_back(r.list({key, r.list(std::move(items))}, List::Kind::kGroup));
  }
  return r.list(std::move(out));
}

Value batch(Runtime& r, const Value& self, const Args& a) {
  a.allow({"linecount", "fill_with"});
  const int64_t size = (a.need(0, "linecount"), a.integer(0, "linecount", 0));
  const Value* fill = a.find(1, "fill_with");
  std::vector<Value> out, line;
  const auto full = [&] { return static_cast<int64_t>(line.size()) == size; };
  for (const Value& v : items_of(r, self)) {
    if (full()) out.push_back(r.list(std::exchange(line, {})));
    line.push_back(v);
  }
  const bool fills = fill && !fill->is_none() && !line.empty();
  while (fills && static_cast<int64_t>(line.size()) < size) {
    r.work(1);
    r.memory(sizeof(Value));
    line.push_back(*fill);
  }
  if (!line.empty()) out.push_back(r.list(std::move(line)));
  return r.generator(std::move(out));
}

Value slice_filter(Runtime& r, const Value& self, const Args& a) {
  a.allow({"slices", "fill_with"});
  const std::vector<Value> items = items_of(r, self);
  const int64_t count = (a.need(0, "slices"), a.integer(0, "slices", 0));
  if (count == 0) fail("division by zero");
  const Value* fill = a.find(1, "fill_with");
  std::vector<Value> out;
  auto at = items.begin();
  const auto size = static_cast<int64_t>(items.size());
  for (int64_t i = 0; i < count; ++i) {
    const bool longer = i < size % count;
    const auto end = at + static_cast<std::ptrdiff_t>(size / count + (longer ? 1 : 0));
    std::vector<Value> part(at, end);
    if (fill && !fill->is_none() && !longer) part.push_back(*fill);
    out.push_back(r.list(std::move(part)));
    at = end;
  }
  return r.generator(std::move(out));
}

Value unique(Runtime& r, const Value& self, const Args& a) {
  a.allow({"case_sensitive", "attribute"});
  const Value* path = path_of(a, 1);
  std::vector<Value> seen, out;
  for (const Value& v : items_of(r, self)) {
    const Value key = folded(r, path ? member(r, v, *path) : v, a.flag(0, "case_sensitive", false));
    if (key.is_dict() || (key.is_list() && !key.is_tuple()))
      fail(std::string("unhashable type: '") + key.type_name() + "'");
    r.work(1 + seen.size());
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equal(s, key); }))
      continue;
    seen.push_back(key);
    out.push_back(v);
  }
  return r.generator(std::move(out));
}

Value reverse(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  std::vector<Value> items = items_of(r, self);
  std::reverse(items.begin(), items.end());
  if (!self.is_text())
    return self.is_generator() ? r.list(std::move(items)) : r.generator(std::move(items));
  std::string out;
  for (const Value& v : items) out += v.as_text();
  return r.text(std::move(out));
}

template <bool kMost>
Value extreme(Runtime& r, const Value& self, const Args& a) {
  a.allow({"case_sensitive", "attribute"});
  const std::vector<Value> items = items_of(r, self);
  const bool case_sensitive = a.flag(0, "case_sensitive", false);
  const Value* path = path_of(a, 1);
  const Value* best = nullptr;
  Value best_key;
  for (const Value& v : items) {
    const Value key = folded(r, path ? member(r, v, *path) : v, case_sensitive);
    if (best && (kMost ? !less(best_key, key) : !less(key, best_key))) continue;
    best = &v;
    best_key = key;
  }
  return best ? *best : Value::undefined("the extreme of no items");
}

Value sum(Runtime& r, const Value& self, const Args& a) {
  a.allow({"attribute", "start"});
  const Value* path = path_of(a, 0);
  const Value* start = a.find(1, "start");
  Value total = start ? *start : Value::integer(0);
  if (total.is_text()) fail("sum() can't sum strings; use join");
  for (const Value& v : items_of(r, self))
    total = binary(r, "+", total, path ? member(r, v, *path) : v);
  return total;
}

constexpr FilterEntry kListFilters[] = {{"join", join},
                                        {"first", end_item<false>},
                                        {"last", end_item<true>},
                                        {"list", list_filter},
                                        {"items", items_filter},
                                        {"select", choose<true, false>},
                                        {"reject", choose<false, false>},
                                        {"selectattr", choose<true, true>},
                                        {"rejectattr", choose<false, true>},
                                        {"map", map},
                                        {"dictsort", dictsort},
                                        {"sort", sort},
                                        {"groupby", group_by},
                                        {"batch", batch},
                                        {"slice", slice_filter},
                                        {"unique", unique},
                                        {"reverse", reverse},
                                        {"min", extreme<false>},
                                        {"max", extreme<true>},
                                        {"sum", sum}};

}  // namespace

std::span<const FilterEntry> list_filters() { return kListFilters; }

}  // namespace klens::jinja
