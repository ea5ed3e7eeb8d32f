#include "loaders/chat_template/parser.h"

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <utility>

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
    } else if (name == "filter") {
      s = read_filter();
    } else if (name == "call") {
      s = read_call();
    } else if (name == "print") {
      s = make(Stmt::Kind::kOutput);
      s.value = std::make_unique<Expr>(Expr::Kind::kConcat, tokens_.line());
      do {
        s.value->add(expressions_.expression());
      } while (tokens_.skip_operator(","));
    } else if (name == "with") {
      s = read_with();
    } else if (name.starts_with("end") || name == "else" || name == "elif") {
      fail("unexpected '" + name + "'");
    } else {
      unsupported("the statement '" + name +
                  "' is not supported; klens knows if, for, set, macro, call, filter, with, print, "
                  "break, continue, generation and raw");
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

  Target read_single_target(bool with_attribute) {
    Target target;
    if (tokens_.skip_operator("(")) {
      target = read_target(")", with_attribute);
      tokens_.need_operator(")");
      return target;
    }
    static constexpr std::string_view kConstants[] = {"true",  "True", "false",
                                                      "False", "none", "None"};
    if (std::any_of(std::begin(kConstants), std::end(kConstants),
                    [&](std::string_view name) { return tokens_.at_name(name); }))
      fail("cannot assign to " + tokens_.shown());
    target.name = tokens_.name();
    if (with_attribute && tokens_.skip_operator(".")) target.attribute = tokens_.name();
    return target;
  }

  // One target, or several with commas between, up to the name or operator `until`.
  Target read_target(const char* until, bool with_attribute) {
    if (++depth_ > kMaxDepth) fail("targets are nested too deeply");
    Target first = read_single_target(with_attribute);
    Target all;
    if (tokens_.at_operator(",")) all.parts.push_back(std::move(first));
    while (tokens_.skip_operator(",") && !tokens_.at_name(until) && !tokens_.at_operator(until))
      all.parts.push_back(read_single_target(with_attribute));
    --depth_;
    return all.parts.empty() ? first : all;
  }

  // Of set blocks and filter blocks: the filters are put around a name that no template can spell.
  ExprPtr placeholder() const {
    ExprPtr name = std::make_unique<Expr>(Expr::Kind::kName, tokens_.line());
    name->name = kBlockText;
    return name;
  }

  // A block's body, out of which no break or continue leads.
  Body read_closed_block(const char* end) {
    const int loops = std::exchange(loops_, 0);
    Body body = read_block(end);
    loops_ = loops;
    return body;
  }

  Stmt read_for() {
    Stmt s = make(Stmt::Kind::kFor);
    s.target = read_target("in", false);
    tokens_.need_name("in");
    s.value = expressions_.tuple(false);
    if (tokens_.skip_name("if")) s.condition = expressions_.expression();
    s.recursive = tokens_.skip_name("recursive");
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
    s.target = read_target("=", true);
    if (tokens_.skip_operator("=")) {
      s.value = expressions_.tuple();
      return s;
    }
    s.kind = Stmt::Kind::kSetBlock;
    if (!s.target.parts.empty()) fail("a set block sets one name");
    s.value = expressions_.filters(placeholder());
    s.body = read_closed_block("endset");
    return s;
  }

  Stmt read_filter() {
    Stmt s = make(Stmt::Kind::kFilter);
    s.value = expressions_.block_filters(placeholder());
    s.body = read_closed_block("endfilter");
    return s;
  }

  // A macro's parameters in brackets.
  void read_parameters(Stmt& s) {
    tokens_.need_operator("(");
    while (!tokens_.at_operator(")")) {
      s.names.push_back(tokens_.name());
      if (tokens_.skip_operator("=")) {
        s.defaults.push_back(expressions_.expression());
      } else if (!s.defaults.empty()) {
        fail("a parameter without a default follows one with a default");
      }
      if (!tokens_.skip_operator(",")) break;
    }
    tokens_.need_operator(")");
  }

  void read_macro_body(Stmt& s, const char* end) {
    const size_t begin = tokens_.place();
    s.body = read_closed_block(end);
    s.catches.caller = tokens_.names_since(begin, "caller");
    s.catches.varargs = tokens_.names_since(begin, "varargs");
    s.catches.kwargs = tokens_.names_since(begin, "kwargs");
  }

  Stmt read_macro() {
    Stmt s = make(Stmt::Kind::kMacro);
    s.text = tokens_.name();
    read_parameters(s);
    read_macro_body(s, "endmacro");
    return s;
  }

  Stmt read_call() {
    Stmt s = make(Stmt::Kind::kCall);
    s.text = "caller";
    if (tokens_.at_operator("(")) read_parameters(s);
    s.value = expressions_.expression();
    if (s.value->kind != Expr::Kind::kCall) fail("a call block needs a call");
    read_macro_body(s, "endcall");
    return s;
  }

  Stmt read_with() {
    Stmt s = make(Stmt::Kind::kScope);
    while (tokens_.at(Token::Kind::kName)) {
      s.names.push_back(tokens_.name());
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
