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

// What a set or filter block has caught, as the name that its filters are applied to.
inline constexpr const char* kBlockText = "(block)";

// Among a loop's members, the function that `loop(...)` calls.
inline constexpr const char* kLoopCall = "(call)";

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
  ExprPtr all, all_named;  // *all and **all_named, of calls, filters and tests; may be null
  std::vector<std::string> names;

  Expr(Kind k, int l) : kind(k), line(l) {}

  void add(ExprPtr part) {
    if (part) depth = std::max(depth, part->depth + 1);
    if (depth > kMaxDepth) fail("an expression is nested too deeply");
    parts.push_back(std::move(part));
  }
};

// What a value is assigned to: a name, a namespace's attribute, or several of them.
struct Target {
  std::string name, attribute;
  std::vector<Target> parts;
};

struct Stmt;
using Body = std::vector<Stmt>;

struct Stmt {
  enum class Kind {
    kText,      // text
    kOutput,    // value
    kIf,        // branches: condition (null for else) and body
    kFor,       // target in value; body; otherwise; condition may be null; recursive
    kSet,       // target = value
    kSetBlock,  // target = body, through the filters around the placeholder in value
    kFilter,    // body, through the filters around the placeholder in value
    kMacro,     // text: name; names: parameters; defaults: from the right; catches
    kCall,      // value: a call, which is given a macro of this body as caller; as kMacro
    kScope,     // body in a scope of its own: generation, with (names, defaults)
    kBreak,
    kContinue,
  };
  Kind kind;
  int line;
  std::string text;
  ExprPtr value, condition;
  Target target;
  std::vector<std::string> names;
  std::vector<ExprPtr> defaults;
  Body body, otherwise;
  std::vector<std::pair<ExprPtr, Body>> branches;
  bool recursive = false;
  // Whether a macro's body speaks of what it was given beyond its parameters.
  struct Catches {
    bool caller = false, varargs = false, kwargs = false;
  } catches;
};

}  // namespace klens::jinja
