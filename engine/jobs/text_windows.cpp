#include "engine/jobs/text_windows.h"

#include "base/error.h"
#include "engine/walk.h"

namespace klens {
namespace {

std::vector<TextWindow> llama_windows(const std::vector<int32_t>& ids, const WindowOptions& options,
                                      const ModelSpec& spec) {
  std::vector<TextWindow> windows;
  const int64_t count = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin + options.ctx <= count; begin += options.ctx) {
    TextWindow window{{ids.begin() + begin, ids.begin() + begin + options.ctx},
                      options.ctx / 2 + 1};
    if (spec.bos) window.ids.front() = *spec.bos;
    windows.push_back(std::move(window));
  }
  return windows;
}

std::vector<TextWindow> plain_windows(const std::vector<int32_t>& ids,
                                      const WindowOptions& options) {
  std::vector<TextWindow> windows;
  const int64_t count = static_cast<int64_t>(ids.size());
  const int64_t stride = options.stride == 0 ? options.ctx : options.stride;
  int64_t scored_to = 0;
  for (int64_t begin = 0; scored_to < count && begin < count; begin += stride) {
    const int64_t end = std::min(begin + options.ctx, count);
    const int64_t first = std::max<int64_t>(1, scored_to - begin);
    if (end - begin > first) windows.push_back({{ids.begin() + begin, ids.begin() + end}, first});
    scored_to = end;
  }
  return windows;
}

}  // namespace

std::vector<TextWindow> cut_windows(const std::vector<int32_t>& ids, const WindowOptions& options,
                                    const ModelSpec& spec) {
  if (options.ctx < 2)
    throw Error(ErrorKind::kBadArgument, "-c must be at least 2: one token and its next");
  if (options.stride < 0 || options.stride > options.ctx)
    throw Error(ErrorKind::kBadArgument,
                "--stride must be from 1 to the window length " + std::to_string(options.ctx));
  std::vector<TextWindow> windows =
      options.llama_protocol ? llama_windows(ids, options, spec) : plain_windows(ids, options);
  if (windows.empty())
    throw Error(ErrorKind::kBadArgument, "the text has " + std::to_string(ids.size()) +
                                             " tokens, too few for one window of " +
                                             std::to_string(options.ctx) +
                                             "; give a longer text or a smaller -c");
  if (options.windows > 0 && static_cast<size_t>(options.windows) < windows.size())
    windows.resize(static_cast<size_t>(options.windows));
  return windows;
}

std::vector<int32_t> text_ids(const Model& model, const Tokenizer& tokenizer,
                              std::string_view text) {
  std::vector<int32_t> ids = tokenizer.encode(text, false);
  if (ids.empty()) throw Error(ErrorKind::kBadArgument, "the text is empty");
  model.check_ids(ids);
  return ids;
}

void window_logits(const Model& model, const std::vector<int32_t>& ids, Lane& lane,
                   const RowSink& sink) {
  const int64_t tokens = static_cast<int64_t>(ids.size());
  Walk walk(model, tokens);
  for (int64_t t = 0; t < tokens; t += kWalkPart) {
    const int64_t count = std::min(kWalkPart, tokens - t);
    const Lane::Frame frame(lane);
    const Rows x =
        walk.feed(std::span(ids).subspan(static_cast<size_t>(t), static_cast<size_t>(count)), lane);
    stream_logits(model, x, model.weights(), lane,
                  [&](int64_t first, const Rows& logits) { sink(t + first, logits); });
  }
}

}  // namespace klens
