#include <algorithm>
#include <cmath>
#include <utility>

#include "loaders/chat_template/runtime.h"
#include "loaders/chat_template/text.h"

namespace klens::jinja {
namespace {

[[noreturn]] void bad_operands(const std::string& op, const Value& a, const Value& b) {
  fail("unsupported operand types for " + op + ": '" + a.type_name() + "' and '" + b.type_name() +
       "'");
}

int64_t whole(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    result = 1;
    for (int64_t i = 0; i < b && !overflow && result != 0 && a != 1; ++i) {
      if (a == -1) return b % 2 == 0 ? 1 : -1;
      overflow = __builtin_mul_overflow(result, a, &result);
    }
  } else {
    if (b == 0) fail("division by zero");
    if (b == -1) {
      if (op == "%") return 0;
      overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {
      // Python rounds down.
      const int64_t rest = a % b;
      const bool adjust = rest != 0 && (rest < 0) != (b < 0);
      result = op == "%" ? rest + (adjust ? b : 0) : a / b - (adjust ? 1 : 0);
    }
  }
  if (overflow) fail("an integer is out of range");
  return result;
}

double real(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) fail("division by zero");
  if (op == "/") return a / b;
  const double rest = std::fmod(a, b);
  const double modulo = rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  return op == "%" ? modulo : std::floor(a / b);
}

Value repeated(Runtime& runtime, const Value& value, int64_t times) {
  const size_t count = times < 0 ? 0 : static_cast<size_t>(times);
  const size_t size = value.is_text() ? value.as_text().size() : value.as_list().items.size();
  if (size > 0 && count > kMaxText / size) check_text_size(kMaxText + 1);
  runtime.work(count);
  if (value.is_text()) {
    std::string out;
    for (size_t i = 0; i < count && size > 0; ++i) out += value.as_text();
    return runtime.text(std::move(out), value.is_markup());
  }
  runtime.memory(count * size * sizeof(Value));
  std::vector<Value> out;
  const std::vector<Value>& items = value.as_list().items;
  for (size_t i = 0; i < count && size > 0; ++i) out.insert(out.end(), items.begin(), items.end());
  return runtime.list(std::move(out), value.as_list().kind);
}

bool is_whole(const Value& v) { return v.is_integer() || v.is_boolean(); }

bool can_repeat(const Value& v) {
  return v.is_text() || v.is_tuple() || (v.is_list() && v.as_list().kind == List::Kind::kList);
}

}  // namespace

void fail_undefined(const Value& value) { fail("'" + value.undefined_name() + "' is undefined"); }

Value binary(Runtime& runtime, const std::string& op, const Value& a, const Value& b) {
  if (op == "%" && a.is_text()) return percent_format(runtime, a, b);
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  if (a.is_number() && b.is_number()) {
    const bool negative_power = op == "**" && is_whole(b) && b.as_integer() < 0;
    if (is_whole(a) && is_whole(b) && op != "/" && !negative_power)
      return Value::integer(whole(op, a.as_integer(), b.as_integer()));
    return Value::real(real(op, a.as_real(), b.as_real()));
  }
  if (op == "+" && a.is_text() && b.is_text()) {
    if (!a.is_markup() && !b.is_markup()) return runtime.text(a.as_text() + b.as_text());
    return runtime.text(escaped(a) + escaped(b), true);
  }
  if (op == "+" && a.is_list() && b.is_list() && can_repeat(a) && can_repeat(b) &&
      a.is_tuple() == b.is_tuple()) {
    std::vector<Value> all = a.as_list().items;
    all.insert(all.end(), b.as_list().items.begin(), b.as_list().items.end());
    return runtime.list(std::move(all), a.is_tuple() ? List::Kind::kTuple : List::Kind::kList);
  }
  if (op == "*" && can_repeat(a) && is_whole(b)) return repeated(runtime, a, b.as_integer());
  if (op == "*" && can_repeat(b) && is_whole(a)) return repeated(runtime, b, a.as_integer());
  bad_operands(op, a, b);
}

