#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "loaders/tokenizer/tokenizer.h"

namespace klens {

// A run of tokens from a fresh state, and which of its next tokens are scored.
struct TextWindow {
  std::vector<int32_t> ids;
  int64_t first_target;  // ids[first_target] and all after it are scored; at least 1
};

struct WindowOptions {
  int64_t ctx = 512;
  int64_t windows = 0;  // at most; 0: all
  int64_t stride = 0;   // 0 or ctx: windows do not overlap
  bool llama_protocol =
      false;  // whole windows only, BOS in place of the first token, second half scored
};

// Cuts a text's tokens (without special tokens) into windows; the last may be shorter, and is left
// out if no token of it can be scored. Throws Error if there is not one window.
std::vector<TextWindow> cut_windows(const std::vector<int32_t>& ids, const WindowOptions& options,
                                    const ModelSpec& spec);

// The ids of a text, checked against the model's vocabulary. Throws Error for an empty text.
std::vector<int32_t> text_ids(const Model& model, const Tokenizer& tokenizer,
                              std::string_view text);

// The model's logits over a window from a fresh state, streamed.
void window_logits(const Model& model, const std::vector<int32_t>& ids, Lane& lane,
                   const RowSink& sink);

}  // namespace klens
