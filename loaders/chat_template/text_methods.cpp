// Python's methods of texts.
#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "loaders/chat_template/runtime.h"
#include "loaders/chat_template/text.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

using Method = Value (*)(Runtime&, const Value& self, const Args&);

template <bool kLeft, bool kRight>
Value strip_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"chars"});
  const Value* set = a.find(0, "chars");
  const bool has_set = set && !set->is_none();
  const std::string characters = has_set ? a.text(0, "chars") : "";
  return r.text(strip(self.as_text(), has_set ? &characters : nullptr, kLeft, kRight));
}

template <bool kFromRight>
Value split_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"sep", "maxsplit"});
  const Value* separator = a.find(0, "sep");
  const int64_t most = a.integer(1, "maxsplit", -1);
  r.memory(self.as_text().size() * 32);
  if (!separator || separator->is_none()) return r.texts(split(self.as_text(), most, kFromRight));
  return r.texts(split_at(self.as_text(), a.text(0, "sep"), most, kFromRight));
}

// The part of a text between the characters that the arguments at `place` and behind it name.
struct Part {
  std::string_view text;
  int64_t begin = 0;     // in characters
  bool outside = false;  // begins behind the text's end
};
Part part_of(Runtime& r, const Value& self, const Args& a, size_t place) {
  const std::string& text = self.as_text();
  r.work(1 + text.size() / 64);
  if (a.positional.size() <= place) return {text};
  const int64_t size = length(text);
  const auto position = [&](size_t at, int64_t otherwise) {
    const int64_t i = a.integer(at, "", otherwise);
    return i < 0 ? std::max<int64_t>(i + size, 0) : i;
  };
  const int64_t begin = position(place, 0), end = std::min(position(place + 1, size), size);
  if (begin > size || begin > end) return {"", begin, true};
  size_t from = 0;
  for (int64_t i = 0; i < begin; ++i) from += utf8::length_at(text, from);
  size_t to = from;
  for (int64_t i = begin; i < end; ++i) to += utf8::length_at(text, to);
  return {std::string_view(text).substr(from, to - from), begin};
}

template <bool kAtEnd>
Value affix_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"", "", ""});
  const Part part = part_of(r, self, a, 1);
  const auto has = [&](const Value& affix) {
    if (!affix.is_text()) fail("startswith and endswith need a text or a tuple of texts");
    if (part.outside) return false;
    return kAtEnd ? part.text.ends_with(affix.as_text()) : part.text.starts_with(affix.as_text());
  };
  const Value& affix = a.need(0, "affix");
  if (affix.is_text()) return Value::boolean(has(affix));
  if (!affix.is_tuple()) fail("startswith and endswith need a text or a tuple of texts");
  const std::vector<Value>& items = affix.as_list().items;
  return Value::boolean(std::any_of(items.begin(), items.end(), has));
}

template <bool kFromRight, bool kNeeded>
Value find_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"", "", ""});
  const Part part = part_of(r, self, a, 1);
  const std::string sub = a.text(0, "sub");
  const size_t at = part.outside ? part.text.npos
                    : kFromRight ? part.text.rfind(sub)
                                 : part.text.find(sub);
  if (at == part.text.npos && kNeeded) fail("substring not found");
  return Value::integer(at == part.text.npos ? -1 : part.begin + length(part.text.substr(0, at)));
}

Value count_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"", "", ""});
  const Part part = part_of(r, self, a, 1);
  const std::string sub = a.text(0, "sub");
  if (part.outside) return Value::integer(0);
  if (sub.empty()) return Value::integer(length(part.text) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = part.text.find(sub, at)) != part.text.npos; at += sub.size()) ++count;
  return Value::integer(count);
}

template <std::string (*kChange)(std::string_view)>
Value change_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return r.text(kChange(self.as_text()));
}

template <bool kAtEnd>
Value remove_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({""});
  const std::string affix = a.text(0, "affix");
  std::string_view text = self.as_text();
  if (kAtEnd && text.ends_with(affix)) text.remove_suffix(affix.size());
  if (!kAtEnd && text.starts_with(affix)) text.remove_prefix(affix.size());
  return r.text(std::string(text));
}

