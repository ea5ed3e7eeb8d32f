#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace klens::jinja {

struct List;
struct Dict;
struct Function;

struct Undefined {
  std::string name;  // of what is undefined, for messages
};
struct None {};

// A value of the template language. Texts are shared and never change; lists, dicts and functions
// live as long as the rendering and are owned by it.
class Value {
 public:
  Value() : data_(Undefined{}) {}
  static Value undefined(std::string name) { return Value(Undefined{std::move(name)}); }
  static Value none() { return Value(None{}); }
  static Value boolean(bool b) { return Value(b); }
  static Value integer(int64_t i) { return Value(i); }
  static Value real(double d) { return Value(d); }
  // is_markup: marked as safe HTML, as by the filters safe and escape; what is joined to it with
  // '+' or '%' is escaped.
  static Value text(std::string s, bool is_markup = false) {
    return Value(Text{std::make_shared<const std::string>(std::move(s)), is_markup});
  }
  static Value list(List* l) { return Value(l); }
  static Value dict(Dict* d) { return Value(d); }
  static Value function(Function* f) { return Value(f); }

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_boolean() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(data_); }
  bool is_real() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_boolean() || is_integer() || is_real(); }
  bool is_text() const { return std::holds_alternative<Text>(data_); }
  bool is_markup() const { return is_text() && std::get<Text>(data_).is_markup; }
  bool is_list() const { return std::holds_alternative<List*>(data_); }  // of any kind
  bool is_tuple() const;
  bool is_generator() const;
  bool is_dict() const { return std::holds_alternative<Dict*>(data_); }
  bool is_function() const { return std::holds_alternative<Function*>(data_); }

  const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }
  const std::string& as_text() const { return *std::get<Text>(data_).characters; }
  List& as_list() const { return *std::get<List*>(data_); }
  Dict& as_dict() const { return *std::get<Dict*>(data_); }
  Function& as_function() const { return *std::get<Function*>(data_); }
  int64_t as_integer() const;  // of an integer or boolean
  double as_real() const;      // of any number

  bool truth() const;
  const char* type_name() const;  // as Python calls it

 private:
  struct Text {
    std::shared_ptr<const std::string> characters;
    bool is_markup = false;
  };
  using Data = std::variant<Undefined, None, bool, int64_t, double, Text, List*, Dict*, Function*>;
  template <typename T>
  explicit Value(T data) : data_(std::move(data)) {}
  Data data_;
};

// What Python would hold one after the other. A generator can be read once.
struct List {
  std::vector<Value> items;
  enum class Kind {
    kList,
    kTuple,
    kGenerator,
    kRange,
    kKeys,
    kValues,
    kItems,
    kGroup
  } kind = Kind::kList;
  // Of a range: where it begins, where it ends, and its step.
  std::array<int64_t, 3> range{};
  bool is_tuple() const { return kind == Kind::kTuple || kind == Kind::kGroup; }
  // Whether it has an item at a place and parts.
  bool is_sequence() const { return kind == Kind::kList || is_tuple() || kind == Kind::kRange; }
};

// Keeps the order of insertion. Also namespaces and loops, whose members are set and read with a
// dot only.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  enum class Kind { kDict, kNamespace, kLoop } kind = Kind::kDict;
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);
};

// Deeper values than this are neither compared nor printed: Error.
inline constexpr int kMaxValueDepth = 64;

bool equal(const Value& a, const Value& b, int depth = 0);
// As Python's <; throws Error for what has no order.
bool less(const Value& a, const Value& b, int depth = 0);

std::string to_text(const Value& value);                        // Python's str()
std::string representation(const Value& value, int depth = 0);  // Python's repr()

struct JsonStyle {
  std::optional<std::string> indent;  // of a level; none: all on one line
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false, ascii = false;
};
std::string to_json(const Value& value, const JsonStyle& style, int depth = 0);

// Python's repr of a number with a fraction.
std::string real_text(double value);

}  // namespace klens::jinja
