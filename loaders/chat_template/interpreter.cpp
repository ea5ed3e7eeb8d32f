#include "loaders/chat_template/interpreter.h"

#include <utility>

namespace klens::jinja {

void Interpreter::Scope::set(const std::string& name, Value value) {
  for (auto& [key, held] : names)
    if (key == name) {
      held = std::move(value);
      return;
    }
  names.emplace_back(name, std::move(value));
}

const Value* Interpreter::Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope; scope = scope->outer)
    for (const auto& [key, held] : scope->names)
      if (key == name) return &held;
  return nullptr;
}

Interpreter::Scope& Interpreter::new_scope(Scope* outer) {
  runtime_.memory(sizeof(Scope) + 64);
  return scopes_.emplace_back(Scope{outer, {}});
}

std::string Interpreter::run(std::vector<std::pair<std::string, Value>> context) {
  try {
    Scope& builtins = new_scope(nullptr);
    builtins.names = globals(runtime_);
    Scope& given = new_scope(&builtins);
    given.names = std::move(context);
    std::string out;
    execute(body_, new_scope(&given), out);
    return out;
  } catch (Failure& failure) {
    if (failure.line == 0) failure.line = line_;
    throw;
  }
}

Interpreter::Flow Interpreter::execute(const Body& body, Scope& scope, std::string& out) {
  const Descent descent(depth_);
  for (const Stmt& stmt : body)
    if (const Flow flow = execute(stmt, scope, out); flow != Flow::kOn) return flow;
  return Flow::kOn;
}

Interpreter::Flow Interpreter::execute(const Stmt& stmt, Scope& scope, std::string& out) {
  line_ = stmt.line;
  runtime_.work(1);
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      out += stmt.text;
      break;
    case Stmt::Kind::kOutput:
      out += to_text(evaluate(*stmt.value, scope));
      break;
    case Stmt::Kind::kIf:
      return run_if(stmt, scope, out);
    case Stmt::Kind::kFor:
      return run_for(stmt, scope, out);
    case Stmt::Kind::kScope:
      return run_scope(stmt, scope, out);
    case Stmt::Kind::kSet:
      run_set(stmt, scope);
      break;
    case Stmt::Kind::kSetBlock:
      run_set_block(stmt, scope);
      break;
    case Stmt::Kind::kMacro:
      define_macro(stmt, scope);
      break;
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  check_text_size(out.size());
  return Flow::kOn;
}

Interpreter::Flow Interpreter::run_if(const Stmt& stmt, Scope& scope, std::string& out) {
  for (const auto& [condition, body] : stmt.branches)
    if (!condition || evaluate(*condition, scope).truth()) return execute(body, scope, out);
  return Flow::kOn;
}

void Interpreter::assign(const std::vector<std::string>& targets, const Value& value,
                         Scope& scope) {
  if (targets.size() == 1) return scope.set(targets[0], value);
  const std::vector<Value> items = items_of(runtime_, value);
  if (items.size() != targets.size())
    fail("expected " + std::to_string(targets.size()) + " values, found " +
         std::to_string(items.size()));
  for (size_t i = 0; i < targets.size(); ++i) scope.set(targets[i], items[i]);
}

Value Interpreter::loop_value(const std::vector<Value>& items, size_t index, const Value& reuse) {
  Dict& loop = reuse.as_dict();
  const auto count = static_cast<int64_t>(items.size()), at = static_cast<int64_t>(index);
  const auto set = [&](const char* name, Value value) {
    for (auto& [key, held] : loop.entries)
      if (key.as_text() == name) {
        held = std::move(value);
        return;
      }
    loop.entries.emplace_back(runtime_.text(name), std::move(value));
  };
  set("index", Value::integer(at + 1));
  set("index0", Value::integer(at));
  set("revindex", Value::integer(count - at));
  set("revindex0", Value::integer(count - at - 1));
  set("first", Value::boolean(at == 0));
  set("last", Value::boolean(at + 1 == count));
  set("length", Value::integer(count));
  set("previtem", at > 0 ? items[index - 1] : Value::undefined("there is no previous item"));
  set("nextitem", at + 1 < count ? items[index + 1] : Value::undefined("there is no next item"));
  set("depth", Value::integer(1));
  set("depth0", Value::integer(0));
  if (index == 0)
    set("cycle", runtime_.function("cycle", [reuse](const Args& args) {
      if (args.positional.empty()) fail("no items for cycling given");
      const auto i =
          static_cast<size_t>(reuse.as_dict().find(std::string_view("index0"))->as_integer());
      return args.positional[i % args.positional.size()];
    }));
  return reuse;
}

