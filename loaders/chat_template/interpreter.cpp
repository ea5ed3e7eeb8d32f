#include "loaders/chat_template/interpreter.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace klens::jinja {
namespace {

// Among a loop's members, what `changed` saw last.
constexpr const char* kLastSeen = "(seen)";

}  // namespace

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
      assign(stmt.target, block_text(stmt, scope), scope);
      break;
    case Stmt::Kind::kFilter:
      out += to_text(block_text(stmt, scope));
      break;
    case Stmt::Kind::kMacro:
      scope.set(stmt.text, macro(stmt, scope));
      break;
    case Stmt::Kind::kCall:
      run_call(stmt, scope, out);
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

void Interpreter::assign(const Target& target, const Value& value, Scope& scope) {
  if (!target.parts.empty()) {
    const std::vector<Value> items = items_of(runtime_, value);
    if (items.size() != target.parts.size())
      fail("expected " + std::to_string(target.parts.size()) + " values, found " +
           std::to_string(items.size()));
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i], scope);
    return;
  }
  if (target.attribute.empty()) return scope.set(target.name, value);
  const Value* held = scope.find(target.name);
  if (!held || !held->is_dict() || held->as_dict().kind != Dict::Kind::kNamespace)
    fail("cannot assign attribute on non-namespace object '" + target.name + "'");
  if (target.attribute.starts_with('_'))
    fail("a namespace takes no attribute that begins with '_', such as " + target.attribute);
  runtime_.memory(sizeof(Value));
  held->as_dict().set(runtime_.text(target.attribute), value);
}

// The variable `loop`, whose functions know the loop they stand in.
Value Interpreter::new_loop(const Stmt& stmt, Scope& scope, int64_t depth) {
  const Value loop = runtime_.dict(Dict::Kind::kLoop);
  const auto add = [&](const char* name, std::function<Value(const Args&)> call) {
    loop.as_dict().set(runtime_.text(name), runtime_.function(name, std::move(call)));
  };
  add("cycle", [loop](const Args& args) {
    if (args.positional.empty()) fail("no items for cycling given");
    const auto i = static_cast<size_t>(loop.as_dict().find("index0")->as_integer());
    return args.positional[i % args.positional.size()];
  });
  add("changed", [this, loop](const Args& args) {
    const Value now = runtime_.list(args.positional), key = runtime_.text(kLastSeen);
    const Value* last = loop.as_dict().find(key);
    const bool changed = !last || !equal(*last, now);
    loop.as_dict().set(key, now);
    return Value::boolean(changed);
  });
  add(kLoopCall, [this, &stmt, &scope, depth](const Args& args) {
    if (!stmt.recursive) fail("a loop that calls itself needs the word recursive");
    std::string out;
    run_loop(stmt, items_of(runtime_, args.need(0, "iterable")), scope, depth + 1, out);
    return runtime_.text(std::move(out));
  });
  loop.as_dict().set(runtime_.text("depth"), Value::integer(depth + 1));
  loop.as_dict().set(runtime_.text("depth0"), Value::integer(depth));
  return loop;
}

