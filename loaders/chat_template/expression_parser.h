#pragma once
#include "loaders/chat_template/ast.h"
#include "loaders/chat_template/token_stream.h"

namespace klens::jinja {

// Reads expressions, with the precedences of Jinja's parser.py.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExprPtr expression(bool with_condition = true);
  // One expression, or several with commas between: a tuple.
  ExprPtr tuple(bool with_condition = true);
  // `| name(...)` as often as it comes, around `inner`.
  ExprPtr filters(ExprPtr inner);
  // The same with the first `|` left out, as a filter block has it.
  ExprPtr block_filters(ExprPtr inner);

 private:
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr postfix(ExprPtr inner);
  ExprPtr filters_and_tests(ExprPtr inner);
  ExprPtr filter(ExprPtr inner);
  ExprPtr test(ExprPtr inner);
  ExprPtr subscript(ExprPtr inner);
  ExprPtr list();
  ExprPtr dict();
  void arguments(Expr& call);
  ExprPtr make(Expr::Kind kind) const { return std::make_unique<Expr>(kind, tokens_.line()); }
  ExprPtr literal(Value value) const;
  bool at_tuple_end() const;

  TokenStream& tokens_;
  int depth_ = 0;
};

}  // namespace klens::jinja
