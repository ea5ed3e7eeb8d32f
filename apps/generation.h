#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/cli/arguments.h"
#include "apps/cli/handles.h"

namespace klens::apps {

// What `generate` and `chat` share: sampling options, and feeding and continuing sessions such that
// Ctrl-C is heard (under an InterruptScope of the caller).
OptionGroup sampling_options();  // --temp --top-k --top-p --min-p --repeat-penalty --seed --greedy
klens_sampler_options read_sampler_options(const Arguments& arguments);
klens_session_options read_session_options(const Arguments& arguments);  // -b
OptionSpec stop_option();                                                // --stop
std::vector<std::string> read_stops(const Arguments& arguments);

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

enum class StopReason { kEnd, kLimit, kStop, kInterrupt };
const char* name_of(StopReason reason);

struct Continuation {
  std::vector<int32_t> ids;  // an end-of-text token that stopped it included
  StopReason reason = StopReason::kLimit;
  Speed decode;                       // of the tokens that were fed; the last one is not
  int64_t drafted = 0, accepted = 0;  // tokens that were fed as drafts, and those that were right
};

// A session that is continued, with what chooses its tokens and what sees them: each with the
// logits that it was chosen from; the end-of-text token that ends the text is marked. False: the
// text is to end here.
struct Voice {
  klens_session* session;
  klens_sampler* sampler;
  std::function<bool(int32_t id, bool end, const float* logits)> on_token;
};

// Chooses up to `limit` tokens for each of the sessions, which are fed together, each but the last.
// Shows how far that is, unless quiet: for callers whose own output to the terminal does not.
std::vector<Continuation> continue_sessions(const klens_model* model,
                                            const std::vector<Voice>& voices, int64_t limit,
                                            bool ignore_end, bool quiet);
// The same tokens for one session, of which up to `drafts` that earlier text suggests are fed with
// each: fewer passes where they are right.
Continuation continue_with_drafts(const klens_model* model, const Voice& voice, int64_t limit,
                                  int64_t drafts, bool ignore_end, bool quiet);
// --draft --draft-tokens; 0: none.
std::vector<OptionSpec> draft_options();
int64_t read_drafts(const Arguments& arguments);
std::string draft_report(const Continuation& made);  // "12 of 30 drafts accepted"

// How many tokens may be added to a prompt: -n, or what --ctx (0: no limit) leaves of it.
struct TokenLimit {
  int64_t tokens;
  std::string reason;  // "-n 128" or "--ctx 2048"
};
TokenLimit token_limit(int64_t predict, int64_t ctx, int64_t prompt_tokens);

}  // namespace klens::apps
