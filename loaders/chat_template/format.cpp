// Python's two ways of putting values into a text: 'a %s' % x and 'a {}'.format(x).
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <utility>

#include "loaders/chat_template/runtime.h"
#include "loaders/chat_template/text.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

constexpr int64_t kWidestField = 100'000;
constexpr int kMostDigits = 1000;

// How one value is to be shown.
struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '\0';   // + or a space: before numbers that are not negative
  bool alternate = false;
  int64_t width = 0, precision = -1;
  char grouping = '\0';  // , or _
  char type = '\0';
};

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

int64_t read_count(std::string_view text, size_t& at, int64_t most) {
  int64_t count = 0;
  for (; at < text.size() && is_ascii_digit(text[at]); ++at) {
    count = count * 10 + (text[at] - '0');
    if (count > most) fail("a width or precision of more than " + std::to_string(most));
  }
  return count;
}

std::string padded(const std::string& sign, const std::string& body, const Spec& spec,
                   char otherwise) {
  const int64_t missing = spec.width - length(sign) - length(body);
  if (missing <= 0) return sign + body;
  const auto fill = [&](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  switch (spec.align ? spec.align : otherwise) {
    case '<':
      return sign + body + fill(missing);
    case '^':
      return fill(missing / 2) + sign + body + fill(missing - missing / 2);
    case '=':
      return sign + fill(missing) + body;
    default:
      return fill(missing) + sign + body;
  }
}

std::string sign_of(bool negative, const Spec& spec) {
  if (negative) return "-";
  return spec.sign ? std::string(1, spec.sign) : "";
}

std::string grouped(const std::string& digits, char separator, size_t by) {
  size_t whole = 0;
  while (whole < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[whole]))) ++whole;
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (separator && i > 0 && (whole - i) % by == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string integer_digits(uint64_t value, unsigned base, bool upper_case) {
  std::string out;
  do {
    out += (upper_case ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
    value /= base;
  } while (value > 0);
  std::reverse(out.begin(), out.end());
  return out;
}

std::string integer_shown(int64_t value, const Spec& spec) {
  const char type = spec.type;
  const unsigned base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  const uint64_t size = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string digits = integer_digits(size, base, type == 'X');
  if (spec.grouping) digits = grouped(digits, spec.grouping, base == 10 ? 3 : 4);
  std::string sign = sign_of(value < 0, spec);
  if (spec.alternate && base != 10) sign.append(1, '0').append(1, type);
  return padded(sign, digits, spec, '>');
}

std::string real_shown(double value, const Spec& spec) {
  const double size = std::fabs(value);
  const bool percent = spec.type == '%';
  std::string digits;
  if (!spec.type && spec.precision < 0) {
    digits = real_text(size);
  } else {
    // Without a type it is 'g' but for a digit behind the point.
    const char type = percent ? 'f' : spec.type == 'n' || !spec.type ? 'g' : spec.type;
    const std::string format = std::string("%") + (spec.alternate ? "#" : "") + ".*" + type;
    std::string buffer(static_cast<size_t>(kMostDigits) + 400, '\0');
    const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
    const int written = std::snprintf(buffer.data(), buffer.size(), format.c_str(), precision,
                                      percent ? size * 100 : size);
    digits = buffer.substr(0, static_cast<size_t>(written));
    if (!spec.type && std::isfinite(value) && digits.find_first_of(".e") == digits.npos)
      digits += ".0";
  }
  if (percent) digits += '%';
  if (spec.grouping) digits = grouped(digits, spec.grouping, 3);
  return padded(sign_of(std::signbit(value) && !std::isnan(value), spec), digits, spec, '>');
}

std::string text_shown(std::string_view text, const Spec& spec) {
  std::string body(text);
  if (spec.precision >= 0) {
    size_t end = 0;
    for (int64_t left = spec.precision; left > 0 && end < body.size(); --left)
      end += utf8::length_at(body, end);
    body.resize(end);
  }
  return padded("", body, spec, '<');
}

[[noreturn]] void bad_type(char type, const Value& value) {
  fail(std::string("unknown format code '") + type + "' for an object of type '" +
       value.type_name() + "'");
}

std::string character_of(const Value& value) {
  const int64_t c = value.is_integer() ? value.as_integer() : -1;
  if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) fail("not the number of a character");
  return utf8::encode(static_cast<char32_t>(c));
}

// ---- 'a {}'.format(x)

Spec read_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [&](size_t i) {
    return i < text.size() && std::string_view("<>=^").find(text[i]) != std::string_view::npos;
  };
  const auto skip = [&](char c) { return at < text.size() && text[at] == c && (++at, true); };
  const size_t first = text.empty() ? 0 : utf8::length_at(text, 0);
  if (first > 0 && is_align(first)) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (is_align(0)) {
    spec.align = text[at++];
  }
  for (const char sign : {'+', '-', ' '})
    if (skip(sign)) spec.sign = sign == '-' ? '\0' : sign;
  spec.alternate = skip('#');
  if (skip('0') && !spec.align) {
    spec.fill = "0";
    spec.align = '=';
  }
  spec.width = read_count(text, at, kWidestField);
  for (const char grouping : {',', '_'})
    if (skip(grouping)) spec.grouping = grouping;
  if (skip('.')) {
    if (at >= text.size() || !is_ascii_digit(text[at])) fail("a format lacks its precision");
    spec.precision = read_count(text, at, kMostDigits);
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) fail("'" + std::string(text) + "' is not a format");
  return spec;
}

