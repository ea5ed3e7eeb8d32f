#pragma once
#include <deque>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loaders/chat_template/failure.h"
#include "loaders/chat_template/value.h"

namespace klens::jinja {

// What a filter, test, method or function is called with.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at a place or by its name; null if it is missing.
  const Value* find(size_t place, std::string_view name) const;
  const Value& need(size_t place, std::string_view name) const;
  std::string text(size_t place, std::string_view name,
                   std::optional<std::string> otherwise = {}) const;
  int64_t integer(size_t place, std::string_view name, int64_t otherwise) const;
  bool flag(size_t place, std::string_view name, bool otherwise) const;
  // Refuses arguments beyond those of these names, in this order.
  void allow(std::initializer_list<std::string_view> names) const;
};

struct Function {
  std::string name;
  std::function<Value(const Args&)> call;
  bool is_macro = false;
};

// Owns what a rendering makes, and counts it.
class Runtime {
 public:
  Value list(std::vector<Value> items, List::Kind kind = List::Kind::kList);
  Value tuple(std::vector<Value> items) { return list(std::move(items), List::Kind::kTuple); }
  Value generator(std::vector<Value> items) {
    return list(std::move(items), List::Kind::kGenerator);
  }
  Value texts(const std::vector<std::string>& items);
  Value dict(Dict::Kind kind = Dict::Kind::kDict);
  Value function(std::string name, std::function<Value(const Args&)> call);
  Value text(std::string text, bool is_markup = false);

  // Counts work and memory; throws Failure if it becomes too much.
  void work(size_t steps);
  void memory(size_t bytes);

 private:
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Function> functions_;
  size_t steps_ = 0, bytes_ = 0;
};

// operators.cpp
Value binary(Runtime& runtime, const std::string& op, const Value& a, const Value& b);
Value negated(const Value& value);
bool contains(Runtime& runtime, const Value& container, const Value& item);
bool compare(Runtime& runtime, const std::string& op, const Value& a, const Value& b);
// What a loop over it sees; a generator is empty afterwards.
std::vector<Value> items_of(Runtime& runtime, const Value& value);
int64_t length_of(const Value& value);
Value slice(Runtime& runtime, const Value& value, const Value* begin, const Value* end,
            const Value* step);
[[noreturn]] void fail_undefined(const Value& value);

// methods.cpp: value.name and value[key], as Jinja looks them up. What is not there is undefined.
Value attribute(Runtime& runtime, const Value& value, const std::string& name);
Value item(Runtime& runtime, const Value& value, const Value& key);

// The attribute alone, without a look among a dict's members.
Value only_attribute(Runtime& runtime, const Value& value, const std::string& name);
// text_methods.cpp, methods.cpp: what Python's objects can do, bound to one; undefined if nothing.
Value text_method(Runtime& runtime, const Value& self, const std::string& name);

// format.cpp: Python's % and str.format. HTML's special characters as entities.
Value percent_format(Runtime& runtime, const Value& format, const Value& values);
Value brace_format(Runtime& runtime, const Value& format, const Args& args);
std::string escaped(const Value& value);

// filters.cpp, predicates.cpp, globals.cpp
Value apply_filter(Runtime& runtime, const std::string& name, const Value& value, const Args& args);
bool apply_test(Runtime& runtime, const std::string& name, const Value& value, const Args& args);
// Whether there is a filter or test of this name.
bool has_filter(const std::string& name);
bool has_test(const std::string& name);
std::vector<std::pair<std::string, Value>> globals(Runtime& runtime);

}  // namespace klens::jinja