// Whether the text is not empty and all its characters are of one kind.
template <bool (*kIs)(char32_t)>
Value all_method(Runtime&, const Value& self, const Args& a) {
  a.allow({});
  const std::string& text = self.as_text();
  bool all = !text.empty();
  for (size_t at = 0; all && at < text.size();) all = kIs(utf8::next(text, at));
  return Value::boolean(all);
}

std::string_view category(char32_t c) {
  return utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
}
bool is_decimal(char32_t c) { return category(c) == "Nd"; }
bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
}
bool is_numeric(char32_t c) { return category(c)[0] == 'N'; }
bool is_letter(char32_t c) { return category(c)[0] == 'L'; }
bool is_letter_or_digit(char32_t c) { return is_numeric(c) || is_letter(c); }

Value ascii_method(Runtime&, const Value& self, const Args& a) {
  a.allow({});
  return Value::boolean(std::all_of(self.as_text().begin(), self.as_text().end(),
                                    [](char c) { return static_cast<unsigned char>(c) < 0x80; }));
}

Value printable_method(Runtime& r, const Value& self, const Args& a) {
  return self.as_text().empty() ? Value::boolean(true) : all_method<is_printable>(r, self, a);
}

// Letters, and all of them of the case that `change` makes.
template <std::string (*kChange)(std::string_view), std::string (*kOther)(std::string_view)>
Value case_method(Runtime&, const Value& self, const Args& a) {
  a.allow({});
  const std::string& text = self.as_text();
  return Value::boolean(kChange(text) == text && kOther(text) != text);
}

std::string swapped(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const std::string_view one = text.substr(at, utf8::length_at(text, at));
    const std::string small = lower(one);
    out += small == one ? upper(one) : small;
    at += one.size();
  }
  return out;
}

Value replace_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"old", "new", "count"});
  return r.text(
      replaced(self.as_text(), a.text(0, "old"), a.text(1, "new"), a.integer(2, "count", -1)));
}

Value join_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({""});
  std::string out;
  bool first = true;
  for (const Value& item : items_of(r, a.need(0, "iterable"))) {
    if (!item.is_text() && !self.is_markup()) fail("join() needs texts");
    if (!std::exchange(first, false)) out += self.as_text();
    out += self.is_markup() ? escaped(item) : item.as_text();
    check_text_size(out.size());
  }
  return r.text(std::move(out));
}

Value lines_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"keepends"});
  return r.texts(lines(self.as_text(), a.flag(0, "keepends", false)));
}

enum class Side { kLeft, kRight, kCenter };
template <Side kSide>
Value pad_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"", ""});
  const std::string fill = a.text(1, "", " ");
  if (length(fill) != 1) fail("the fill character must be exactly one character long");
  const int64_t width = (a.need(0, "width"), a.integer(0, "width", 0));
  return r.text(padded_to(self.as_text(), width, fill,
                          kSide == Side::kLeft    ? '<'
                          : kSide == Side::kRight ? '>'
                                                  : '^'));
}

Value zfill_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({""});
  std::string text = self.as_text(), sign;
  if (text.starts_with('+') || text.starts_with('-')) {
    sign = text.substr(0, 1);
    text.erase(0, 1);
  }
  const int64_t width =
      std::max<int64_t>(a.integer(0, "width", 0), 1) - static_cast<int64_t>(sign.size());
  return r.text(sign + padded_to(text, width, "0", '>'));
}

template <bool kFromRight>
Value partition_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({""});
  const std::string& text = self.as_text();
  const std::string separator = a.text(0, "sep");
  if (separator.empty()) fail("empty separator");
  const size_t at = kFromRight ? text.rfind(separator) : text.find(separator);
  if (at == text.npos) {
    const Value none = r.text("");
    return r.tuple(kFromRight ? std::vector<Value>{none, none, self}
                              : std::vector<Value>{self, none, none});
  }
  return r.tuple(
      {r.text(text.substr(0, at)), r.text(separator), r.text(text.substr(at + separator.size()))});
}