Interpreter::Flow Interpreter::run_for(const Stmt& stmt, Scope& scope, std::string& out) {
  const Descent descent(depth_);
  std::vector<Value> items = items_of(runtime_, evaluate(*stmt.value, scope));
  if (stmt.condition) {
    std::vector<Value> kept;
    Scope& tried = new_scope(&scope);
    for (const Value& item : items) {
      assign(stmt.targets, item, tried);
      if (evaluate(*stmt.condition, tried).truth()) kept.push_back(item);
    }
    items = std::move(kept);
  }
  if (items.empty()) return execute(stmt.otherwise, new_scope(&scope), out);
  const Value loop = runtime_.dict(Dict::Kind::kLoop);
  for (size_t i = 0; i < items.size(); ++i) {
    // What a round sets is gone in the next one.
    Scope& round = new_scope(&scope);
    round.set("loop", loop_value(items, i, loop));
    assign(stmt.targets, items[i], round);
    if (execute(stmt.body, round, out) == Flow::kBreak) break;
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::run_scope(const Stmt& stmt, Scope& scope, std::string& out) {
  Scope& inner = new_scope(&scope);
  for (size_t i = 0; i < stmt.targets.size(); ++i)
    inner.set(stmt.targets[i], evaluate(*stmt.defaults[i], scope));
  return execute(stmt.body, inner, out);
}

void Interpreter::run_set(const Stmt& stmt, Scope& scope) {
  Value value = evaluate(*stmt.value, scope);
  if (stmt.text.empty()) return assign(stmt.targets, value, scope);
  const Value* target = scope.find(stmt.targets[0]);
  if (!target || !target->is_dict() || target->as_dict().kind != Dict::Kind::kNamespace)
    fail("cannot assign attribute on non-namespace object '" + stmt.targets[0] + "'");
  runtime_.memory(sizeof(Value));
  target->as_dict().set(runtime_.text(stmt.text), std::move(value));
}

void Interpreter::run_set_block(const Stmt& stmt, Scope& scope) {
  std::string text;
  Scope& inner = new_scope(&scope);
  execute(stmt.body, inner, text);
  inner.set(kBlockText, runtime_.text(std::move(text)));
  scope.set(stmt.targets[0], evaluate(*stmt.value, inner));
}

void Interpreter::define_macro(const Stmt& stmt, Scope& scope) {
  scope.set(stmt.text, runtime_.function(stmt.text, [this, &stmt, &scope](const Args& args) {
    return call_macro(stmt, scope, args);
  }));
}

Value Interpreter::call_macro(const Stmt& stmt, Scope& scope, const Args& args) {
  const Descent descent(depth_);
  const int line = line_;
  Scope& inner = new_scope(&scope);
  if (args.positional.size() > stmt.targets.size())
    fail("macro '" + stmt.text + "' takes not more than " + std::to_string(stmt.targets.size()) +
         " arguments");
  for (const auto& [name, value] : args.named) {
    bool known = false;
    for (const std::string& target : stmt.targets) known = known || target == name;
    if (!known) fail("macro '" + stmt.text + "' takes no argument '" + name + "'");
  }
  const size_t required = stmt.targets.size() - stmt.defaults.size();
  for (size_t i = 0; i < stmt.targets.size(); ++i) {
    const Value* given = args.find(i, stmt.targets[i]);
    Value value = given          ? *given
                  : i < required ? Value::undefined(stmt.targets[i])
                                 : evaluate(*stmt.defaults[i - required], inner);
    inner.set(stmt.targets[i], std::move(value));
  }
  std::string text;
  execute(stmt.body, inner, text);
  line_ = line;
  return runtime_.text(std::move(text));
}

}  // namespace klens::jinja