void Interpreter::update_loop(const Value& loop, const std::vector<Value>& items, size_t index) {
  const auto count = static_cast<int64_t>(items.size()), at = static_cast<int64_t>(index);
  const auto set = [&](const char* name, Value value) {
    loop.as_dict().set(runtime_.text(name), std::move(value));
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
}

Interpreter::Flow Interpreter::run_for(const Stmt& stmt, Scope& scope, std::string& out) {
  return run_loop(stmt, items_of(runtime_, evaluate(*stmt.value, scope)), scope, 0, out);
}

Interpreter::Flow Interpreter::run_loop(const Stmt& stmt, std::vector<Value> items, Scope& scope,
                                        int64_t depth, std::string& out) {
  const Descent descent(depth_);
  if (stmt.condition) {
    std::vector<Value> kept;
    Scope& tried = new_scope(&scope);
    for (const Value& item : items) {
      assign(stmt.target, item, tried);
      if (evaluate(*stmt.condition, tried).truth()) kept.push_back(item);
    }
    items = std::move(kept);
  }
  if (items.empty()) return execute(stmt.otherwise, new_scope(&scope), out);
  const Value loop = new_loop(stmt, scope, depth);
  for (size_t i = 0; i < items.size(); ++i) {
    // What a round sets is gone in the next one.
    Scope& round = new_scope(&scope);
    update_loop(loop, items, i);
    round.set("loop", loop);
    assign(stmt.target, items[i], round);
    if (execute(stmt.body, round, out) == Flow::kBreak) break;
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::run_scope(const Stmt& stmt, Scope& scope, std::string& out) {
  Scope& inner = new_scope(&scope);
  for (size_t i = 0; i < stmt.names.size(); ++i)
    inner.set(stmt.names[i], evaluate(*stmt.defaults[i], scope));
  return execute(stmt.body, inner, out);
}

void Interpreter::run_set(const Stmt& stmt, Scope& scope) {
  assign(stmt.target, evaluate(*stmt.value, scope), scope);
}

Value Interpreter::block_text(const Stmt& stmt, Scope& scope) {
  std::string text;
  Scope& inner = new_scope(&scope);
  execute(stmt.body, inner, text);
  inner.set(kBlockText, runtime_.text(std::move(text)));
  return evaluate(*stmt.value, inner);
}

Value Interpreter::macro(const Stmt& stmt, Scope& scope) {
  const Value made = runtime_.function(
      stmt.text, [this, &stmt, &scope](const Args& args) { return call_macro(stmt, scope, args); });
  made.as_function().is_macro = true;
  return made;
}

void Interpreter::run_call(const Stmt& stmt, Scope& scope, std::string& out) {
  const Value caller = macro(stmt, scope);
  out += to_text(call(*stmt.value, scope, &caller));
}

Value Interpreter::call_macro(const Stmt& stmt, Scope& scope, const Args& args) {
  const Descent descent(depth_);
  const int line = line_;
  Scope& inner = new_scope(&scope);
  const size_t count = stmt.names.size(), required = count - stmt.defaults.size();
  if (args.positional.size() > count && !stmt.catches.varargs)
    fail("macro '" + stmt.text + "' takes not more than " + std::to_string(count) + " arguments");
  const Value rest = runtime_.dict();
  for (const auto& [name, value] : args.named) {
    const auto at = std::find(stmt.names.begin(), stmt.names.end(), name);
    const bool filled = static_cast<size_t>(at - stmt.names.begin()) < args.positional.size();
    if (at != stmt.names.end() && !filled) continue;
    if (name == "caller" && stmt.catches.caller) {
      inner.set(name, value);
    } else if (stmt.catches.kwargs) {
      rest.as_dict().set(runtime_.text(name), value);
    } else if (name == "caller") {
      fail("macro '" + stmt.text + "' does not use the body of a call block");
    } else {
      fail("macro '" + stmt.text + "' takes no keyword argument '" + name + "'");
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const Value* given = args.find(i, stmt.names[i]);
    Value value = given          ? *given
                  : i < required ? Value::undefined(stmt.names[i])
                                 : evaluate(*stmt.defaults[i - required], inner);
    inner.set(stmt.names[i], std::move(value));
  }
  if (stmt.catches.caller && std::none_of(inner.names.begin(), inner.names.end(),
                                          [](const auto& held) { return held.first == "caller"; }))
    inner.set("caller", Value::undefined("caller"));
  if (stmt.catches.kwargs) inner.set("kwargs", rest);
  if (stmt.catches.varargs) {
    const size_t used = std::min(count, args.positional.size());
    inner.set("varargs",
              runtime_.tuple({args.positional.begin() + static_cast<std::ptrdiff_t>(used),
                              args.positional.end()}));
  }
  std::string text;
  execute(stmt.body, inner, text);
  line_ = line;
  return runtime_.text(std::move(text));
}

}  // namespace klens::jinja