Value expandtabs_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"tabsize"});
  const int64_t size = a.integer(0, "tabsize", 8);
  if (size > 1000) fail("a tab of more than 1000");
  std::string out;
  int64_t column = 0;
  for (const std::string& c : characters(self.as_text())) {
    const int64_t spaces = c == "\t" && size > 0 ? size - column % size : 0;
    out += c == "\t" ? std::string(static_cast<size_t>(spaces), ' ') : c;
    column = c == "\n" || c == "\r" ? 0 : column + (c == "\t" ? spaces : 1);
    check_text_size(out.size());
  }
  return r.text(std::move(out));
}

Value format_method(Runtime& r, const Value& self, const Args& a) {
  return brace_format(r, self, a);
}

Value format_map_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({""});
  const Value& mapping = a.need(0, "mapping");
  if (!mapping.is_dict()) fail("format_map() needs a mapping");
  Args named;
  for (const auto& [key, value] : mapping.as_dict().entries)
    if (key.is_text()) named.named.emplace_back(key.as_text(), value);
  return brace_format(r, self, named);
}

struct TextMethodEntry {
  const char* name;
  Method method;
  // Of marked text: the place of the argument that is escaped; -1 for none.
  int escaped_argument = -1;
};

constexpr TextMethodEntry kMethods[] = {{"strip", strip_method<true, true>},
                                        {"lstrip", strip_method<true, false>},
                                        {"rstrip", strip_method<false, true>},
                                        {"split", split_method<false>},
                                        {"rsplit", split_method<true>},
                                        {"startswith", affix_method<false>},
                                        {"endswith", affix_method<true>},
                                        {"find", find_method<false, false>},
                                        {"rfind", find_method<true, false>},
                                        {"index", find_method<false, true>},
                                        {"rindex", find_method<true, true>},
                                        {"upper", change_method<upper>},
                                        {"lower", change_method<lower>},
                                        {"casefold", change_method<lower>},
                                        {"swapcase", change_method<swapped>},
                                        {"title", change_method<titled>},
                                        {"capitalize", change_method<capitalized>},
                                        {"removeprefix", remove_method<false>},
                                        {"removesuffix", remove_method<true>},
                                        {"isdigit", all_method<is_digit>},
                                        {"isdecimal", all_method<is_decimal>},
                                        {"isnumeric", all_method<is_numeric>},
                                        {"isalpha", all_method<is_letter>},
                                        {"isalnum", all_method<is_letter_or_digit>},
                                        {"isspace", all_method<is_space>},
                                        {"isascii", ascii_method},
                                        {"isprintable", printable_method},
                                        {"isupper", case_method<upper, lower>},
                                        {"islower", case_method<lower, upper>},
                                        {"istitle", case_method<titled, lower>},
                                        {"replace", replace_method, 1},
                                        {"count", count_method},
                                        {"join", join_method},
                                        {"splitlines", lines_method},
                                        {"ljust", pad_method<Side::kLeft>, 1},
                                        {"rjust", pad_method<Side::kRight>, 1},
                                        {"center", pad_method<Side::kCenter>, 1},
                                        {"zfill", zfill_method},
                                        {"partition", partition_method<false>},
                                        {"rpartition", partition_method<true>},
                                        {"expandtabs", expandtabs_method},
                                        {"format", format_method},
                                        {"format_map", format_map_method}};

// What the methods of marked text make is marked too.
Value marked(Runtime& r, const Value& value) {
  if (value.is_text()) return r.text(value.as_text(), true);
  if (!value.is_list()) return value;
  std::vector<Value> items;
  for (const Value& item : value.as_list().items) items.push_back(marked(r, item));
  return r.list(std::move(items), value.as_list().kind);
}

}  // namespace

Value text_method(Runtime& runtime, const Value& self, const std::string& name) {
  for (const TextMethodEntry& entry : kMethods) {
    if (name != entry.name) continue;
    return runtime.function(name, [&runtime, self, &entry](const Args& args) {
      if (!self.is_markup()) return entry.method(runtime, self, args);
      Args safe = args;
      const auto place = static_cast<size_t>(entry.escaped_argument);
      if (entry.escaped_argument >= 0 && place < safe.positional.size())
        safe.positional[place] = runtime.text(escaped(safe.positional[place]));
      return marked(runtime, entry.method(runtime, self, safe));
    });
  }
  return Value::undefined("str object." + name);
}

}  // namespace klens::jinja
