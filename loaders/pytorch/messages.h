#pragma once
#include <string>
#include <string_view>

#include "base/error.h"
#include "loaders/json.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::pytorch {

inline constexpr const char* kSaveAgain =
    "; save the model's state_dict alone, as model.safetensors or with a current PyTorch";

// What is wrong with a tensor. Whoever knows them adds the file, its name and the cure.
[[noreturn]] inline void damaged(const std::string& what) {
  throw Error(ErrorKind::kBadFile, what);
}

// A name of the file, which may be any bytes, as a message shows it.
inline std::string shown(std::string_view name) {
  std::string text;
  utf8::append_lossy(text, name.substr(0, 400));
  return brief(text);
}

}  // namespace klens::pytorch
