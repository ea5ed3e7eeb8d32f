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

template <bool kAtEnd>
Value affix_method(Runtime&, const Value& self, const Args& a) {
  a.allow({"affix"});
  const auto has = [&](const Value& affix) {
    if (!affix.is_text()) fail("startswith and endswith need a text or a tuple of texts");
    return kAtEnd ? self.as_text().ends_with(affix.as_text())
                  : self.as_text().starts_with(affix.as_text());
  };
  const Value& affix = a.need(0, "affix");
  if (!affix.is_list()) return Value::boolean(has(affix));
  const std::vector<Value>& items = affix.as_list().items;
  return Value::boolean(std::any_of(items.begin(), items.end(), has));
}

template <bool kFromRight>
Value find_method(Runtime&, const Value& self, const Args& a) {
  a.allow({"sub"});
  const std::string& text = self.as_text();
  const size_t at = kFromRight ? text.rfind(a.text(0, "sub")) : text.find(a.text(0, "sub"));
  return Value::integer(at == text.npos ? -1 : length(std::string_view(text).substr(0, at)));
}

template <std::string (*kChange)(std::string_view)>
Value change_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return r.text(kChange(self.as_text()));
}

template <bool kAtEnd>
Value remove_method(Runtime& r, const Value& self, const Args& a) {
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

bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_letter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0xC0; }
bool is_letter_or_digit(char32_t c) { return is_digit(c) || is_letter(c); }

Value replace_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"old", "new", "count"});
  return r.text(
      replaced(self.as_text(), a.text(0, "old"), a.text(1, "new"), a.integer(2, "count", -1)));
}

Value count_method(Runtime&, const Value& self, const Args& a) {
  const std::string sub = a.text(0, "sub");
  if (sub.empty()) return Value::integer(length(self.as_text()) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = self.as_text().find(sub, at)) != std::string::npos; at += sub.size())
    ++count;
  return Value::integer(count);
}

Value join_method(Runtime& r, const Value& self, const Args& a) {
  std::string out;
  bool first = true;
  for (const Value& item : items_of(r, a.need(0, "iterable"))) {
    if (!item.is_text()) fail("join() needs texts");
    if (!std::exchange(first, false)) out += self.as_text();
    out += item.as_text();
    check_text_size(out.size());
  }
  return r.text(std::move(out));
}

Value lines_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  return r.texts(lines(self.as_text()));
}

Value append_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({"object"});
  r.work(1);
  r.memory(sizeof(Value));
  self.as_list().items.push_back(a.need(0, "object"));
  return Value::none();
}

Value index_method(Runtime& r, const Value& self, const Args& a) {
  const std::vector<Value>& items = self.as_list().items;
  r.work(items.size());
  for (size_t i = 0; i < items.size(); ++i)
    if (equal(items[i], a.need(0, "value"))) return Value::integer(static_cast<int64_t>(i));
  fail("index(): the value is not in the list");
}

Value list_count_method(Runtime& r, const Value& self, const Args& a) {
  const std::vector<Value>& items = self.as_list().items;
  r.work(items.size());
  return Value::integer(std::count_if(
      items.begin(), items.end(), [&](const Value& v) { return equal(v, a.need(0, "value")); }));
}

Value get_method(Runtime&, const Value& self, const Args& a) {
  a.allow({"key", "default"});
  if (const Value* found = self.as_dict().find(a.need(0, "key"))) return *found;
  const Value* otherwise = a.find(1, "default");
  return otherwise ? *otherwise : Value::none();
}

enum class View { kKeys, kValues, kItems };
template <View kView>
Value view_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  std::vector<Value> out;
  for (const auto& [k, v] : self.as_dict().entries)
    out.push_back(kView == View::kKeys ? k : kView == View::kValues ? v : r.list({k, v}, true));
  return r.list(std::move(out));
}

struct Entry {
  const char* name;
  Method method;
};

constexpr Entry kTextMethods[] = {{"strip", strip_method<true, true>},
                                  {"lstrip", strip_method<true, false>},
                                  {"rstrip", strip_method<false, true>},
                                  {"split", split_method<false>},
                                  {"rsplit", split_method<true>},
                                  {"startswith", affix_method<false>},
                                  {"endswith", affix_method<true>},
                                  {"find", find_method<false>},
                                  {"rfind", find_method<true>},
                                  {"upper", change_method<upper>},
                                  {"lower", change_method<lower>},
                                  {"title", change_method<titled>},
                                  {"capitalize", change_method<capitalized>},
                                  {"removeprefix", remove_method<false>},
                                  {"removesuffix", remove_method<true>},
                                  {"isdigit", all_method<is_digit>},
                                  {"isnumeric", all_method<is_digit>},
                                  {"isalpha", all_method<is_letter>},
                                  {"isalnum", all_method<is_letter_or_digit>},
                                  {"isspace", all_method<is_space>},
                                  {"replace", replace_method},
                                  {"count", count_method},
                                  {"join", join_method},
                                  {"splitlines", lines_method}};
constexpr Entry kListMethods[] = {
    {"append", append_method}, {"index", index_method}, {"count", list_count_method}};
constexpr Entry kDictMethods[] = {{"get", get_method},
                                  {"keys", view_method<View::kKeys>},
                                  {"values", view_method<View::kValues>},
                                  {"items", view_method<View::kItems>}};

template <size_t kCount>
Value bound(Runtime& runtime, const Entry (&table)[kCount], const Value& self,
            const std::string& name) {
  for (const Entry& entry : table)
    if (name == entry.name)
      return runtime.function(name, [&runtime, self, method = entry.method](const Args& args) {
        return method(runtime, self, args);
      });
  return Value::undefined(std::string(self.type_name()) + " object." + name);
}

Value method(Runtime& runtime, const Value& value, const std::string& name) {
  if (value.is_text()) return bound(runtime, kTextMethods, value, name);
  if (value.is_list()) return bound(runtime, kListMethods, value, name);
  if (value.is_dict() && value.as_dict().kind == Dict::Kind::kDict)
    return bound(runtime, kDictMethods, value, name);
  return Value::undefined(std::string(value.type_name()) + " object." + name);
}

}  // namespace

Value attribute(Runtime& runtime, const Value& value, const std::string& name) {
  runtime.work(1);
  if (value.is_undefined()) fail_undefined(value);
  Value found = method(runtime, value, name);
  if (found.is_undefined() && value.is_dict())
    if (const Value* member = value.as_dict().find(std::string_view(name))) return *member;
  return found;
}

Value item(Runtime& runtime, const Value& value, const Value& key) {
  runtime.work(1);
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_dict()) {
    if (const Value* found = value.as_dict().find(key)) return *found;
  } else if (key.is_integer() && (value.is_list() || value.is_text())) {
    const int64_t size = length_of(value);
    const int64_t i = key.as_integer() < 0 ? key.as_integer() + size : key.as_integer();
    if (i < 0 || i >= size)
      return Value::undefined(std::string(value.type_name()) + " object[" +
                              std::to_string(key.as_integer()) + "]");
    if (value.is_list()) return value.as_list().items[static_cast<size_t>(i)];
    runtime.work(static_cast<size_t>(size) / 64);
    size_t at = 0;
    for (int64_t skip = i; skip > 0; --skip) at += utf8::length_at(value.as_text(), at);
    return runtime.text(value.as_text().substr(at, utf8::length_at(value.as_text(), at)));
  }
  if (key.is_text()) return method(runtime, value, key.as_text());
  return Value::undefined(std::string(value.type_name()) + " object[" + representation(key) + "]");
}

}  // namespace klens::jinja
