#pragma once
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "loaders/json.h"
#include "loaders/tokenizer/utf8.h"

namespace klens::pytorch {

inline constexpr const char* kAgain = ": the file is truncated or damaged, get it again";
inline constexpr const char* kSaveAgain =
    "; save the model's state_dict alone, as model.safetensors or with a current PyTorch";

// A name of the file, which may be any bytes, as a message shows it.
inline std::string shown(std::string_view name) {
  std::string text;
  utf8::append_lossy(text, name.substr(0, 400));
  return brief(text);
}

// Reads little-endian numbers and runs of bytes one after another; false where they end before.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

  template <class T>
  bool read(T& value) {
    if (left() < sizeof value) return false;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return true;
  }
  bool take(uint64_t count, std::string_view& taken) {
    if (count > left()) return false;
    taken = {reinterpret_cast<const char*>(bytes_.data()) + at_, static_cast<size_t>(count)};
    at_ += static_cast<size_t>(count);
    return true;
  }
  // Up to the next newline, which is skipped.
  bool line(std::string_view& taken) {
    const void* end = left() == 0 ? nullptr : std::memchr(bytes_.data() + at_, '\n', left());
    if (end == nullptr) return false;
    take(static_cast<size_t>(static_cast<const std::byte*>(end) - (bytes_.data() + at_)), taken);
    ++at_;
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

}  // namespace klens::pytorch
