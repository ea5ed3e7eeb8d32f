#include <algorithm>
#include <iterator>
#include <utility>

#include "loaders/chat_template/runtime.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::jinja {
namespace {

using Method = Value (*)(Runtime&, const Value& self, const Args&);

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
  a.allow({"", ""});
  if (const Value* found = self.as_dict().find(a.need(0, "key"))) return *found;
  const Value* otherwise = a.find(1, "default");
  return otherwise ? *otherwise : Value::none();
}

Value copy_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  if (self.is_list()) return r.list(items_of(r, self));
  const Value made = r.dict();
  r.work(self.as_dict().entries.size());
  r.memory(self.as_dict().entries.size() * 2 * sizeof(Value));
  made.as_dict().entries = self.as_dict().entries;
  return made;
}

template <List::Kind kView>
Value view_method(Runtime& r, const Value& self, const Args& a) {
  a.allow({});
  std::vector<Value> out;
  for (const auto& [k, v] : self.as_dict().entries)
    out.push_back(kView == List::Kind::kKeys     ? k
                  : kView == List::Kind::kValues ? v
                                                 : r.tuple({k, v}));
  return r.list(std::move(out), kView);
}

struct MethodEntry {
  const char* name;
  Method method;
};

constexpr MethodEntry kListMethods[] = {{"append", append_method},
                                        {"index", index_method},
                                        {"count", list_count_method},
                                        {"copy", copy_method}};
constexpr MethodEntry kDictMethods[] = {{"get", get_method},
                                        {"keys", view_method<List::Kind::kKeys>},
                                        {"values", view_method<List::Kind::kValues>},
                                        {"items", view_method<List::Kind::kItems>},
                                        {"copy", copy_method}};
// What dicts can do and Jinja's sandbox does not let them; members of these names are out of a
// dot's reach.
constexpr std::string_view kForbidden[] = {"pop", "popitem", "update", "setdefault", "clear"};

bool is_forbidden(const Value& value, std::string_view name) {
  return value.is_dict() && value.as_dict().kind == Dict::Kind::kDict &&
         std::find(std::begin(kForbidden), std::end(kForbidden), name) != std::end(kForbidden);
}

template <size_t kCount>
Value bound(Runtime& runtime, const MethodEntry (&table)[kCount], const Value& self,
            const std::string& name) {
  for (const MethodEntry& entry : table)
    if (name == entry.name)
      return runtime.function(name, [&runtime, self, method = entry.method](const Args& args) {
        return method(runtime, self, args);
      });
  return Value::undefined(std::string(self.type_name()) + " object." + name);
}

// The halves of a pair that groupby made.
Value group_member(const List& group, const std::string& name) {
  if (name == "grouper") return group.items[0];
  if (name == "list") return group.items[1];
  return Value();
}

Value macro_member(Runtime& runtime, const Value& value, const std::string& name) {
  return value.as_function().is_macro && name == "name" ? runtime.text(value.as_function().name)
                                                        : Value();
}

}  // namespace

Value only_attribute(Runtime& runtime, const Value& value, const std::string& name) {
  if (value.is_undefined()) fail_undefined(value);
  Value found;
  if (value.is_text()) found = text_method(runtime, value, name);
  if (value.is_function()) found = macro_member(runtime, value, name);
  if (value.is_list()) {
    if (value.as_list().kind == List::Kind::kGroup) found = group_member(value.as_list(), name);
    const bool plain = value.as_list().kind == List::Kind::kList;
    if (found.is_undefined() && value.as_list().is_sequence() &&
        (plain || name == "index" || name == "count"))
      found = bound(runtime, kListMethods, value, name);
  }
  if (value.is_dict() && value.as_dict().kind == Dict::Kind::kDict)
    found = bound(runtime, kDictMethods, value, name);
  if (value.is_dict() && value.as_dict().kind != Dict::Kind::kDict)
    if (const Value* member = value.as_dict().find(std::string_view(name))) found = *member;
  return found.is_undefined() && found.undefined_name().empty()
             ? Value::undefined(std::string(value.type_name()) + " object." + name)
             : found;
}

Value attribute(Runtime& runtime, const Value& value, const std::string& name) {
  runtime.work(1);
  Value found = only_attribute(runtime, value, name);
  if (found.is_undefined() && value.is_dict() && !is_forbidden(value, name))
    if (const Value* member = value.as_dict().find(std::string_view(name))) return *member;
  return found;
}

Value item(Runtime& runtime, const Value& value, const Value& key) {
  runtime.work(1);
  if (value.is_undefined()) fail_undefined(value);
  const bool is_place = key.is_integer() || key.is_boolean();
  if (value.is_dict()) {
    if (value.as_dict().kind == Dict::Kind::kDict)
      if (const Value* found = value.as_dict().find(key)) return *found;
  } else if (is_place && (value.is_text() || (value.is_list() && value.as_list().is_sequence()))) {
    const int64_t size = length_of(value);
    const int64_t i = key.as_integer() < 0 ? key.as_integer() + size : key.as_integer();
    if (i < 0 || i >= size)
      return Value::undefined(std::string(value.type_name()) + " object[" +
                              std::to_string(key.as_integer()) + "]");
    if (value.is_list()) return value.as_list().items[static_cast<size_t>(i)];
    runtime.work(static_cast<size_t>(size) / 64);
    size_t at = 0;
    for (int64_t skip = i; skip > 0; --skip) at += utf8::length_at(value.as_text(), at);
    return runtime.text(value.as_text().substr(at, utf8::length_at(value.as_text(), at)),
                        value.is_markup());
  }
  if (key.is_text()) return only_attribute(runtime, value, key.as_text());
  return Value::undefined(std::string(value.type_name()) + " object[" + representation(key) + "]");
}

}  // namespace klens::jinja
