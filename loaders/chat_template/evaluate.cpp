// The interpreter's expressions; statements are in interpreter.cpp.
#include <utility>

#include "loaders/chat_template/interpreter.h"

namespace klens::jinja {

Value Interpreter::evaluate(const Expr& expr, Scope& scope) {
  const Descent descent(depth_);
  runtime_.work(1);
  switch (expr.kind) {
    case Expr::Kind::kLiteral:
      return expr.literal;
    case Expr::Kind::kName:
      return name(expr, scope);
    case Expr::Kind::kList:
    case Expr::Kind::kTuple:
    case Expr::Kind::kDict:
      return collection(expr, scope);
    case Expr::Kind::kNot:
    case Expr::Kind::kAnd:
    case Expr::Kind::kOr:
    case Expr::Kind::kCondition:
      return logic(expr, scope);
    case Expr::Kind::kNegate:
      return negated(evaluate(*expr.parts[0], scope));
    case Expr::Kind::kPlus:
      return negated(negated(evaluate(*expr.parts[0], scope)));
    case Expr::Kind::kBinary: {
      const Value left = evaluate(*expr.parts[0], scope);
      return binary(runtime_, expr.name, left, evaluate(*expr.parts[1], scope));
    }
    case Expr::Kind::kConcat:
      return concatenation(expr, scope);
    case Expr::Kind::kCompare:
      return comparison(expr, scope);
    case Expr::Kind::kAttribute:
      return attribute(runtime_, evaluate(*expr.parts[0], scope), expr.name);
    case Expr::Kind::kItem: {
      const Value inner = evaluate(*expr.parts[0], scope);
      return item(runtime_, inner, evaluate(*expr.parts[1], scope));
    }
    case Expr::Kind::kSlice:
      return slicing(expr, scope);
    case Expr::Kind::kCall:
      return call(expr, scope);
    case Expr::Kind::kFilter: {
      const Value inner = evaluate(*expr.parts[0], scope);
      return apply_filter(runtime_, expr.name, inner, arguments(expr, scope));
    }
    case Expr::Kind::kTest: {
      const Value inner = evaluate(*expr.parts[0], scope);
      return Value::boolean(apply_test(runtime_, expr.name, inner, arguments(expr, scope)));
    }
  }
  return Value();
}

Value Interpreter::name(const Expr& expr, Scope& scope) {
  const Value* found = scope.find(expr.name);
  return found ? *found : Value::undefined(expr.name);
}

Value Interpreter::logic(const Expr& expr, Scope& scope) {
  if (expr.kind == Expr::Kind::kNot)
    return Value::boolean(!evaluate(*expr.parts[0], scope).truth());
  if (expr.kind == Expr::Kind::kCondition) {
    if (evaluate(*expr.parts[1], scope).truth()) return evaluate(*expr.parts[0], scope);
    return expr.parts.size() > 2 ? evaluate(*expr.parts[2], scope)
                                 : Value::undefined("the inline if without else");
  }
  Value value;
  for (const ExprPtr& part : expr.parts) {
    value = evaluate(*part, scope);
    if (value.truth() == (expr.kind == Expr::Kind::kOr)) break;
  }
  return value;
}

Value Interpreter::collection(const Expr& expr, Scope& scope) {
  if (expr.kind != Expr::Kind::kDict) {
    std::vector<Value> items;
    for (const ExprPtr& part : expr.parts) items.push_back(evaluate(*part, scope));
    return expr.kind == Expr::Kind::kTuple ? runtime_.tuple(std::move(items))
                                           : runtime_.list(std::move(items));
  }
  const Value dict = runtime_.dict();
  for (size_t i = 0; i < expr.parts.size(); i += 2) {
    const Value key = evaluate(*expr.parts[i], scope);
    if (key.is_dict() || (key.is_list() && !key.is_tuple()))
      fail(std::string("unhashable type: '") + key.type_name() + "'");
    runtime_.work(1 + i / 2);
    runtime_.memory(2 * sizeof(Value));
    dict.as_dict().set(key, evaluate(*expr.parts[i + 1], scope));
  }
  return dict;
}

Value Interpreter::concatenation(const Expr& expr, Scope& scope) {
  std::string out;
  for (const ExprPtr& part : expr.parts) {
    out += to_text(evaluate(*part, scope));
    check_text_size(out.size());
  }
  return runtime_.text(std::move(out));
}

Value Interpreter::comparison(const Expr& expr, Scope& scope) {
  Value left = evaluate(*expr.parts[0], scope);
  for (size_t i = 0; i < expr.names.size(); ++i) {
    Value right = evaluate(*expr.parts[i + 1], scope);
    if (!compare(runtime_, expr.names[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::slicing(const Expr& expr, Scope& scope) {
  const Value inner = evaluate(*expr.parts[0], scope);
  // Jinja finds this out while it folds constants, where what fails is undefined.
  if (expr.parts[0]->kind == Expr::Kind::kLiteral && inner.is_number())
    return Value::undefined(std::string(inner.type_name()) + " object[:]");
  Value bounds[3];
  const Value* given[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    if (!expr.parts[i + 1]) continue;
    bounds[i] = evaluate(*expr.parts[i + 1], scope);
    given[i] = &bounds[i];
  }
  return slice(runtime_, inner, given[0], given[1], given[2]);
}

Args Interpreter::arguments(const Expr& expr, Scope& scope) {
  Args args;
  for (size_t i = 1; i < expr.parts.size(); ++i)
    args.positional.push_back(evaluate(*expr.parts[i], scope));
  for (const auto& [key, value] : expr.named) args.named.emplace_back(key, evaluate(*value, scope));
  if (expr.all)
    for (const Value& item : items_of(runtime_, evaluate(*expr.all, scope)))
      args.positional.push_back(item);
  if (!expr.all_named) return args;
  const Value more = evaluate(*expr.all_named, scope);
  if (!more.is_dict() || more.as_dict().kind != Dict::Kind::kDict)
    fail("arguments after ** must be a mapping");
  for (const auto& [key, value] : more.as_dict().entries) {
    if (!key.is_text()) fail("keywords must be texts");
    for (const auto& [name, held] : args.named)
      if (name == key.as_text()) fail("the argument '" + name + "' is given twice");
    args.named.emplace_back(key.as_text(), value);
  }
  return args;
}

Value Interpreter::call(const Expr& expr, Scope& scope, const Value* caller) {
  const Value callee = evaluate(*expr.parts[0], scope);
  if (callee.is_undefined()) fail_undefined(callee);
  const bool is_loop = callee.is_dict() && callee.as_dict().kind == Dict::Kind::kLoop;
  if (!callee.is_function() && !is_loop)
    fail(std::string("'") + callee.type_name() + "' object is not callable");
  Args args = arguments(expr, scope);
  if (caller) args.named.emplace_back("caller", *caller);
  const Value function = is_loop ? *callee.as_dict().find(kLoopCall) : callee;
  return function.as_function().call(args);
}

}  // namespace klens::jinja
