// Filters that make texts of texts.
#include <algorithm>
#include <cctype>

#include "loaders/chat_template/filters.h"
#include "loaders/chat_template/text.h"
#include "loaders/tokenizer/unicode.h"
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

Value indent(Runtime& r, const Value& self, const Args& a) {
  a.allow({"width", "first", "blank"});
  if (!self.is_text()) fail(std::string("indent needs a text, not ") + self.type_name());
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

Value safe(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return r.text(to_text(self), true);
}

Value escape(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return r.text(escaped(self), true);
}

Value forced_escape(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return r.text(escaped(Value::text(to_text(self))), true);
}

Value format(Runtime& r, const Value& self, const Args& a) {
  if (!a.positional.empty() && !a.named.empty())
    fail("can't handle positional and keyword arguments at the same time");
  Value values = r.tuple(a.positional);
  if (!a.named.empty()) {
    values = r.dict();
    for (const auto& [name, value] : a.named) values.as_dict().set(r.text(name), value);
  }
  const Value text = self.is_text() ? self : r.text(to_text(self));
  return percent_format(r, text, values);
}

Value center(Runtime& r, const Value& self, const Args& a) {
  a.allow({"width"});
  return r.text(padded_to(to_text(self), a.integer(0, "width", 80), " ", '^'));
}

Value truncate(Runtime& r, const Value& self, const Args& a) {
  a.allow({"length", "killwords", "end", "leeway"});
  const auto count = [&](size_t place, const char* name, int64_t otherwise) {
    return std::clamp<int64_t>(a.integer(place, name, otherwise), -1, int64_t{1} << 40);
  };
  const int64_t most = count(0, "length", 255), leeway = count(3, "leeway", 5);
  const std::string end = a.text(2, "end", "...");
  const int64_t kept = most - length(end);
  if (kept < 0 || leeway < 0)
    fail("truncate: length must be at least that of end, leeway positive");
  if (length_of(self) <= most + leeway) return self;
  if (!self.is_text()) fail(std::string("truncate needs a text, not ") + self.type_name());
  size_t at = 0;
  for (int64_t i = 0; i < kept; ++i) at += utf8::length_at(self.as_text(), at);
  std::string text = self.as_text().substr(0, at);
  if (!a.flag(1, "killwords", false)) text = split_at(text, " ", 1, true).front();
  return r.text(text + end, self.is_markup());
}

Value word_count(Runtime&, const Value& self, const Args& a) {
  a.allow({});
  const std::string text = to_text(self);
  int64_t count = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const bool word = unicode::is_word(utf8::next(text, at));
    if (word && !inside) ++count;
    inside = word;
  }
  return Value::integer(count);
}

std::string url_quoted(const std::string& text, bool in_query) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) || (c == '/' && !in_query) ||
        std::string_view("_.-~").find(c) != std::string_view::npos) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      static constexpr char kHex[] = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      out.append(1, '%').append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
    }
  }
  return out;
}

Value url_encode(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  const bool is_dict = self.is_dict() && self.as_dict().kind == Dict::Kind::kDict;
  if (!is_dict && !self.is_list()) return r.text(url_quoted(to_text(self), false));
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    out.append(out.empty() ? "" : "&").append(url_quoted(to_text(key), true));
    out.append("=").append(url_quoted(to_text(value), true));
    check_text_size(out.size());
  };
  if (is_dict) {
    for (const auto& [key, value] : self.as_dict().entries) add(key, value);
  } else {
    for (const Value& pair : items_of(r, self)) {
      const std::vector<Value> both = items_of(r, pair);
      if (both.size() != 2) fail("urlencode needs a text, a mapping or pairs");
      add(both[0], both[1]);
    }
  }
  return r.text(std::move(out));
}

constexpr FilterEntry kTextFilters[] = {{"trim", trim},
                                        {"upper", change<upper>},
                                        {"lower", change<lower>},
                                        {"capitalize", change<capitalized>},
                                        {"title", title},
                                        {"replace", replace},
                                        {"indent", indent},
                                        {"safe", safe},
                                        {"escape", escape},
                                        {"e", escape},
                                        {"forceescape", forced_escape},
                                        {"format", format},
                                        {"center", center},
                                        {"truncate", truncate},
                                        {"wordcount", word_count},
                                        {"urlencode", url_encode}};

}  // namespace

std::span<const FilterEntry> text_filters() { return kTextFilters; }

}  // namespace klens::jinja
