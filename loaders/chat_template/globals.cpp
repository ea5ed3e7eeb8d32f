#include <array>
#include <ctime>
#include <memory>
#include <utility>

#include "loaders/chat_template/runtime.h"

namespace klens::jinja {
namespace {

Value range(Runtime& r, const Args& a) {
  constexpr int64_t kMost = 100'000;  // the limit of Jinja's sandbox
  a.allow({"start", "stop", "step"});
  const bool only_stop = a.positional.size() < 2;
  if (a.positional.empty()) fail("range() needs an argument");
  const int64_t start = only_stop ? 0 : a.integer(0, "start", 0);
  const int64_t stop = a.integer(only_stop ? 0 : 1, "stop", 0);
  const int64_t step = a.integer(2, "step", 1);
  if (step == 0) fail("range() step must not be zero");
  std::vector<Value> out;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(out.size()) == kMost) fail("range() has more than 100000 items");
    out.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  const Value made = r.list(std::move(out), List::Kind::kRange);
  made.as_list().range = {start, stop, step};
  return made;
}

Value dict(Runtime& r, const Args& a, Dict::Kind kind) {
  const Value made = r.dict(kind);
  const auto set = [&](const Value& key, const Value& value) {
    if (kind == Dict::Kind::kNamespace && key.is_text() && key.as_text().starts_with('_'))
      fail("a namespace takes no attribute that begins with '_', such as " + key.as_text());
    r.memory(2 * sizeof(Value));
    made.as_dict().set(key, value);
  };
  if (a.positional.size() > 1) fail("dict() and namespace() take one mapping, and names");
  for (const Value& from : a.positional) {
    if (from.is_dict() && from.as_dict().kind == Dict::Kind::kDict) {
      for (const auto& [k, v] : from.as_dict().entries) set(k, v);
      continue;
    }
    for (const Value& pair : items_of(r, from)) {
      const std::vector<Value> both = items_of(r, pair);
      if (both.size() != 2) fail("dict() and namespace() take a mapping, pairs or names");
      set(both[0], both[1]);
    }
  }
  for (const auto& [name, value] : a.named) set(r.text(name), value);
  return made;
}

// Nothing the first time, then the text that stands between items.
Value joiner(Runtime& r, const Args& a) {
  a.allow({"sep"});
  const Value separator = r.text(a.text(0, "sep", ", ")), nothing = r.text("");
  return r.function("joiner", [separator, nothing, used = false](const Args&) mutable {
    return std::exchange(used, true) ? separator : nothing;
  });
}

// One item after the other, over and over.
Value cycler(Runtime& r, const Args& a) {
  if (a.positional.empty()) fail("at least one item has to be provided");
  const Value made = r.dict(Dict::Kind::kNamespace);
  const auto at = std::make_shared<size_t>(0);
  const auto move_to = [made, at, items = a.positional, &r](size_t place) {
    *at = place % items.size();
    made.as_dict().set(r.text("current"), items[*at]);
  };
  move_to(0);
  made.as_dict().set(r.text("next"), r.function("next", [made, at, move_to](const Args&) {
    const Value now = *made.as_dict().find(std::string_view("current"));
    move_to(*at + 1);
    return now;
  }));
  made.as_dict().set(r.text("reset"), r.function("reset", [move_to](const Args&) {
    move_to(0);
    return Value::none();
  }));
  return made;
}

Value raise_exception(Runtime&, const Args& a) {
  throw Failure(Failure::Kind::kRaised, to_text(a.need(0, "message")));
}

Value strftime_now(Runtime& r, const Args& a) {
  const std::string format = a.text(0, "format");
  if (format.size() > 256) fail("strftime_now() takes a format of at most 256 bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 4096> out{};
  const size_t size = std::strftime(out.data(), out.size(), format.c_str(), &local);
  return r.text(std::string(out.data(), size));
}

}  // namespace

std::vector<std::pair<std::string, Value>> globals(Runtime& runtime) {
  const auto make = [&](const char* name, Value (*call)(Runtime&, const Args&)) {
    return std::pair<std::string, Value>(
        name, runtime.function(name, [&runtime, call](const Args& a) { return call(runtime, a); }));
  };
  return {make("range", range),
          make("dict", [](Runtime& r, const Args& a) { return dict(r, a, Dict::Kind::kDict); }),
          make("namespace",
               [](Runtime& r, const Args& a) { return dict(r, a, Dict::Kind::kNamespace); }),
          make("joiner", joiner),
          make("cycler", cycler),
          make("raise_exception", raise_exception),
          make("strftime_now", strftime_now)};
}

}  // namespace klens::jinja
