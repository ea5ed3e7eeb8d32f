#include "loaders/chat_template/runtime.h"
#include "loaders/chat_template/text.h"

namespace klens::jinja {
namespace {

using Test = bool (*)(Runtime&, const Value& self, const Args&);

template <bool (Value::*kIs)() const>
bool is(Runtime&, const Value& self, const Args&) {
  return (self.*kIs)();
}

bool is_defined(Runtime&, const Value& self, const Args&) { return !self.is_undefined(); }
bool is_mapping(Runtime&, const Value& self, const Args&) {
  return self.is_dict() && self.as_dict().kind == Dict::Kind::kDict;
}
bool is_sequence(Runtime& r, const Value& self, const Args& a) {
  return self.is_text() || (self.is_list() && self.as_list().is_sequence()) ||
         is_mapping(r, self, a) || self.is_undefined();
}
bool is_iterable(Runtime& r, const Value& self, const Args& a) {
  return self.is_list() || is_sequence(r, self, a);
}
bool is_callable(Runtime&, const Value& self, const Args&) {
  return self.is_function() || self.is_undefined() ||
         (self.is_dict() && self.as_dict().kind == Dict::Kind::kLoop);
}
bool is_escaped(Runtime&, const Value& self, const Args&) { return self.is_markup(); }
bool is_true(Runtime&, const Value& self, const Args&) { return self.is_boolean() && self.truth(); }
bool is_false(Runtime&, const Value& self, const Args&) {
  return self.is_boolean() && !self.truth();
}

template <bool kOdd>
bool is_parity(Runtime& r, const Value& self, const Args&) {
  return equal(binary(r, "%", self, Value::integer(2)), Value::integer(kOdd ? 1 : 0));
}
bool is_divisible(Runtime& r, const Value& self, const Args& a) {
  return equal(binary(r, "%", self, a.need(0, "num")), Value::integer(0));
}

// Letters, and all of them of the case that `change` makes.
template <std::string (*kChange)(std::string_view), std::string (*kOther)(std::string_view)>
bool is_case(Runtime&, const Value& self, const Args&) {
  const std::string text = to_text(self);
  return kChange(text) == text && kOther(text) != text;
}

template <char kFirst, char kSecond>
bool is_compared(Runtime& r, const Value& self, const Args& a) {
  const std::string op = kSecond ? std::string{kFirst, kSecond} : std::string{kFirst};
  return compare(r, op, self, a.need(0, "other"));
}
bool is_in(Runtime& r, const Value& self, const Args& a) {
  return contains(r, a.need(0, "seq"), self);
}
bool is_same(Runtime&, const Value& self, const Args& a) {
  const Value& other = a.need(0, "other");
  if (self.is_list() || other.is_list())
    return self.is_list() && other.is_list() && &self.as_list() == &other.as_list();
  if (self.is_dict() || other.is_dict())
    return self.is_dict() && other.is_dict() && &self.as_dict() == &other.as_dict();
  return self.is_boolean() == other.is_boolean() && self.is_real() == other.is_real() &&
         equal(self, other);
}
bool is_filter(Runtime&, const Value& self, const Args&) {
  return self.is_text() && has_filter(self.as_text());
}
bool is_test(Runtime&, const Value& self, const Args&) {
  return self.is_text() && has_test(self.as_text());
}

struct TestEntry {
  const char* name;
  Test test;
};

constexpr TestEntry kTests[] = {{"defined", is_defined},
                                {"undefined", is<&Value::is_undefined>},
                                {"none", is<&Value::is_none>},
                                {"boolean", is<&Value::is_boolean>},
                                {"integer", is<&Value::is_integer>},
                                {"float", is<&Value::is_real>},
                                {"number", is<&Value::is_number>},
                                {"string", is<&Value::is_text>},
                                {"callable", is_callable},
                                {"mapping", is_mapping},
                                {"sequence", is_sequence},
                                {"iterable", is_iterable},
                                {"true", is_true},
                                {"false", is_false},
                                {"odd", is_parity<true>},
                                {"even", is_parity<false>},
                                {"divisibleby", is_divisible},
                                {"upper", is_case<upper, lower>},
                                {"lower", is_case<lower, upper>},
                                {"eq", is_compared<'=', '='>},
                                {"equalto", is_compared<'=', '='>},
                                {"==", is_compared<'=', '='>},
                                {"ne", is_compared<'!', '='>},
                                {"!=", is_compared<'!', '='>},
                                {"lt", is_compared<'<', '\0'>},
                                {"lessthan", is_compared<'<', '\0'>},
                                {"<", is_compared<'<', '\0'>},
                                {"le", is_compared<'<', '='>},
                                {"<=", is_compared<'<', '='>},
                                {"gt", is_compared<'>', '\0'>},
                                {"greaterthan", is_compared<'>', '\0'>},
                                {">", is_compared<'>', '\0'>},
                                {"ge", is_compared<'>', '='>},
                                {">=", is_compared<'>', '='>},
                                {"in", is_in},
                                {"sameas", is_same},
                                {"escaped", is_escaped},
                                {"filter", is_filter},
                                {"test", is_test}};

const TestEntry* find_test(const std::string& name) {
  for (const TestEntry& entry : kTests)
    if (name == entry.name) return &entry;
  return nullptr;
}

}  // namespace

bool has_test(const std::string& name) { return find_test(name) != nullptr; }

bool apply_test(Runtime& runtime, const std::string& name, const Value& value, const Args& args) {
  const TestEntry* entry = find_test(name);
  if (!entry) unsupported("the test '" + name + "' is not supported");
  runtime.work(1);
  return entry->test(runtime, value, args);
}

}  // namespace klens::jinja
