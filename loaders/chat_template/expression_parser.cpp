#include "loaders/chat_template/expression_parser.h"

#include <charconv>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace klens::jinja {
namespace {

// Counts how deep the parser has called itself.
class Descent {
 public:
  explicit Descent(int& depth) : depth_(depth) {
    if (++depth_ > kMaxDepth) fail("an expression is nested too deeply");
  }
  ~Descent() { --depth_; }
  Descent(const Descent&) = delete;
  Descent& operator=(const Descent&) = delete;

 private:
  int& depth_;
};

template <typename Number>
Number read_number(const std::string& text) {
  Number value{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  // As Python reads them, 1e999 is infinite and 1e-999 is nothing.
  if (std::is_same_v<Number, double> && result.ec == std::errc::result_out_of_range)
    return text.find("e-") != text.npos || text.find("E-") != text.npos
               ? Number{}
               : std::numeric_limits<Number>::infinity();
  if (result.ec != std::errc() || result.ptr != text.data() + text.size())
    fail("the number " + text.substr(0, 40) + " is out of range");
  return value;
}

// With 0x, 0o or 0b before it, or without.
int64_t read_integer(const std::string& text) {
  const char sign = text.size() > 2 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : '\0';
  const int base = sign == 'x' ? 16 : sign == 'o' ? 8 : sign == 'b' ? 2 : 0;
  if (base == 0) return read_number<int64_t>(text);
  int64_t value{};
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data() + 2, end, value, base);
  if (result.ec != std::errc() || result.ptr != end)
    fail("the number " + text.substr(0, 40) + " is out of range");
  return value;
}

}  // namespace

ExprPtr ExpressionParser::literal(Value value) const {
  ExprPtr e = make(Expr::Kind::kLiteral);
  e->literal = std::move(value);
  return e;
}

ExprPtr ExpressionParser::expression(bool with_condition) {
  const Descent descent(depth_);
  ExprPtr value = disjunction();
  while (with_condition && tokens_.skip_name("if")) {
    ExprPtr choice = make(Expr::Kind::kCondition);
    choice->add(std::move(value));
    choice->add(disjunction());
    if (tokens_.skip_name("else")) choice->add(expression());
    value = std::move(choice);
  }
  return value;
}

bool ExpressionParser::at_tuple_end() const {
  return tokens_.at(Token::Kind::kCloseBlock) || tokens_.at(Token::Kind::kCloseOutput) ||
         tokens_.at_operator(")") || tokens_.at(Token::Kind::kEnd);
}

ExprPtr ExpressionParser::tuple(bool with_condition) {
  ExprPtr first = expression(with_condition);
  if (!tokens_.at_operator(",")) return first;
  ExprPtr all = make(Expr::Kind::kTuple);
  all->add(std::move(first));
  while (tokens_.skip_operator(",") && !at_tuple_end()) all->add(expression(with_condition));
  return all;
}

ExprPtr ExpressionParser::disjunction() {
  ExprPtr left = conjunction();
  if (!tokens_.at_name("or")) return left;
  ExprPtr all = make(Expr::Kind::kOr);
  all->add(std::move(left));
  while (tokens_.skip_name("or")) all->add(conjunction());
  return all;
}

ExprPtr ExpressionParser::conjunction() {
  ExprPtr left = negation();
  if (!tokens_.at_name("and")) return left;
  ExprPtr all = make(Expr::Kind::kAnd);
  all->add(std::move(left));
  while (tokens_.skip_name("and")) all->add(negation());
  return all;
}

ExprPtr ExpressionParser::negation() {
  if (!tokens_.at_name("not")) return comparison();
  const Descent descent(depth_);
  ExprPtr e = make(Expr::Kind::kNot);
  tokens_.take();
  e->add(negation());
  return e;
}

