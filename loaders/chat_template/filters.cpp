#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <utility>

#include "loaders/chat_template/runtime.h"
#include "loaders/chat_template/text.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

using Filter = Value (*)(Runtime&, const Value& self, const Args&);

Value trim(Runtime& r, const Value& self, const Args& a) {
  a.allow({"chars"});
  const Value* set = a.find(0, "chars");
  const bool has_set = set && !set->is_none();
  const std::string characters = has_set ? a.text(0, "chars") : "";
  return r.text(strip(to_text(self), has_set ? &characters : nullptr, true, true));
}

Value length_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({});
  return Value::integer(length_of(self));
}

Value to_json_filter(Runtime& r, const Value& self, const Args& a) {
  a.allow({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = a.flag(0, "ensure_ascii", false);
  const int64_t indent = a.integer(1, "indent", -1);
  if (indent > 64) fail("an indent of more than 64");
  style.indent = static_cast<int>(std::max<int64_t>(indent, -1));
  if (style.indent >= 0) style.item_separator.assign(1, ',');
  if (const Value* separators = a.find(2, "separators"); separators && !separators->is_none()) {
    const std::vector<Value> both = items_of(r, *separators);
    if (both.size() != 2 || !both[0].is_text() || !both[1].is_text())
      fail("separators must be two texts");
    style.item_separator = both[0].as_text();
    style.key_separator = both[1].as_text();
  }
  style.sort_keys = a.flag(3, "sort_keys", false);
  return r.text(to_json(self, style));
}

template <std::string (*kChange)(std::string_view)>
Value change(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return r.text(kChange(to_text(self)));
}

// Unlike the method title(), letters behind an apostrophe stay small.
Value title(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  const std::string text = to_text(self);
  std::string out;
  bool at_begin = true;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = utf8::next(text, at);
    const std::string_view one = std::string_view(text).substr(begin, at - begin);
    out += at_begin ? upper(one) : lower(one);
    at_begin = is_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) !=
                                               std::string_view::npos);
  }
  return r.text(std::move(out));
}

Value replace(Runtime& r, const Value& self, const Args& a) {
  a.allow({"old", "new", "count"});
  return r.text(replaced(to_text(self), to_text(a.need(0, "old")), to_text(a.need(1, "new")),
                         a.integer(2, "count", -1)));
}

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

Value default_filter(Runtime& r, const Value& self, const Args& a) {
  a.allow({"default_value", "boolean"});
  const Value* otherwise = a.find(0, "default_value");
  const bool missing = self.is_undefined() || (a.flag(1, "boolean", false) && !self.truth());
  return !missing ? self : otherwise ? *otherwise : r.text("");
}

Value string_filter(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return self.is_text() ? self : r.text(to_text(self));
}

Value int_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({"default"});
  const int64_t otherwise = a.integer(0, "default", 0);
  if (self.is_real()) {
    const double d = std::trunc(self.as_real());
    return Value::integer(std::abs(d) < 9e18 ? static_cast<int64_t>(d) : otherwise);
  }
  if (self.is_number()) return Value::integer(self.as_integer());
  if (!self.is_text()) return Value::integer(otherwise);
  std::string text = strip(self.as_text(), nullptr, true, true);
  std::erase(text, '_');
  if (text.starts_with('+')) text.erase(0, 1);
  int64_t whole = 0;
  const auto end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, whole);
  if (result.ec == std::errc() && result.ptr == end) return Value::integer(whole);
  double real = 0;
  const auto as_real = std::from_chars(text.data(), end, real);
  const bool good = as_real.ec == std::errc() && as_real.ptr == end && std::abs(real) < 9e18;
  return Value::integer(good ? static_cast<int64_t>(real) : otherwise);
}

Value float_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({"default"});
  const Value* otherwise = a.find(0, "default");
  const double fallback = otherwise && otherwise->is_number() ? otherwise->as_real() : 0.0;
  if (self.is_number()) return Value::real(self.as_real());
  if (!self.is_text()) return Value::real(fallback);
  const std::string text = strip(self.as_text(), nullptr, true, true);
  double real = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), real);
  const bool good = result.ec == std::errc() && result.ptr == text.data() + text.size();
  return Value::real(good ? real : fallback);
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

Value indent(Runtime& r, const Value& self, const Args& a) {
  a.allow({"width", "first", "blank"});
  const Value* width = a.find(0, "width");
  std::string margin;
  if (width && width->is_text()) {
    margin = width->as_text();
  } else {
    const int64_t count = a.integer(0, "width", 4);
    if (count > 1000) fail("an indent of more than 1000");
    margin.assign(static_cast<size_t>(std::max<int64_t>(count, 0)), ' ');
  }
  const bool blank = a.flag(2, "blank", false);
  std::string out;
  bool first = true;
  for (const std::string& line : lines(to_text(self) + "\n")) {
    if (!first) out += '\n';
    if (first ? a.flag(1, "first", false) : blank || !line.empty()) out += margin;
    out += line;
    first = false;
    check_text_size(out.size());
  }
  return r.text(std::move(out));
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

Value abs_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({});
  if (self.is_real()) return Value::real(std::abs(self.as_real()));
  if (!self.is_number()) fail("abs needs a number");
  return self.as_integer() < 0 ? negated(self) : Value::integer(self.as_integer());
}

Value round_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({"precision", "method"});
  if (!self.is_number()) fail("round needs a number");
  const int64_t digits = std::clamp<int64_t>(a.integer(0, "precision", 0), -300, 300);
  const std::string method = a.text(1, "method", "common");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = self.as_real() * scale;
  const double rounded = method == "ceil"    ? std::ceil(scaled)
                         : method == "floor" ? std::floor(scaled)
                                             : std::nearbyint(scaled);
  return Value::real(rounded / scale);
}

Value safe(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return string_filter(r, self, a);
}

struct Entry {
  const char* name;
  Filter filter;
};

constexpr Entry kFilters[] = {{"trim", trim},
                              {"length", length_filter},
                              {"count", length_filter},
                              {"tojson", to_json_filter},
                              {"upper", change<upper>},
                              {"lower", change<lower>},
                              {"capitalize", change<capitalized>},
                              {"title", title},
                              {"replace", replace},
                              {"join", join},
                              {"default", default_filter},
                              {"d", default_filter},
                              {"string", string_filter},
                              {"safe", safe},
                              {"int", int_filter},
                              {"float", float_filter},
                              {"first", end_item<false>},
                              {"last", end_item<true>},
                              {"list", list_filter},
                              {"items", items_filter},
                              {"select", choose<true, false>},
                              {"reject", choose<false, false>},
                              {"selectattr", choose<true, true>},
                              {"rejectattr", choose<false, true>},
                              {"map", map},
                              {"indent", indent},
                              {"dictsort", dictsort},
                              {"sort", sort},
                              {"unique", unique},
                              {"reverse", reverse},
                              {"min", extreme<false>},
                              {"max", extreme<true>},
                              {"sum", sum},
                              {"abs", abs_filter},
                              {"round", round_filter}};

const Entry* find(const std::string& name) {
  for (const Entry& entry : kFilters)
    if (name == entry.name) return &entry;
  return nullptr;
}

}  // namespace

bool has_filter(const std::string& name) { return find(name) != nullptr; }

Value apply_filter(Runtime& runtime, const std::string& name, const Value& value,
                   const Args& args) {
  const Entry* entry = find(name);
  if (!entry) unsupported("the filter '" + name + "' is not supported");
  runtime.work(1);
  return entry->filter(runtime, value, args);
}

}  // namespace klens::jinja
