#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace klens::apps {

// A text that ends before the first of some strings (--stop). It comes in pieces; what may be the
// beginning of such a string is held back until that is known.
class StopText {
 public:
  explicit StopText(std::vector<std::string> stops);

  // What can be shown after this piece. Once a string was found, nothing more.
  std::string push(std::string_view piece);
  // What was held back, at the end of the text.
  std::string finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace klens::apps