ExprPtr ExpressionParser::comparison() {
  ExprPtr first = sum();
  ExprPtr chain;
  for (;;) {
    std::string op;
    for (const char* known : {"==", "!=", "<=", ">=", "<", ">"})
      if (tokens_.skip_operator(known)) {
        op = known;
        break;
      }
    if (op.empty() && tokens_.skip_name("in")) op = "in";
    if (op.empty() && tokens_.at_name("not") && tokens_.peek(1).kind == Token::Kind::kName &&
        tokens_.peek(1).text == "in") {
      tokens_.take();
      tokens_.take();
      op = "not in";
    }
    if (op.empty()) return chain ? std::move(chain) : std::move(first);
    if (!chain) {
      chain = make(Expr::Kind::kCompare);
      chain->add(std::move(first));
    }
    chain->names.push_back(op);
    chain->add(sum());
  }
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (tokens_.at_operator("+") || tokens_.at_operator("-")) {
    ExprPtr e = make(Expr::Kind::kBinary);
    e->name = tokens_.take().text;
    e->add(std::move(left));
    e->add(concatenation());
    left = std::move(e);
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr left = product();
  if (!tokens_.at_operator("~")) return left;
  ExprPtr all = make(Expr::Kind::kConcat);
  all->add(std::move(left));
  while (tokens_.skip_operator("~")) all->add(product());
  return all;
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = power();
  while (tokens_.at_operator("*") || tokens_.at_operator("/") || tokens_.at_operator("//") ||
         tokens_.at_operator("%")) {
    ExprPtr e = make(Expr::Kind::kBinary);
    e->name = tokens_.take().text;
    e->add(std::move(left));
    e->add(power());
    left = std::move(e);
  }
  return left;
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = unary();
  while (tokens_.at_operator("**")) {
    ExprPtr e = make(Expr::Kind::kBinary);
    e->name = tokens_.take().text;
    e->add(std::move(left));
    e->add(unary());
    left = std::move(e);
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const Descent descent(depth_);
  ExprPtr e;
  if (tokens_.at_operator("-") || tokens_.at_operator("+")) {
    e = make(tokens_.at_operator("-") ? Expr::Kind::kNegate : Expr::Kind::kPlus);
    tokens_.take();
    e->add(unary(false));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  return with_filters ? filters_and_tests(std::move(e)) : std::move(e);
}

ExprPtr ExpressionParser::primary() {
  const Token& token = tokens_.peek();
  switch (token.kind) {
    case Token::Kind::kName: {
      const std::string name = tokens_.take().text;
      if (name == "true" || name == "True") return literal(Value::boolean(true));
      if (name == "false" || name == "False") return literal(Value::boolean(false));
      if (name == "none" || name == "None") return literal(Value::none());
      ExprPtr e = make(Expr::Kind::kName);
      e->name = name;
      return e;
    }
    case Token::Kind::kString: {
      std::string text;
      while (tokens_.at(Token::Kind::kString)) text += tokens_.take().text;
      return literal(Value::text(std::move(text)));
    }
    case Token::Kind::kInteger:
      return literal(Value::integer(read_integer(tokens_.take().text)));
    case Token::Kind::kReal:
      return literal(Value::real(read_number<double>(tokens_.take().text)));
    default:
      break;
  }
  if (tokens_.at_operator("[")) return list();
  if (tokens_.at_operator("{")) return dict();
  if (!tokens_.skip_operator("(")) fail("expected an expression, found " + tokens_.shown());
  ExprPtr e = tokens_.at_operator(")") ? make(Expr::Kind::kTuple) : tuple();
  tokens_.need_operator(")");
  return e;
}

ExprPtr ExpressionParser::list() {
  ExprPtr e = make(Expr::Kind::kList);
  tokens_.need_operator("[");
  while (!tokens_.at_operator("]")) {
    e->add(expression());
    if (!tokens_.skip_operator(",")) break;
  }
  tokens_.need_operator("]");
  return e;
}

ExprPtr ExpressionParser::dict() {
  ExprPtr e = make(Expr::Kind::kDict);
  tokens_.need_operator("{");
  while (!tokens_.at_operator("}")) {
    e->add(expression());
    tokens_.need_operator(":");
    e->add(expression());
    if (!tokens_.skip_operator(",")) break;
  }
  tokens_.need_operator("}");
  return e;
}

ExprPtr ExpressionParser::postfix(ExprPtr inner) {
  for (;;) {
    if (tokens_.at_operator(".")) {
      ExprPtr e = make(Expr::Kind::kAttribute);
      tokens_.take();
      if (tokens_.at(Token::Kind::kInteger)) {
        e->kind = Expr::Kind::kItem;
        e->add(std::move(inner));
        e->add(literal(Value::integer(read_number<int64_t>(tokens_.take().text))));
      } else {
        e->name = tokens_.name();
        e->add(std::move(inner));
      }
      inner = std::move(e);
    } else if (tokens_.at_operator("[")) {
      inner = subscript(std::move(inner));
    } else if (tokens_.at_operator("(")) {
      ExprPtr e = make(Expr::Kind::kCall);
      e->add(std::move(inner));
      arguments(*e);
      inner = std::move(e);
    } else {
      return inner;
    }
  }
}

ExprPtr ExpressionParser::subscript(ExprPtr inner) {
  ExprPtr e = make(Expr::Kind::kItem);
  tokens_.need_operator("[");
  e->add(std::move(inner));
  const auto bound = [&] {
    const bool missing = tokens_.at_operator(":") || tokens_.at_operator("]");
    e->add(missing ? nullptr : expression());
  };
  bound();
  if (tokens_.at_operator(":")) {
    e->kind = Expr::Kind::kSlice;
    while (tokens_.skip_operator(":") && e->parts.size() < 4) bound();
    while (e->parts.size() < 4) e->add(nullptr);
  } else if (!e->parts[1]) {
    fail("expected an expression, found ']'");
  }
  tokens_.need_operator("]");
  return e;
}

void ExpressionParser::arguments(Expr& call) {
  tokens_.need_operator("(");
  while (!tokens_.at_operator(")")) {
    if (tokens_.at_operator("*") || tokens_.at_operator("**")) {
      ExprPtr& place = tokens_.take().text == "*" ? call.all : call.all_named;
      if (place || call.all_named) fail("arguments with * or ** stand twice or in the wrong order");
      place = expression();
      call.depth = std::max(call.depth, place->depth + 1);
    } else if (tokens_.at(Token::Kind::kName) && tokens_.peek(1).kind == Token::Kind::kOperator &&
               tokens_.peek(1).text == "=") {
      std::string name = tokens_.take().text;
      tokens_.take();
      ExprPtr value = expression();
      call.depth = std::max(call.depth, value->depth + 1);
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.named.empty() || call.all || call.all_named)
        fail("an argument without a name follows one with a name");
      call.add(expression());
    }
    if (!tokens_.skip_operator(",")) break;
  }
  tokens_.need_operator(")");
}

ExprPtr ExpressionParser::filters(ExprPtr inner) {
  while (tokens_.skip_operator("|")) inner = filter(std::move(inner));
  return inner;
}

ExprPtr ExpressionParser::block_filters(ExprPtr inner) { return filters(filter(std::move(inner))); }

ExprPtr ExpressionParser::filter(ExprPtr inner) {
  ExprPtr e = make(Expr::Kind::kFilter);
  e->name = tokens_.name();
  while (tokens_.skip_operator(".")) e->name.append(1, '.').append(tokens_.name());
  e->add(std::move(inner));
  if (tokens_.at_operator("(")) arguments(*e);
  return e;
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr inner) {
  for (;;) {
    if (tokens_.at_operator("|")) {
      inner = filters(std::move(inner));
    } else if (tokens_.at_name("is")) {
      inner = test(std::move(inner));
    } else if (tokens_.at_operator("(")) {
      ExprPtr e = make(Expr::Kind::kCall);
      e->add(std::move(inner));
      arguments(*e);
      inner = std::move(e);
    } else {
      return inner;
    }
  }
}

ExprPtr ExpressionParser::test(ExprPtr inner) {
  ExprPtr e = make(Expr::Kind::kTest);
  tokens_.take();
  const bool negated = tokens_.skip_name("not");
  e->name = tokens_.name();
  while (tokens_.skip_operator(".")) e->name.append(1, '.').append(tokens_.name());
  e->add(std::move(inner));
  const Token& next = tokens_.peek();
  const bool value_follows =
      next.kind == Token::Kind::kString || next.kind == Token::Kind::kInteger ||
      next.kind == Token::Kind::kReal || tokens_.at_operator("[") || tokens_.at_operator("{") ||
      (next.kind == Token::Kind::kName && next.text != "else" && next.text != "or" &&
       next.text != "and" && next.text != "is" && next.text != "if" && next.text != "not" &&
       next.text != "in");
  if (tokens_.at_operator("(")) {
    arguments(*e);
  } else if (value_follows) {
    e->add(postfix(primary()));
  }
  if (!negated) return e;
  ExprPtr outer = make(Expr::Kind::kNot);
  outer->add(std::move(e));
  return outer;
}

}  // namespace klens::jinja
