#pragma once
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "loaders/chat_template/failure.h"
#include "loaders/chat_template/value.h"

namespace klens::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

// What a set block has caught, as the name that its filters are applied to.
inline constexpr const char* kBlockText = "(block)";

// Deeper expressions and statements are refused, so that walking them needs little stack.
inline constexpr int kMaxDepth = 120;

struct Expr {
  enum class Kind {
    kLiteral,    // literal
    kName,       // name
    kList,       // parts
    kTuple,      // parts
    kDict,       // parts: key, value, key, value ...
    kNot,        // parts[0]
    kNegate,     // parts[0]
    kPlus,       // parts[0]
    kBinary,     // name: the operator; parts[0], parts[1]
    kConcat,     // parts: all that stand between '~'
    kCompare,    // parts: operands; names: operators between them
    kAnd,        // parts
    kOr,         // parts
    kCondition,  // parts: then, condition, else (may be missing)
    kAttribute,  // parts[0] . name
    kItem,       // parts[0] [ parts[1] ]
    kSlice,      // parts[0] [ parts[1] : parts[2] : parts[3] ], each of them may be null
    kCall,       // parts[0] ( parts[1] ..., named )
    kFilter,     // parts[0] | name ( parts[1] ..., named )
    kTest,       // parts[0] is name ( parts[1] ... )
  };
  Kind kind;
  int line;
  int depth = 1;
  std::string name;
  Value literal;
  std::vector<ExprPtr> parts;
  std::vector<std::pair<std::string, ExprPtr>> named;
  std::vector<std::string> names;

  Expr(Kind k, int l) : kind(k), line(l) {}

  void add(ExprPtr part) {
    if (part) depth = std::max(depth, part->depth + 1);
    if (depth > kMaxDepth) fail("an expression is nested too deeply");
    parts.push_back(std::move(part));
  }
};

struct Stmt;
using Body = std::vector<Stmt>;

struct Stmt {
  enum class Kind {
    kText,      // text
    kOutput,    // value
    kIf,        // branches: condition (null for else) and body
    kFor,       // targets in value; body; otherwise; condition may be null
    kSet,       // targets = value, or target.text = value
    kSetBlock,  // targets[0] = body, through the filters around the placeholder in value (may be
                // null)
    kMacro,     // text: name; targets: parameters; defaults: from the right
    kScope,     // body in a scope of its own: generation, with
    kBreak,
    kContinue,
  };
  Kind kind;
  int line;
  std::string text;
  ExprPtr value, condition;
  std::vector<std::string> targets;
  std::vector<ExprPtr> defaults;
  Body body, otherwise;
  std::vector<std::pair<ExprPtr, Body>> branches;
};

}  // namespace klens::jinja