std::string shown(const Value& value, const std::string& format) {
  if (format.empty()) return to_text(value);
  const Spec spec = read_spec(format);
  const auto is_of = [&](std::string_view types) {
    return !spec.type || types.find(spec.type) != types.npos;
  };
  if (value.is_text()) {
    if (!is_of("s") || spec.sign || spec.align == '=' || spec.grouping || spec.alternate)
      bad_type(spec.type ? spec.type : '=', value);
    return text_shown(value.as_text(), spec);
  }
  if (value.is_integer() || value.is_boolean()) {
    if (spec.type == 'c') {
      return text_shown(character_of(value), spec);
    }
    if (is_of("bdoxXn")) {
      if (spec.precision >= 0) fail("integers are shown without a precision");
      return integer_shown(value.as_integer(), spec);
    }
  }
  if (value.is_number()) {
    if (!is_of("eEfFgGn%")) bad_type(spec.type, value);
    return real_shown(value.as_real(), spec);
  }
  fail(std::string("a value of type ") + value.type_name() + " takes no format");
}

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Args& args, bool escapes)
      : runtime_(runtime), args_(args), escapes_(escapes) {}

  std::string run(std::string_view text, int depth = 2) {
    if (depth < 0) fail("fields of a format are nested too deeply");
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const char c = text[at];
      if ((c == '{' || c == '}') && at + 1 < text.size() && text[at + 1] == c) {
        out += c;
        at += 2;
      } else if (c == '}') {
        fail("single '}' encountered in format string");
      } else if (c == '{') {
        out += field(text, at, depth);
      } else {
        out += c;
        ++at;
      }
      check_text_size(out.size());
    }
    return out;
  }

 private:
  // A field in braces that begins at `at`, which moves behind it.
  std::string field(std::string_view text, size_t& at, int depth) {
    const size_t begin = ++at;
    int open = 1;
    for (; at < text.size(); ++at) {
      if (text[at] == '{') ++open;
      if (text[at] == '}' && --open == 0) break;
    }
    if (at >= text.size()) fail("expected '}' before end of string");
    std::string_view inside = text.substr(begin, at++ - begin);
    const size_t end = std::min(inside.find_first_of("!:"), inside.size());
    const std::string_view name = inside.substr(0, end);
    inside.remove_prefix(end);
    char conversion = '\0';
    if (inside.starts_with('!')) {
      if (inside.size() < 2 || (inside.size() > 2 && inside[2] != ':'))
        fail("expected ':' after conversion specifier");
      conversion = inside[1];
      inside.remove_prefix(2);
    }
    if (inside.starts_with(':')) inside.remove_prefix(1);
    const Value value = lookup(name);
    const std::string format = run(inside, depth - 1);
    if (conversion == 'r' || conversion == 'a')
      return shown(text_of(representation(value)), format);
    if (conversion == 's') return shown(text_of(to_text(value)), format);
    if (conversion) fail(std::string("unknown conversion specifier '") + conversion + "'");
    return escapes_ && format.empty() ? escaped(value) : shown(value, format);
  }

  static Value text_of(std::string text) { return Value::text(std::move(text)); }

  // name.attribute[key]
  Value lookup(std::string_view path) {
    size_t at = std::min(path.find_first_of(".["), path.size());
    Value value = argument(path.substr(0, at));
    while (at < path.size()) {
      const bool bracket = path[at++] == '[';
      const size_t end =
          bracket ? path.find(']', at) : std::min(path.find_first_of(".[", at), path.size());
      if (end == path.npos) fail("missing ']' in format string");
      const std::string key(path.substr(at, end - at));
      if (!bracket) {
        value = attribute(runtime_, value, key);
      } else {
        const bool number = !key.empty() && std::all_of(key.begin(), key.end(), is_ascii_digit);
        size_t from = 0;
        value = item(runtime_, value,
                     number ? Value::integer(read_count(key, from, INT32_MAX)) : text_of(key));
      }
      if (value.is_undefined()) fail_undefined(value);
      at = end + (bracket ? 1 : 0);
    }
    return value;
  }

  Value argument(std::string_view name) {
    if (!name.empty() && !std::all_of(name.begin(), name.end(), is_ascii_digit)) {
      for (const auto& [key, value] : args_.named)
        if (key == name) return value;
      fail("the format's argument '" + std::string(name) + "' is missing");
    }
    if (manual_ >= 0 && (manual_ == 1) != !name.empty())
      fail("a format numbers all of its fields or none");
    manual_ = name.empty() ? 0 : 1;
    size_t at = 0;
    const size_t place =
        name.empty() ? next_++ : static_cast<size_t>(read_count(name, at, INT32_MAX));
    if (place >= args_.positional.size()) fail("a format has more fields than there are values");
    return args_.positional[place];
  }

  Runtime& runtime_;
  const Args& args_;
  bool escapes_;
  int manual_ = -1;  // whether fields have numbers; -1: not known yet
  size_t next_ = 0;
};

