#include "loaders/chat_template/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "loaders/chat_template/failure.h"
#include "loaders/chat_template/runtime.h"
#include "loaders/chat_template/text.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

void check_depth(int depth) {
  if (depth > kMaxValueDepth) fail("a value is nested too deeply");
}

std::string quoted(const std::string& text) {
  const bool use_double = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = use_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const char32_t c = utf8::next(text, at);
    char escaped[16] = {};
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      utf8::append(out, c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      utf8::append(out, c);
    } else {
      const char* format = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
      std::snprintf(escaped, sizeof escaped, format, static_cast<unsigned>(c));
      out += escaped;
    }
  }
  return out + quote;
}

std::string json_quoted(const std::string& text, bool ascii) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const char32_t c = utf8::next(text, at);
    static constexpr std::string_view kShort = "\"\"\\\\\bb\ff\nn\rr\tt";
    const size_t i = c < 0x80 ? kShort.find(static_cast<char>(c)) : kShort.npos;
    if (i != kShort.npos && i % 2 == 0) {
      out += '\\';
      out += kShort[i + 1];
    } else if (c < 0x20 || (ascii && c >= 0x7F)) {
      char escaped[16];
      const auto put = [&](unsigned unit) {
        std::snprintf(escaped, sizeof escaped, "\\u%04x", unit);
        out += escaped;
      };
      if (c < 0x10000) {
        put(static_cast<unsigned>(c));
      } else {
        put(0xD800 + static_cast<unsigned>((c - 0x10000) >> 10));
        put(0xDC00 + static_cast<unsigned>((c - 0x10000) & 0x3FF));
      }
    } else {
      utf8::append(out, c);
    }
  }
  return out + '"';
}

std::string range_text(const std::array<int64_t, 3>& range) {
  const std::string ends = std::to_string(range[0]) + ", " + std::to_string(range[1]);
  return "range(" + ends + (range[2] == 1 ? ")" : ", " + std::to_string(range[2]) + ")");
}

std::string json_key(const Value& key, const JsonStyle& style) {
  if (key.is_text()) return json_quoted(key.as_text(), style.ascii);
  if (key.is_list() || key.is_dict() || key.is_function() || key.is_undefined())
    fail(std::string("keys of JSON objects cannot be of type ") + key.type_name());
  return '"' + to_json(key, style) + '"';
}

}  // namespace

bool Value::is_tuple() const { return is_list() && as_list().is_tuple(); }

bool Value::is_generator() const { return is_list() && as_list().kind == List::Kind::kGenerator; }

int64_t Value::as_integer() const {
  return is_boolean() ? std::get<bool>(data_) : std::get<int64_t>(data_);
}

double Value::as_real() const {
  return is_real() ? std::get<double>(data_) : static_cast<double>(as_integer());
}

bool Value::truth() const {
  if (is_boolean() || is_integer()) return as_integer() != 0;
  if (is_real()) return as_real() != 0;
  if (is_text()) return !as_text().empty();
  if (is_list()) return is_generator() || !as_list().items.empty();
  if (is_dict()) return as_dict().kind != Dict::Kind::kDict || !as_dict().entries.empty();
  return is_function();
}

const char* Value::type_name() const {
  static constexpr const char* kNames[] = {"Undefined", "NoneType", "bool", "int",     "float",
                                           "str",       "list",     "dict", "function"};
  static constexpr const char* kLists[] = {"list",      "tuple",       "generator",  "range",
                                           "dict_keys", "dict_values", "dict_items", "tuple"};
  if (is_list()) return kLists[static_cast<size_t>(as_list().kind)];
  return kNames[data_.index()];
}

const Value* Dict::find(const Value& key) const {
  for (const auto& [k, v] : entries)
    if (equal(k, key)) return &v;
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [k, v] : entries)
    if (k.is_text() && k.as_text() == key) return &v;
  return nullptr;
}

void Dict::set(const Value& key, Value value) {
  for (auto& [k, v] : entries)
    if (equal(k, key)) {
      v = std::move(value);
      return;
    }
  entries.emplace_back(key, std::move(value));
}

