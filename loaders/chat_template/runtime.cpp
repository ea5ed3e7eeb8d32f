#include "loaders/chat_template/runtime.h"

#include <algorithm>

namespace klens::jinja {
namespace {

constexpr size_t kMaxSteps = 5'000'000;
constexpr size_t kMaxBytes = size_t{512} << 20;

}  // namespace

const Value* Args::find(size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [key, value] : named)
    if (key == name) return &value;
  return nullptr;
}

const Value& Args::need(size_t place, std::string_view name) const {
  const Value* value = find(place, name);
  if (!value) fail("the argument '" + std::string(name) + "' is missing");
  return *value;
}

std::string Args::text(size_t place, std::string_view name,
                       std::optional<std::string> otherwise) const {
  const Value* value = otherwise ? find(place, name) : &need(place, name);
  if (!value) return *otherwise;
  if (!value->is_text()) fail("the argument '" + std::string(name) + "' is not a text");
  return value->as_text();
}

int64_t Args::integer(size_t place, std::string_view name, int64_t otherwise) const {
  const Value* value = find(place, name);
  if (!value || value->is_none()) return otherwise;
  if (!value->is_integer() && !value->is_boolean())
    fail("the argument '" + std::string(name) + "' is not an integer");
  return value->as_integer();
}

bool Args::flag(size_t place, std::string_view name, bool otherwise) const {
  const Value* value = find(place, name);
  return value ? value->truth() : otherwise;
}

void Args::allow(std::initializer_list<std::string_view> names) const {
  if (positional.size() > names.size())
    fail("takes at most " + std::to_string(names.size()) + " arguments");
  for (const auto& [key, value] : named)
    if (std::find(names.begin(), names.end(), key) == names.end())
      fail("takes no argument named '" + key + "'");
}

Value Runtime::list(std::vector<Value> items, List::Kind kind) {
  memory(sizeof(List) + items.size() * sizeof(Value));
  work(1 + items.size());
  return Value::list(&lists_.emplace_back(List{std::move(items), kind, {}}));
}

Value Runtime::texts(const std::vector<std::string>& items) {
  std::vector<Value> values;
  values.reserve(items.size());
  for (const std::string& s : items) values.push_back(text(s));
  return list(std::move(values));
}

Value Runtime::dict(Dict::Kind kind) {
  memory(sizeof(Dict));
  Dict& made = dicts_.emplace_back();
  made.kind = kind;
  return Value::dict(&made);
}

Value Runtime::function(std::string name, std::function<Value(const Args&)> call) {
  memory(sizeof(Function));
  return Value::function(
      &functions_.emplace_back(Function{std::move(name), std::move(call), false}));
}

Value Runtime::text(std::string text, bool is_markup) {
  check_text_size(text.size());
  memory(text.size() + 64);
  return Value::text(std::move(text), is_markup);
}

void Runtime::work(size_t steps) {
  steps_ += steps;
  if (steps_ > kMaxSteps) fail("the template takes too many steps");
}

void Runtime::memory(size_t bytes) {
  bytes_ += bytes;
  if (bytes_ > kMaxBytes) fail("the template makes more than 512 MiB of values");
}

}  // namespace klens::jinja
