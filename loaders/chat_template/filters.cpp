#include "loaders/chat_template/filters.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>

#include "loaders/chat_template/runtime.h"
#include "loaders/chat_template/text.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

Value length_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({});
  return Value::integer(length_of(self));
}

Value to_json_filter(Runtime& r, const Value& self, const Args& a) {
  a.allow({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = a.flag(0, "ensure_ascii", false);
  if (const Value* indent = a.find(1, "indent"); indent && !indent->is_none()) {
    const int64_t width = indent->is_text() ? 0 : a.integer(1, "indent", 0);
    if (width > 64 || (indent->is_text() && indent->as_text().size() > 64))
      fail("an indent of more than 64");
    style.indent = indent->is_text()
                       ? indent->as_text()
                       : std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    style.item_separator.assign(1, ',');
  }
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

// As Python reads a number: white space around it, '_' between digits.
std::string number_text(const Value& value) {
  std::string text = strip(value.as_text(), nullptr, true, true);
  for (size_t i = 1; i + 1 < text.size(); ++i)
    if (text[i] == '_' && std::isxdigit(static_cast<unsigned char>(text[i - 1])) &&
        std::isxdigit(static_cast<unsigned char>(text[i + 1])))
      text.erase(i, 1);
  if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.erase(0, 1);
  return text;
}

std::optional<double> read_real(const Value& value) {
  if (value.is_number()) return value.as_real();
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_text()) return {};
  const std::string text = number_text(value);
  double real = 0;
  const auto end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, real);
  if (result.ec == std::errc() && result.ptr == end) return real;
  return {};
}

std::optional<int64_t> read_whole(std::string text, int base) {
  const std::string prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  const bool negative = text.starts_with('-');
  if (negative) text.erase(0, 1);
  if (!prefix.empty() && lower(text).starts_with(prefix)) text.erase(0, 2);
  if (text.empty() || text[0] == '-') return {};
  int64_t whole = 0;
  const auto end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, whole, base);
  if (result.ec == std::errc::result_out_of_range) fail("an integer is out of range");
  if (result.ec != std::errc() || result.ptr != end) return {};
  return negative ? -whole : whole;
}

Value int_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({"default", "base"});
  const Value* otherwise = a.find(0, "default");
  const int64_t base = a.integer(1, "base", 10);
  if (base < 2 || base > 36) fail("int() base must be >= 2 and <= 36");
  if (self.is_integer() || self.is_boolean()) return Value::integer(self.as_integer());
  if (self.is_text())
    if (const auto whole = read_whole(number_text(self), static_cast<int>(base)))
      return Value::integer(*whole);
  const std::optional<double> real = read_real(self);
  if (real && std::isfinite(*real)) {
    if (!(std::abs(*real) < 9.2e18)) fail("an integer is out of range");
    return Value::integer(static_cast<int64_t>(*real));
  }
  if (self.is_real() && std::isinf(*real)) fail("cannot convert float infinity to integer");
  return otherwise ? *otherwise : Value::integer(0);
}

Value float_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({"default"});
  if (const std::optional<double> real = read_real(self)) return Value::real(*real);
  const Value* otherwise = a.find(0, "default");
  return otherwise ? *otherwise : Value::real(0.0);
}

Value abs_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({});
  if (self.is_real()) return Value::real(std::abs(self.as_real()));
  if (!self.is_number()) fail("abs needs a number");
  return self.as_integer() < 0 ? negated(self) : Value::integer(self.as_integer());
}

Value round_filter(Runtime&, const Value& self, const Args& a) {
  a.allow({"precision", "method"});
  if (self.is_undefined()) fail_undefined(self);
  if (!self.is_number()) fail("round needs a number");
  const int64_t digits = std::clamp<int64_t>(a.integer(0, "precision", 0), -300, 300);
  const std::string method = a.text(1, "method", "common");
  const double value = self.as_real(), scale = std::pow(10.0, static_cast<double>(digits));
  if (method == "ceil" || method == "floor") {
    const double scaled = value * scale;
    return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (method != "common") fail("method must be common, ceil or floor");
  if (!self.is_real() && digits >= 0) return Value::integer(self.as_integer());
  if (digits < 0) {
    const double rounded = std::nearbyint(value * scale) / scale;
    if (self.is_real()) return Value::real(rounded);
    if (!(std::abs(rounded) < 9.2e18)) fail("an integer is out of range");
    return Value::integer(static_cast<int64_t>(rounded));
  }
  // The nearest decimal of that many digits, as the number is, not as it is shown.
  char buffer[700];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), value);
  double rounded = value;
  std::from_chars(buffer, buffer + std::strlen(buffer), rounded);
  return Value::real(rounded);
}

Value attr_filter(Runtime& r, const Value& self, const Args& a) {
  a.allow({"name"});
  return only_attribute(r, self, a.text(0, "name"));
}

Value file_size(Runtime& r, const Value& self, const Args& a) {
  a.allow({"binary"});
  static constexpr const char* kPrefixes[][2] = {{"kB", "KiB"}, {"MB", "MiB"}, {"GB", "GiB"},
                                                 {"TB", "TiB"}, {"PB", "PiB"}, {"EB", "EiB"},
                                                 {"ZB", "ZiB"}, {"YB", "YiB"}};
  const bool binary = a.flag(0, "binary", false);
  const std::optional<double> bytes = read_real(self);
  if (!bytes) fail("filesizeformat needs a number");
  const double base = binary ? 1024 : 1000;
  if (*bytes == 1) return r.text("1 Byte");
  if (*bytes < base)
    return r.text(std::to_string(static_cast<int64_t>(std::max(*bytes, -9e18))) + " Bytes");
  char buffer[400];
  double unit = base;
  for (const auto& prefix : kPrefixes) {
    unit *= base;
    std::snprintf(buffer, sizeof buffer, "%.1f %s", base * *bytes / unit, prefix[binary ? 1 : 0]);
    if (*bytes < unit) break;
  }
  return r.text(buffer);
}

constexpr FilterEntry kFilters[] = {
    {"length", length_filter},   {"count", length_filter}, {"tojson", to_json_filter},
    {"default", default_filter}, {"d", default_filter},    {"string", string_filter},
    {"int", int_filter},         {"float", float_filter},  {"abs", abs_filter},
    {"round", round_filter},     {"attr", attr_filter},    {"filesizeformat", file_size}};

const FilterEntry* find_filter(const std::string& name) {
  for (const std::span<const FilterEntry> table :
       {std::span<const FilterEntry>(kFilters), list_filters(), text_filters()})
    for (const FilterEntry& entry : table)
      if (name == entry.name) return &entry;
  return nullptr;
}

}  // namespace

bool has_filter(const std::string& name) { return find_filter(name) != nullptr; }

Value apply_filter(Runtime& runtime, const std::string& name, const Value& value,
                   const Args& args) {
  const FilterEntry* entry = find_filter(name);
  if (!entry) unsupported("the filter '" + name + "' is not supported");
  runtime.work(1);
  return entry->filter(runtime, value, args);
}

}  // namespace klens::jinja
