#include <algorithm>
#include <cctype>
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
  if (self.is_undefined()) return r.list(std::move(out));
  if (!self.is_dict()) fail("Can only get item pairs from a mapping.");
  for (const auto& [k, v] : self.as_dict().entries) out.push_back(r.list({k, v}, true));
  return r.list(std::move(out));
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
  if (kByMember && a.positional.empty()) fail("the name of a member is missing");
  std::vector<Value> out;
  for (const Value& value : items_of(r, self)) {
    const Value tested = kByMember ? member(r, value, a.positional[0]) : value;
    const bool yes = a.positional.size() > kSkip
                         ? apply_test(r, a.text(kSkip, ""), tested, rest_of(a, kSkip + 1))
                         : tested.truth();
    if (yes == kKeep) out.push_back(value);
  }
  return r.list(std::move(out));
}

Value map(Runtime& r, const Value& self, const Args& a) {
  std::vector<Value> out;
  const Value* path = a.positional.empty() ? a.find(0, "attribute") : nullptr;
  const Value* otherwise = a.positional.empty() ? a.find(1, "default") : nullptr;
  for (const Value& value : items_of(r, self)) {
    if (!path) {
      out.push_back(apply_filter(r, a.text(0, "filter"), value, rest_of(a, 1)));
      continue;
    }
    out.push_back(member(r, value, *path, otherwise));
  }
  return r.list(std::move(out));
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
  if (!self.is_dict()) fail("dictsort needs a dict");
  const bool case_sensitive = a.flag(0, "case_sensitive", false);
  const bool by_value = a.text(1, "by", "key") == "value";
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [k, v] : self.as_dict().entries)
    keyed.emplace_back(folded(r, by_value ? v : k, case_sensitive), r.list({k, v}, true));
  sort_by(r, keyed, a.flag(2, "reverse", false));
  std::vector<Value> out;
  for (auto& [key, pair] : keyed) out.push_back(pair);
  return r.list(std::move(out));
}

Value sort(Runtime& r, const Value& self, const Args& a) {
  a.allow({"reverse", "case_sensitive", "attribute"});
  const Value* path = a.find(2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& v : items_of(r, self))
    keyed.emplace_back(folded(r, path && !path->is_none() ? member(r, v, *path) : v,
                              a.flag(1, "case_sensitive", false)),
                       v);
  sort_by(r, keyed, a.flag(0, "reverse", false));
  std::vector<Value> out;
  for (auto& [key, value] : keyed) out.push_back(value);
  return r.list(std::move(out));
}

Value unique(Runtime& r, const Value& self, const Args& a) {
  a.allow({"case_sensitive", "attribute"});
  const Value* path = a.find(1, "attribute");
  std::vector<Value> seen, out;
  for (const Value& v : items_of(r, self)) {
    const Value key = folded(r, path && !path->is_none() ? member(r, v, *path) : v,
                             a.flag(0, "case_sensitive", false));
    r.work(1 + seen.size());
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equal(s, key); }))
      continue;
    seen.push_back(key);
    out.push_back(v);
  }
  return r.list(std::move(out));
}

Value reverse(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  std::vector<Value> items = items_of(r, self);
  std::reverse(items.begin(), items.end());
  if (!self.is_text()) return r.list(std::move(items));
  std::string out;
  for (const Value& v : items) out += v.as_text();
  return r.text(std::move(out));
}

template <bool kMost>
Value extreme(Runtime& r, const Value& self, const Args& a) {
  const std::vector<Value> items = items_of(r, self);
  const bool case_sensitive = a.flag(0, "case_sensitive", false);
  const Value* best = nullptr;
  for (const Value& v : items) {
    if (best) {
      const Value key = folded(r, v, case_sensitive), other = folded(r, *best, case_sensitive);
      if (kMost ? !less(other, key) : !less(key, other)) continue;
    }
    best = &v;
  }
  return best ? *best : Value::undefined("the extreme of no items");
}

Value sum(Runtime& r, const Value& self, const Args& a) {
  a.allow({"attribute", "start"});
  const Value* path = a.find(0, "attribute");
  const Value* start = a.find(1, "start");
  Value total = start ? *start : Value::integer(0);
  for (const Value& v : items_of(r, self))
    total = binary(r, "+", total, path && !path->is_none() ? member(r, v, *path) : v);
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
                                        {"unique", unique},
                                        {"reverse", reverse},
                                        {"min", extreme<false>},
                                        {"max", extreme<true>},
                                        {"sum", sum}};

}  // namespace

std::span<const FilterEntry> list_filters() { return kListFilters; }

}  // namespace klens::jinja