// ---- 'a %s' % x

class PercentFormatter {
 public:
  PercentFormatter(const Value& values, bool escapes) : escapes_(escapes) {
    is_mapping_ = values.is_dict() && values.as_dict().kind == Dict::Kind::kDict;
    mapping_ = values;
    if (values.is_tuple()) {
      values_ = values.as_list().items;
    } else {
      values_ = {values};
    }
  }

  std::string run(std::string_view text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      if (text[at] != '%') {
        out += text[at++];
      } else {
        out += conversion(text, ++at);
      }
      check_text_size(out.size());
    }
    const bool lone =
        is_mapping_ || mapping_.is_undefined() || (!mapping_.is_tuple() && mapping_.is_list());
    if (next_ < values_.size() && !(next_ == 0 && lone) && !keyed_)
      fail("not all arguments converted during string formatting");
    return out;
  }

 private:
  const Value& next() {
    if (next_ >= values_.size()) fail("not enough arguments for format string");
    return values_[next_++];
  }

  std::string conversion(std::string_view text, size_t& at) {
    Value value;
    bool has_value = false;
    if (at < text.size() && text[at] == '(') {
      const size_t end = text.find(')', at);
      if (!is_mapping_) fail("format requires a mapping");
      if (end == text.npos) fail("incomplete format key");
      const Value* found = mapping_.as_dict().find(text.substr(at + 1, end - at - 1));
      if (!found)
        fail("the format's key '" + std::string(text.substr(at + 1, end - at - 1)) +
             "' is missing");
      value = *found;
      has_value = keyed_ = true;
      at = end + 1;
    }
    Spec spec = flags(text, at);
    spec.width = count(text, at, kWidestField, spec);
    if (at < text.size() && text[at] == '.') {
      ++at;
      spec.precision = count(text, at, kMostDigits, spec);
    }
    while (at < text.size() && std::string_view("hlL").find(text[at]) != std::string_view::npos)
      ++at;
    if (at >= text.size()) fail("incomplete format");
    const char type = text[at++];
    if (type == '%') return "%";
    if (!has_value) value = next();
    return one(value, type, spec);
  }

  static Spec flags(std::string_view text, size_t& at) {
    Spec spec;
    for (; at < text.size(); ++at) {
      const char c = text[at];
      if (c == '-') {
        spec.align = '<';
      } else if (c == '0') {
        spec.fill = "0";
      } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
        spec.sign = c;
      } else if (c == '#') {
        spec.alternate = true;
      } else if (c != ' ') {
        break;
      }
    }
    if (spec.align) spec.fill = " ";
    return spec;
  }

  int64_t count(std::string_view text, size_t& at, int64_t most, Spec& spec) {
    if (at >= text.size() || text[at] != '*') return read_count(text, at, most);
    ++at;
    const Value& value = next();
    if (!value.is_integer() || value.as_integer() > most || value.as_integer() < -most)
      fail("* wants int");
    if (value.as_integer() < 0) spec.align = '<';
    return std::abs(value.as_integer());
  }

  std::string one(const Value& value, char type, Spec spec) {
    const bool numeric_fill = spec.fill == "0";
    if (type == 's' || type == 'r' || type == 'a' || type == 'c') {
      spec.fill = " ";
      std::string text = type == 's'   ? (escapes_ ? escaped(value) : to_text(value))
                         : type == 'c' ? character(value)
                                       : representation(value);
      if (!spec.align) spec.align = '>';
      return text_shown(text, spec);
    }
    if (std::string_view("diuoxXeEfFgG").find(type) == std::string_view::npos)
      fail(std::string("unsupported format character '") + type + "'");
    if (!value.is_number())
      fail(std::string("%") + type + " format: a number is required, not " + value.type_name());
    if (numeric_fill && !spec.align) spec.align = '=';
    spec.type = type;
    if (std::string_view("eEfFgG").find(type) != std::string_view::npos)
      return real_shown(value.as_real(), spec);
    if (value.is_real() && std::string_view("diu").find(type) == std::string_view::npos)
      fail(std::string("%") + type + " format: an integer is required, not float");
    if (value.is_real() && !(std::fabs(value.as_real()) < 9e18)) fail("an integer is out of range");
    const int64_t whole =
        value.is_real() ? static_cast<int64_t>(value.as_real()) : value.as_integer();
    if (type == 'i' || type == 'u') spec.type = 'd';
    if (spec.precision < 0) return integer_shown(whole, spec);
    Spec bare = spec;
    bare.width = spec.precision + (whole < 0 || spec.sign ? 1 : 0);
    bare.fill = "0";
    bare.align = '=';
    const std::string digits = integer_shown(whole, bare);
    spec.type = '\0';
    spec.precision = -1;
    if (spec.align == '=') spec.fill = "0";
    return padded("", digits, spec, '>');
  }

  static std::string character(const Value& value) {
    if (value.is_text() && length(value.as_text()) == 1) return value.as_text();
    return character_of(value);
  }

  bool escapes_, is_mapping_ = false, keyed_ = false;
  Value mapping_;
  std::vector<Value> values_;
  size_t next_ = 0;
};

}  // namespace

std::string escaped(const Value& value) {
  if (value.is_markup()) return value.as_text();
  std::string out;
  for (const char c : to_text(value)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Value percent_format(Runtime& runtime, const Value& format, const Value& values) {
  runtime.work(1 + format.as_text().size() / 16);
  return runtime.text(PercentFormatter(values, format.is_markup()).run(format.as_text()),
                      format.is_markup());
}

Value brace_format(Runtime& runtime, const Value& format, const Args& args) {
  runtime.work(1 + format.as_text().size() / 16);
  return runtime.text(BraceFormatter(runtime, args, format.is_markup()).run(format.as_text()),
                      format.is_markup());
}

}  // namespace klens::jinja