bool equal(const Value& a, const Value& b, int depth) {
  check_depth(depth);
  if (a.is_number() && b.is_number())
    return a.is_real() || b.is_real() ? a.as_real() == b.as_real()
                                      : a.as_integer() == b.as_integer();
  if (a.is_text() && b.is_text()) return a.as_text() == b.as_text();
  if (a.is_list() && b.is_list()) {
    const List &l = a.as_list(), &r = b.as_list();
    const bool alike = l.is_tuple() ? r.is_tuple() : l.kind == r.kind;
    return &l == &r ||
           (alike && (l.is_sequence() || l.kind == List::Kind::kKeys) &&
            std::equal(l.items.begin(), l.items.end(), r.items.begin(), r.items.end(),
                       [&](const Value& x, const Value& y) { return equal(x, y, depth + 1); }));
  }
  if (a.is_dict() && b.is_dict()) {
    const Dict &l = a.as_dict(), &r = b.as_dict();
    if (&l == &r) return true;
    if (l.kind != Dict::Kind::kDict || r.kind != Dict::Kind::kDict) return false;
    if (l.entries.size() != r.entries.size()) return false;
    return std::all_of(l.entries.begin(), l.entries.end(), [&](const auto& entry) {
      const Value* other = r.find(entry.first);
      return other && equal(entry.second, *other, depth + 1);
    });
  }
  if (a.is_function() && b.is_function()) return &a.as_function() == &b.as_function();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b, int depth) {
  check_depth(depth);
  if (a.is_number() && b.is_number())
    return a.is_real() || b.is_real() ? a.as_real() < b.as_real() : a.as_integer() < b.as_integer();
  if (a.is_text() && b.is_text()) return a.as_text() < b.as_text();  // bytes sort as code points do
  if (a.is_list() && b.is_list() && a.is_tuple() == b.is_tuple() &&
      (a.is_tuple() ||
       (a.as_list().kind == List::Kind::kList && b.as_list().kind == a.as_list().kind))) {
    const auto &l = a.as_list().items, &r = b.as_list().items;
    for (size_t i = 0; i < l.size() && i < r.size(); ++i)
      if (!equal(l[i], r[i], depth + 1)) return less(l[i], r[i], depth + 1);
    return l.size() < r.size();
  }
  fail(std::string("'<' not supported between '") + a.type_name() + "' and '" + b.type_name() +
       "'");
}

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), end, exponent);
  // Python writes an exponent below -4 and from 16 on.
  if (exponent < -4 || exponent >= 16) return std::string(text);
  char plain[64];
  const auto plain_end =
      std::to_chars(plain, plain + sizeof plain, value, std::chars_format::fixed).ptr;
  std::string out(plain, plain_end);
  if (out.find('.') == out.npos) out += ".0";
  return out;
}

std::string to_text(const Value& value) {
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return "";
  return representation(value);
}

std::string representation(const Value& value, int depth) {
  check_depth(depth);
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (value.is_boolean()) return value.truth() ? "True" : "False";
  if (value.is_integer()) return std::to_string(value.as_integer());
  if (value.is_real()) return real_text(value.as_real());
  if (value.is_text())
    return value.is_markup() ? "Markup(" + quoted(value.as_text()) + ")" : quoted(value.as_text());
  if (value.is_function()) {
    const Function& function = value.as_function();
    return function.is_macro ? "<Macro " + quoted(function.name) + ">" : "<function>";
  }
  std::string out;
  const char* separator = "";
  if (value.is_list()) {
    const List& list = value.as_list();
    if (value.is_generator()) return "<generator object>";
    if (list.kind == List::Kind::kRange) return range_text(list.range);
    for (const Value& item : list.items) {
      out.append(separator).append(representation(item, depth + 1));
      separator = ", ";
      check_text_size(out.size());
    }
    if (list.is_tuple())
      return (list.items.size() == 1 ? out.insert(0, 1, '(') + ",)" : out.insert(0, 1, '(') + ")");
    out.insert(0, 1, '[') += "]";
    if (list.kind == List::Kind::kList) return out;
    return std::string(value.type_name()) + "(" + out + ")";
  }
  const Dict& dict = value.as_dict();
  if (dict.kind == Dict::Kind::kLoop)
    return "<LoopContext " + representation(*dict.find(std::string_view("index"))) + "/" +
           representation(*dict.find(std::string_view("length"))) + ">";
  for (const auto& [k, v] : dict.entries) {
    out.append(separator).append(representation(k, depth + 1)).append(": ");
    out.append(representation(v, depth + 1));
    separator = ", ";
    check_text_size(out.size());
  }
  out.insert(0, dict.kind == Dict::Kind::kNamespace ? "<Namespace {" : "{");
  return out + (dict.kind == Dict::Kind::kNamespace ? "}>" : "}");
}

std::string to_json(const Value& value, const JsonStyle& style, int depth) {
  check_depth(depth);
  if (value.is_none()) return "null";
  if (value.is_boolean()) return value.truth() ? "true" : "false";
  if (value.is_integer()) return std::to_string(value.as_integer());
  if (value.is_real()) {
    const double d = value.as_real();
    return std::isnan(d)   ? "NaN"
           : std::isinf(d) ? (d < 0 ? "-Infinity" : "Infinity")
                           : real_text(d);
  }
  if (value.is_text()) return json_quoted(value.as_text(), style.ascii);
  const bool is_dict = value.is_dict() && value.as_dict().kind == Dict::Kind::kDict;
  const bool is_list =
      value.is_list() && (value.is_tuple() || value.as_list().kind == List::Kind::kList);
  if (!is_list && !is_dict)
    fail(std::string("a value of type ") + value.type_name() + " cannot be written as JSON");
  const auto line = [&](int level) {
    std::string begin;
    if (!style.indent) return begin;
    begin = '\n';
    for (int i = 0; i < level; ++i) begin += *style.indent;
    return begin;
  };
  std::vector<std::string> items;
  if (is_list) {
    for (const Value& item : value.as_list().items)
      items.push_back(to_json(item, style, depth + 1));
  } else {
    auto entries = value.as_dict().entries;
    if (style.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto& a, const auto& b) { return less(a.first, b.first); });
    for (const auto& [k, v] : entries)
      items.push_back(json_key(k, style) + style.key_separator + to_json(v, style, depth + 1));
  }
  std::string out(1, is_dict ? '{' : '[');
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += style.item_separator;
    out.append(line(depth + 1)).append(items[i]);
    check_text_size(out.size());
  }
  if (!items.empty()) out += line(depth);
  return out + (is_dict ? '}' : ']');
}

}  // namespace klens::jinja
