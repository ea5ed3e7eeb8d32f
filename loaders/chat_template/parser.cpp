#include "loaders/chat_template/parser.h"

#include <algorithm>
#include <initializer_list>

#include "loaders/chat_template/expression_parser.h"

namespace klens::jinja {
namespace {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(tokens_) {}

  Body run() {
    try {
      Body body = read_body({});
      if (!tokens_.at(Token::Kind::kEnd)) fail("unexpected " + tokens_.shown());
      return body;
    } catch (Failure& failure) {
      if (failure.line == 0) failure.line = tokens_.line();
      throw;
    }
  }

 private:
  Stmt make(Stmt::Kind kind) const {
    Stmt s{};
    s.kind = kind;
    s.line = tokens_.line();
    return s;
  }

  void close() { tokens_.need(Token::Kind::kCloseBlock, "'%}'"); }

  // Statements up to a block that begins with one of `ends`; then the stream is behind its '{%'.
  Body read_body(std::initializer_list<const char*> ends) {
    if (++depth_ > kMaxDepth) fail("blocks are nested too deeply");
    Body body;
    while (!tokens_.at(Token::Kind::kEnd)) {
      if (tokens_.at(Token::Kind::kText)) {
        body.push_back(make(Stmt::Kind::kText));
        body.back().text = tokens_.take().text;
      } else if (tokens_.at(Token::Kind::kOpenOutput)) {
        tokens_.take();
        Stmt s = make(Stmt::Kind::kOutput);
        s.value = expressions_.tuple();
        tokens_.need(Token::Kind::kCloseOutput, "'}}'");
        body.push_back(std::move(s));
      } else {
        tokens_.need(Token::Kind::kOpenBlock, "'{%'");
        if (std::any_of(ends.begin(), ends.end(),
                        [&](const char* e) { return tokens_.at_name(e); })) {
          --depth_;
          return body;
        }
        body.push_back(statement());
      }
    }
    if (ends.size() > 0)
      fail(std::string("expected '") + *ends.begin() + "', found " + tokens_.shown());
    --depth_;
    return body;
  }

  // The body of a block up to its end tag, which is read too.
  Body read_block(const char* end) {
    close();
    Body body = read_body({end});
    tokens_.need_name(end);
    return body;
  }

  Stmt statement() {
    const Token token = tokens_.peek();
    const std::string name = tokens_.name();
    Stmt s;
    if (name == "if") {
      s = read_if();
    } else if (name == "for") {
      s = read_for();
    } else if (name == "set") {
      s = read_set();
    } else if (name == "macro") {
      s = read_macro();
    } else if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(name + " outside of a loop");
      s = make(name == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue);
    } else if (name == "generation") {
      // Marks for training which text the model wrote; the text is the same.
      s = make(Stmt::Kind::kScope);
      s.body = read_block("endgeneration");
    } else if (name == "with") {
      s = read_with();
    } else if (name.starts_with("end") || name == "else" || name == "elif") {
      fail("unexpected '" + name + "'");
    } else {
      unsupported("the statement '" + name +
                  "' is not supported; klens knows if, for, set, macro, break, continue, with, "
                  "generation and raw");
    }
    s.line = token.line;
    close();
    return s;
  }

  Stmt read_if() {
    Stmt s = make(Stmt::Kind::kIf);
    for (;;) {
      ExprPtr condition = expressions_.tuple();
      close();
      Body body = read_body({"endif", "else", "elif"});
      s.branches.emplace_back(std::move(condition), std::move(body));
      if (tokens_.skip_name("elif")) continue;
      if (tokens_.skip_name("else")) {
        close();
        s.branches.emplace_back(nullptr, read_body({"endif"}));
      }
      tokens_.need_name("endif");
      return s;
    }
  }

  std::vector<std::string> read_targets(const char* until) {
    std::vector<std::string> names;
    const bool brackets = tokens_.skip_operator("(");
    do {
      if (!names.empty() && (tokens_.at_name(until) || tokens_.at_operator(until))) break;
      names.push_back(tokens_.name());
    } while (tokens_.skip_operator(","));
    if (brackets) tokens_.need_operator(")");
    return names;
  }

  Stmt read_for() {
    Stmt s = make(Stmt::Kind::kFor);
    s.targets = read_targets("in");
    tokens_.need_name("in");
    s.value = expressions_.tuple(false);
    if (tokens_.skip_name("if")) s.condition = expressions_.expression();
    if (tokens_.at_name("recursive")) unsupported("recursive loops are not supported");
    close();
    ++loops_;
    s.body = read_body({"endfor", "else"});
    --loops_;
    if (tokens_.skip_name("else")) {
      close();
      s.otherwise = read_body({"endfor"});
    }
    tokens_.need_name("endfor");
    return s;
  }

  Stmt read_set() {
    Stmt s = make(Stmt::Kind::kSet);
    s.targets = read_targets("=");
    if (s.targets.size() == 1 && tokens_.skip_operator(".")) s.text = tokens_.name();
    if (tokens_.skip_operator("=")) {
      s.value = expressions_.tuple();
      return s;
    }
    s.kind = Stmt::Kind::kSetBlock;
    if (s.targets.size() != 1 || !s.text.empty()) fail("a set block sets one name");
    // The filters are put around a name that no template can spell.
    ExprPtr placeholder = std::make_unique<Expr>(Expr::Kind::kName, tokens_.line());
    placeholder->name = kBlockText;
    s.value = expressions_.filters(std::move(placeholder));
    const int loops = std::exchange(loops_, 0);
    s.body = read_block("endset");
    loops_ = loops;
    return s;
  }

  Stmt read_macro() {
    Stmt s = make(Stmt::Kind::kMacro);
    s.text = tokens_.name();
    tokens_.need_operator("(");
    while (!tokens_.at_operator(")")) {
      s.targets.push_back(tokens_.name());
      if (tokens_.skip_operator("=")) {
        s.defaults.push_back(expressions_.expression());
      } else if (!s.defaults.empty()) {
        fail("a parameter without a default follows one with a default");
      }
      if (!tokens_.skip_operator(",")) break;
    }
    tokens_.need_operator(")");
    const int loops = std::exchange(loops_, 0);
    s.body = read_block("endmacro");
    loops_ = loops;
    return s;
  }

  Stmt read_with() {
    Stmt s = make(Stmt::Kind::kScope);
    while (tokens_.at(Token::Kind::kName)) {
      s.targets.push_back(tokens_.name());
      tokens_.need_operator("=");
      s.defaults.push_back(expressions_.expression());
      if (!tokens_.skip_operator(",")) break;
    }
    s.body = read_block("endwith");
    return s;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;  // around the current statement, within the current macro
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(tokenize(source)).run(); }

}  // namespace klens::jinja
