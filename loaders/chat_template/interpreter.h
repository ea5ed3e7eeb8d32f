#pragma once
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "loaders/chat_template/ast.h"
#include "loaders/chat_template/runtime.h"

namespace klens::jinja {

// Renders one template once. `body` must outlive it.
class Interpreter {
 public:
  explicit Interpreter(const Body& body) : body_(body) {}

  Runtime& runtime() { return runtime_; }
  // Throws Failure, with its line.
  std::string run(std::vector<std::pair<std::string, Value>> context);

 private:
  // Names and what they stand for, in a block or around it.
  struct Scope {
    Scope* outer;
    std::vector<std::pair<std::string, Value>> names;
    void set(const std::string& name, Value value);
    const Value* find(const std::string& name) const;
  };
  enum class Flow { kOn, kBreak, kContinue };
  // Counts how deep statements, expressions and macros are within each other.
  class Descent {
   public:
    explicit Descent(int& depth) : depth_(depth) {
      constexpr int kMostNested = 1000;
      if (++depth_ > kMostNested) {
        --depth_;
        fail("the template calls itself too deeply");
      }
    }
    ~Descent() { --depth_; }
    Descent(const Descent&) = delete;
    Descent& operator=(const Descent&) = delete;

   private:
    int& depth_;
  };

  Scope& new_scope(Scope* outer);
  Flow execute(const Body& body, Scope& scope, std::string& out);
  Flow execute(const Stmt& stmt, Scope& scope, std::string& out);
  Flow run_if(const Stmt& stmt, Scope& scope, std::string& out);
  Flow run_for(const Stmt& stmt, Scope& scope, std::string& out);
  Flow run_scope(const Stmt& stmt, Scope& scope, std::string& out);
  void run_set(const Stmt& stmt, Scope& scope);
  Value call_macro(const Stmt& stmt, Scope& scope, const Args& args);
  void assign(const Target& target, const Value& value, Scope& scope);
  Flow run_loop(const Stmt& stmt, std::vector<Value> items, Scope& scope, int64_t depth,
                std::string& out);
  Value new_loop(const Stmt& stmt, Scope& scope, int64_t depth);
  void update_loop(const Value& loop, const std::vector<Value>& items, size_t index);
  Value block_text(const Stmt& stmt, Scope& scope);
  Value macro(const Stmt& stmt, Scope& scope);
  void run_call(const Stmt& stmt, Scope& scope, std::string& out);

  Value evaluate(const Expr& expr, Scope& scope);
  Value name(const Expr& expr, Scope& scope);
  Value logic(const Expr& expr, Scope& scope);
  Value collection(const Expr& expr, Scope& scope);
  Value concatenation(const Expr& expr, Scope& scope);
  Value comparison(const Expr& expr, Scope& scope);
  Value slicing(const Expr& expr, Scope& scope);
  Value call(const Expr& expr, Scope& scope, const Value* caller = nullptr);
  Args arguments(const Expr& expr, Scope& scope);

  const Body& body_;
  Runtime runtime_;
  std::deque<Scope> scopes_;  // all of them, as macros keep looking into the one around them
  int depth_ = 0;
  int line_ = 0;
};

}  // namespace klens::jinja
