#pragma once
#include <string>

#include "apps/cli/arguments.h"
#include "apps/terminal/progress.h"
#include "klens/klens.h"

namespace klens::apps {

// -f -c --windows, as `perplexity` and `compare` read them. Holds the text that the library's
// options point into.
class TextJob {
 public:
  explicit TextJob(const Arguments& arguments);
  klens_text_options options(Progress& progress) const;
  int32_t ctx() const { return ctx_; }

 private:
  std::string text_;
  int32_t ctx_, windows_;
};

OptionGroup text_options();

}  // namespace klens::apps
