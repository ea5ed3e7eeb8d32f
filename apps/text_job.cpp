#include "apps/text_job.h"

#include "apps/cli/error.h"
#include "apps/cli/files.h"

namespace klens::apps {

OptionGroup text_options() {
  return {"Text",
          {{"f,file", "FILE", "the text; - reads standard input"},
           {"c,ctx,ctx-size", "N", "tokens of a window (default 512)"},
           {"windows", "N", "at most the first N windows; 0: all (default)"}}};
}

TextJob::TextJob(const Arguments& arguments)
    : ctx_(static_cast<int32_t>(arguments.count("ctx", 512, 2))),
      windows_(static_cast<int32_t>(arguments.count("windows", 0, 0))) {
  const auto file = arguments.text("file");
  if (!file) throw UsageError("there is no text: give one with -f FILE");
  text_ = read_file(*file);
}

klens_text_options TextJob::options(Progress& progress) const {
  klens_text_options options{};
  options.size = sizeof(options);
  options.text = text_.data();
  options.text_bytes = text_.size();
  options.ctx = ctx_;
  options.windows = windows_;
  options.progress = Progress::callback;
  options.user = &progress;
  return options;
}

}  // namespace klens::apps
