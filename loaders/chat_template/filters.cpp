#include "loaders/chat_template/filters.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "loaders/chat_template/runtime.h"
#include "loaders/chat_template/text.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

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

constexpr FilterEntry kFilters[] = {{"trim", trim},
                                    {"length", length_filter},
                                    {"count", length_filter},
                                    {"tojson", to_json_filter},
                                    {"upper", change<upper>},
                                    {"lower", change<lower>},
                                    {"capitalize", change<capitalized>},
                                    {"title", title},
                                    {"replace", replace},
                                    {"default", default_filter},
                                    {"d", default_filter},
                                    {"string", string_filter},
                                    {"safe", safe},
                                    {"int", int_filter},
                                    {"float", float_filter},
                                    {"indent", indent},
                                    {"abs", abs_filter},
                                    {"round", round_filter}};

const FilterEntry* find(const std::string& name) {
  for (const FilterEntry& entry : kFilters)
    if (name == entry.name) return &entry;
  for (const FilterEntry& entry : list_filters())
    if (name == entry.name) return &entry;
  return nullptr;
}

}  // namespace

bool has_filter(const std::string& name) { return find(name) != nullptr; }

Value apply_filter(Runtime& runtime, const std::string& name, const Value& value,
                   const Args& args) {
  const FilterEntry* entry = find(name);
  if (!entry) unsupported("the filter '" + name + "' is not supported");
  runtime.work(1);
  return entry->filter(runtime, value, args);
}

}  // namespace klens::jinja