Value negated(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_real()) return Value::real(-value.as_real());
  if (!value.is_number()) fail(std::string("bad operand type for -: '") + value.type_name() + "'");
  return Value::integer(whole("-", 0, value.as_integer()));
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text()) fail(std::string("'in <text>' requires a text, not ") + item.type_name());
    runtime.work(1 + container.as_text().size() / 64);
    return container.as_text().find(item.as_text()) != std::string::npos;
  }
  if (container.is_list()) {
    std::vector<Value> read;
    if (container.is_generator()) read = items_of(runtime, container);
    const std::vector<Value>& items = container.is_generator() ? read : container.as_list().items;
    runtime.work(items.size());
    return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(v, item); });
  }
  if (container.is_dict()) return container.as_dict().find(item) != nullptr;
  if (container.is_undefined()) return false;
  fail(std::string("argument of type '") + container.type_name() + "' is not iterable");
}

bool compare(Runtime& runtime, const std::string& op, const Value& a, const Value& b) {
  runtime.work(1);
  if (op == "in") return contains(runtime, b, a);
  if (op == "not in") return !contains(runtime, b, a);
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  if (op == "<") return less(a, b);
  if (op == ">") return less(b, a);
  if (op == "<=") return less(a, b) || equal(a, b);
  return less(b, a) || equal(a, b);
}

std::vector<Value> items_of(Runtime& runtime, const Value& value) {
  std::vector<Value> out;
  if (value.is_list()) {
    out = value.is_generator() ? std::exchange(value.as_list().items, {}) : value.as_list().items;
  } else if (value.is_text()) {
    runtime.memory(value.as_text().size() * 64);
    for (std::string& c : characters(value.as_text())) out.push_back(runtime.text(std::move(c)));
  } else if (value.is_dict() && value.as_dict().kind == Dict::Kind::kDict) {
    for (const auto& [k, v] : value.as_dict().entries) out.push_back(k);
  } else if (!value.is_undefined()) {
    fail(std::string("'") + value.type_name() + "' object is not iterable");
  }
  runtime.memory(out.size() * sizeof(Value));
  runtime.work(out.size());
  return out;
}

int64_t length_of(const Value& value) {
  if (value.is_text()) return length(value.as_text());
  if (value.is_list() && !value.is_generator())
    return static_cast<int64_t>(value.as_list().items.size());
  if (value.is_dict() && value.as_dict().kind != Dict::Kind::kNamespace)
    return static_cast<int64_t>(value.as_dict().entries.size());
  if (value.is_undefined()) return 0;
  fail(std::string("object of type '") + value.type_name() + "' has no length");
}

Value slice(Runtime& runtime, const Value& value, const Value* begin, const Value* end,
            const Value* step) {
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_text() && !(value.is_list() && value.as_list().is_sequence()))
    fail(std::string("'") + value.type_name() + "' object cannot be sliced");
  const std::vector<Value> items = items_of(runtime, value);
  const auto number = [](const Value* v, int64_t otherwise) {
    if (!v || v->is_none()) return otherwise;
    if (!is_whole(*v)) fail("slice indices must be integers");
    return v->as_integer();
  };
  const auto size = static_cast<int64_t>(items.size());
  const int64_t by = number(step, 1);
  if (by == 0) fail("a slice's step cannot be zero");
  // As Python: the far ends depend on the direction.
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? size : size - 1;
  const auto place = [&](const Value* v, int64_t otherwise) {
    if (!v || v->is_none()) return otherwise;
    const int64_t i = number(v, 0);
    return std::clamp(i < 0 ? std::max(i, -size - 1) + size : i, low, high);
  };
  const int64_t from = place(begin, by > 0 ? low : high), to = place(end, by > 0 ? high : low);
  std::vector<Value> out;
  for (int64_t i = from; by > 0 ? i < to : i > to;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (value.is_list()) {
    const List& list = value.as_list();
    const Value made =
        runtime.list(std::move(out), list.is_tuple() ? List::Kind::kTuple : list.kind);
    if (list.kind == List::Kind::kRange)
      made.as_list().range = {whole("+", list.range[0], whole("*", from, list.range[2])),
                              whole("+", list.range[0], whole("*", to, list.range[2])),
                              whole("*", list.range[2], by)};
    return made;
  }
  std::string text;
  for (const Value& v : out) text += v.as_text();
  return runtime.text(std::move(text), value.is_markup());
}

}  // namespace klens::jinja
