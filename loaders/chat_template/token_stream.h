#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loaders/chat_template/failure.h"
#include "loaders/chat_template/lexer.h"

namespace klens::jinja {

// The tokens of a template, read one after the other.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(size_t ahead = 0) const {
    return tokens_[at_ + ahead < tokens_.size() ? at_ + ahead : tokens_.size() - 1];
  }
  int line() const { return peek().line; }
  Token take() {
    const Token token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool at(Token::Kind kind) const { return peek().kind == kind; }
  bool at_operator(std::string_view text) const {
    return at(Token::Kind::kOperator) && peek().text == text;
  }
  bool at_name(std::string_view text) const {
    return at(Token::Kind::kName) && peek().text == text;
  }
  bool skip_operator(std::string_view text) { return at_operator(text) && (take(), true); }
  bool skip_name(std::string_view text) { return at_name(text) && (take(), true); }
  void need_operator(std::string_view text) {
    if (!skip_operator(text)) fail("expected '" + std::string(text) + "', found " + shown());
  }
  void need_name(std::string_view text) {
    if (!skip_name(text)) fail("expected '" + std::string(text) + "', found " + shown());
  }
  std::string name() {
    if (!at(Token::Kind::kName)) fail("expected a name, found " + shown());
    return take().text;
  }
  void need(Token::Kind kind, const char* what) {
    if (!at(kind)) fail(std::string("expected ") + what + ", found " + shown());
    take();
  }
  size_t place() const { return at_; }
  // Whether a variable of this name was read since a place.
  bool names_since(size_t place, std::string_view name) const {
    for (size_t i = place; i < at_; ++i) {
      const bool attribute = i > 0 && tokens_[i - 1].kind == Token::Kind::kOperator &&
                             (tokens_[i - 1].text == "." || tokens_[i - 1].text == "|");
      if (tokens_[i].kind == Token::Kind::kName && tokens_[i].text == name && !attribute)
        return true;
    }
    return false;
  }
  std::string shown() const {
    switch (peek().kind) {
      case Token::Kind::kEnd:
        return "the end of the template";
      case Token::Kind::kCloseBlock:
        return "'%}'";
      case Token::Kind::kCloseOutput:
        return "'}}'";
      default:
        return "'" + peek().text.substr(0, 40) + "'";
    }
  }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace klens::jinja
