#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/cli/arguments.h"
#include "klens/klens.hpp"

namespace klens::apps {

// What `generate` and `chat` share: sampling options, and feeding and continuing a session such
// that Ctrl-C is heard (under an InterruptScope of the caller).
OptionGroup sampling_options();  // --temp --top-k --top-p --min-p --repeat-penalty --seed --greedy
klens_sampler_options read_sampler_options(const Arguments& arguments);
klens_session_options read_session_options(const Arguments& arguments);  // -b

struct Speed {
  int64_t tokens = 0;
  double seconds = 0;
  double per_second() const {
    return tokens > 0 && seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  }
};

// Feeds ids[from, end) in pieces of at most `batch` tokens, a multiple of 64, cut at multiples of
// it, where the session cuts too; stops early if interrupted. Shows how far it is,
// unless quiet. Returns what it fed.
Speed feed(klens_session* session, const std::vector<int32_t>& ids, size_t from, size_t end,
           int32_t batch, bool quiet);

// Says once, on standard error, that some keys and values are kept in FP32.
void notice_wide_caches(const klens_session* session);

enum class StopReason { kEnd, kLimit, kInterrupt };
const char* name_of(StopReason reason);

struct Continuation {
  std::vector<int32_t> ids;  // an end-of-text token that stopped it included
  StopReason reason = StopReason::kLimit;
  Speed decode;  // of the tokens that were fed; the last one is not
};

// Chooses up to `limit` tokens and feeds each but the last. on_token sees every one but the end.
// Shows how far it is, unless quiet: for callers whose own output to the terminal does not.
Continuation continue_session(const klens_model* model, klens_session* session,
                              klens_sampler* sampler, int64_t limit, bool ignore_end, bool quiet,
                              const std::function<void(int32_t)>& on_token);

// How many tokens may be added to a prompt: -n, or what --ctx (0: no limit) leaves of it.
struct TokenLimit {
  int64_t tokens;
  std::string reason;  // "-n 128" or "--ctx 2048"
};
TokenLimit token_limit(int64_t predict, int64_t ctx, int64_t prompt_tokens);

}  // namespace klens::apps
