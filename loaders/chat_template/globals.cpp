#include <array>
#include <ctime>

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
  return r.list(std::move(out));
}

Value dict(Runtime& r, const Args& a, Dict::Kind kind) {
  const Value made = r.dict(kind);
  for (const Value& from : a.positional) {
    if (!from.is_dict()) fail("dict() and namespace() take a dict or names");
    for (const auto& [k, v] : from.as_dict().entries) made.as_dict().set(k, v);
  }
  for (const auto& [name, value] : a.named) made.as_dict().set(r.text(name), value);
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
          make("raise_exception", raise_exception), make("strftime_now", strftime_now)};
}

}  // namespace klens::jinja
