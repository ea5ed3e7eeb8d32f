#pragma once
// Pickles put together by hand, sound or not, as a state_dict is pickled with protocol 2.
#include <cstdint>
#include <initializer_list>
#include <string>

#include "tests/stored_zip.h"

namespace klens::testing::pickles {

inline std::string text(const std::string& value) {
  return ZipText().text("X").number(static_cast<uint32_t>(value.size())).text(value).str();
}
// As LONG1 of eight bytes, which is never wrong.
inline std::string integer(int64_t value) { return ZipText().text("\x8a\x08").number(value).str(); }
inline std::string tuple(const std::string& items) { return "(" + items + "t"; }
inline std::string tuple(std::initializer_list<int64_t> values) {
  std::string items;
  for (const int64_t value : values) items += integer(value);
  return tuple(items);
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string call(const std::string& module, const std::string& name,
                        const std::string& arguments) {
  return global(module, name) + tuple(arguments) + "R";
}

struct TensorText {
  std::string type = global("torch", "FloatStorage"), key = text("0");
  int64_t count = 16;  // the storage "0" of pytorch_archive
  int64_t offset = 0;
  std::string sizes = tuple({4, 4}), strides = tuple({4, 1});
  std::string rest = "\x89)";  // requires_grad, hooks
  std::string function = "_rebuild_tensor_v2";

  std::string storage() const {
    return tuple(text("storage") + type + key + text("cpu") + integer(count)) + "Q";
  }
  std::string str() const {
    return call("torch._utils", function, storage() + integer(offset) + sizes + strides + rest);
  }
};

// A pickle of one object.
inline std::string pickle(const std::string& object) { return "\x80\x02" + object + "."; }
// {"a": object}
inline std::string dict(const std::string& object, const std::string& key = text("a")) {
  return pickle("}" + key + object + "s");
}

}  // namespace klens::testing::pickles
