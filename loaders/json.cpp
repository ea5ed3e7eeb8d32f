#include "loaders/json.h"

#include <vector>

#include "base/error.h"
#include "loaders/file_kind.h"

namespace klens {
namespace {

using nlohmann::json;

constexpr const char* kGetOrCorrect = "; get the file again, or correct it";

// Finds the first bracket that is nested too deeply. Strings are skipped; that the rest is JSON is
// the parser's to say.
void check_depth(std::string_view text, const std::string& name) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth)
        throw Error(ErrorKind::kBadFile, name + ": JSON is nested deeper than " +
                                             std::to_string(kMaxJsonDepth) + " levels at byte " +
                                             std::to_string(i) + kGetOrCorrect);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

// nlohmann's message repeats the input read last, which may be long or binary; the position is
// enough.
[[noreturn]] void fail_to_parse(const std::string& name, size_t byte,
                                const nlohmann::detail::exception& e) {
  if (dynamic_cast<const nlohmann::detail::out_of_range*>(&e) != nullptr)
    throw Error(ErrorKind::kBadFile,
                name + ": JSON holds a number that is out of range" + kGetOrCorrect);
  throw Error(ErrorKind::kBadFile,
              name + ": is not valid JSON at byte " + std::to_string(byte) + kGetOrCorrect);
}

// Builds a document out of nlohmann's parser's events: the values that its own builder holds would
// be destroyed without being taken apart where memory runs out midway.
class Builder : public nlohmann::json_sax<json> {
 public:
  Builder(json& root, const std::string& name, DuplicateKeys duplicates)
      : root_(root), name_(name), duplicates_(duplicates) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return put(value); }
  bool number_unsigned(uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(json::binary_t&) override { return false; }
  bool start_object(size_t) override { return open(json::value_t::object); }
  bool start_array(size_t) override { return open(json::value_t::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& key) override {
    const auto [at, added] = open_.back()->get_ref<json::object_t&>().try_emplace(key);
    if (!added && duplicates_ == DuplicateKeys::kRefused)
      throw Error(ErrorKind::kBadFile,
                  name_ + ": key " + brief(key) + " stands there twice" + kGetOrCorrect);
    value_ = &at->second;
    return true;
  }

  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception& e) override {
    fail_to_parse(name_, byte, e);
  }

 private:
  // Where the next value goes.
  json& place() {
    if (open_.empty()) return root_;
    if (open_.back()->is_object()) return *value_;
    return open_.back()->get_ref<json::array_t&>().emplace_back();
  }
  template <class T>
  bool put(T&& value) {
    json& to = place();
    take_apart(to);  // a key that stands there twice
    to = std::forward<T>(value);
    return true;
  }
  bool open(json::value_t kind) {
    json& to = place();
    take_apart(to);
    to = kind;
    open_.push_back(&to);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  json& root_;
  const std::string& name_;
  DuplicateKeys duplicates_;
  std::vector<json*> open_;  // arrays and objects, each in the one before
  json* value_ = nullptr;    // of the last key
};

}  // namespace

// As deep as parse_json lets a document be, or as we build one.
void take_apart(nlohmann::json& value) noexcept {
  if (auto* array = value.get_ptr<nlohmann::json::array_t*>()) {
    for (nlohmann::json& item : *array) take_apart(item);
    array->clear();
  } else if (auto* object = value.get_ptr<nlohmann::json::object_t*>()) {
    for (auto& item : *object) take_apart(item.second);
    object->clear();
  }
}

std::string brief(std::string_view text) {
  constexpr size_t kMost = 100;
  if (text.size() <= kMost) return std::string(text);
  size_t length = kMost;
  // A cut must not split a UTF-8 character: step back over continuation bytes.
  while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) --length;
  return std::string(text.substr(0, length)) + "...";
}

std::string shown_json(const json& value) {
  return brief(value.dump(-1, ' ', true, json::error_handler_t::replace));
}

JsonDocument parse_json(std::string_view text, const std::string& name, DuplicateKeys duplicates) {
  const auto bytes = std::as_bytes(std::span(text));
  refuse_stand_in(bytes, name);
  if (const char* kind = kind_name(kind_of_bytes(bytes)); *kind != '\0')
    throw Error(ErrorKind::kBadFile, name + ": is " + kind + ", not JSON; name another file");
  check_depth(text, name);
  JsonDocument root;
  Builder builder(*root, name, duplicates);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return root;
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& name) {
  check_depth(text, name);
  try {
    return nlohmann::ordered_json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& e) {
    fail_to_parse(name, e.byte, e);
  } catch (const nlohmann::json::out_of_range& e) {
    fail_to_parse(name, 0, e);
  }
}

}  // namespace klens
