#include "apps/generation.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "apps/cli/error.h"
#include "apps/terminal/interrupt.h"
#include "apps/terminal/progress.h"

namespace klens::apps {
namespace {

constexpr int32_t kDefaultBatch = 512;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

OptionGroup sampling_options() {
  return {"Sampling",
          {{"temp,temperature", "T", "temperature; 0: always the likeliest token (default 0.8)"},
           {"top-k", "K", "choose among the K likeliest; 0: all (default 40)"},
           {"top-p", "P", "choose among the likeliest that sum to P; 1: all (default 0.95)"},
           {"min-p", "P", "drop those below P times the likeliest; 0: none (default 0.05)"},
           {"repeat-penalty", "X", "penalise the last 64 tokens; 1: off (default)"},
           {"s,seed", "N", "the same seed gives the same text (default 0)"},
           {"greedy", "", "the same as --temp 0"}}};
}

klens_sampler_options read_sampler_options(const Arguments& arguments) {
  klens_sampler_options options{};
  options.size = sizeof(options);
  options.temperature = static_cast<float>(arguments.number("temp", 0.8, 0, 1000));
  options.top_k = static_cast<int32_t>(arguments.count("top-k", 40, 0));
  options.top_p = static_cast<float>(arguments.number("top-p", 0.95, 0, 1));
  options.min_p = static_cast<float>(arguments.number("min-p", 0.05, 0, 1));
  options.repeat_penalty = static_cast<float>(arguments.number("repeat-penalty", 1, 0.01, 100));
  options.seed = arguments.seed();
  if (arguments.flag("greedy")) options.temperature = 0;
  return options;
}

klens_session_options read_session_options(const Arguments& arguments) {
  klens_session_options options{};
  options.size = sizeof(options);
  // In whole blocks, which is how the session would round it.
  constexpr int64_t kBlock = 64, kMost = INT32_MAX / kBlock;
  const int64_t blocks = (arguments.count("batch-size", kDefaultBatch, 1) + kBlock - 1) / kBlock;
  options.batch = static_cast<int32_t>(std::min(blocks, kMost) * kBlock);
  return options;
}

OptionSpec stop_option() {
  return {"stop", "TEXT", "end before TEXT, which is not printed; may be given several times"};
}

std::vector<std::string> read_stops(const Arguments& arguments) {
  const std::vector<std::string> stops = arguments.texts("stop");
  for (const std::string& stop : stops)
    if (stop.empty()) throw UsageError("--stop takes a text that is not empty");
  return stops;
}

const char* name_of(StopReason reason) {
  switch (reason) {
    case StopReason::kEnd:
      return "end";
    case StopReason::kLimit:
      return "limit";
    case StopReason::kStop:
      return "stop";
    case StopReason::kInterrupt:
      return "interrupt";
  }
  return "";
}

Speed feed(klens_session* session, const std::vector<int32_t>& ids, size_t from, size_t end,
           int32_t batch, bool quiet) {
  const char* stage = "reading the prompt";
  StatusLine status(quiet, stage);
  const Clock::time_point start = Clock::now();
  const auto step = static_cast<size_t>(batch);
  size_t at = from;
  while (at < end && !interrupted()) {
    const size_t count = std::min(end, (at / step + 1) * step) - at;
    check([&](klens_error* e) { return klens_session_eval(session, ids.data() + at, count, e); });
    at += count;
    const double fraction =
        static_cast<double>(at - from) / static_cast<double>(std::max<size_t>(end - from, 1));
    status.update(stage, fraction, seconds_since(start) * (1 / fraction - 1));
  }
  return {static_cast<int64_t>(at - from), seconds_since(start)};
}

void notice_wide_caches(const klens_session* session) {
  static bool said = false;
  const int32_t layers = klens_session_wide_caches(session);
  if (said || layers == 0) return;
  said = true;
  std::fprintf(stderr,
               "klens: note: keys or values of %d layers are beyond FP16 and are kept in FP32\n",
               static_cast<int>(layers));
}

namespace {

// Feeds each of these sessions its last token, in as few passes as it takes.
void feed_last(const std::vector<Voice>& voices, const std::vector<Continuation>& made,
               const std::vector<size_t>& open) {
  std::vector<klens_session*> sessions;
  std::vector<const int32_t*> ids;
  for (const size_t i : open) {
    sessions.push_back(voices[i].session);
    ids.push_back(&made[i].ids.back());
  }
  const std::vector<size_t> counts(open.size(), 1);
  check([&](klens_error* e) {
    return klens_sessions_eval(sessions.data(), ids.data(), counts.data(), sessions.size(), e);
  });
}

// Ends a text, with its reason, or lets it go on.
bool goes_on(const klens_model* model, const Voice& voice, const float* logits, bool ignore_end,
             Continuation& made) {
  const int32_t id = made.ids.back();
  const bool end = !ignore_end && klens_model_is_eos(model, id) != 0;
  const bool wanted = voice.on_token(id, end, logits);
  const bool finished = klens_sampler_grammar_progress(voice.sampler) == KLENS_GRAMMAR_FINISHED;
  if (end || finished)
    made.reason = StopReason::kEnd;
  else if (!wanted)
    made.reason = StopReason::kStop;
  return !end && !finished && wanted;
}

}  // namespace

std::vector<Continuation> continue_sessions(const klens_model* model,
                                            const std::vector<Voice>& voices, int64_t limit,
                                            bool ignore_end, bool quiet) {
  const char* stage = "generating";
  StatusLine status(quiet, stage);
  std::vector<Continuation> made(voices.size());
  std::vector<size_t> open;  // texts that go on
  for (size_t i = 0; i < voices.size(); ++i) open.push_back(i);
  for (int64_t step = 0; step < limit && !open.empty(); ++step) {
    if (interrupted()) {
      for (const size_t i : open) made[i].reason = StopReason::kInterrupt;
      break;
    }
    Clock::time_point start = Clock::now();
    if (step > 0) feed_last(voices, made, open);
    double seconds = seconds_since(start);  // without what on_token does
    std::vector<size_t> going_on;
    for (const size_t i : open) {
      start = Clock::now();
      const int32_t id = sample(voices[i].sampler, voices[i].session);
      seconds += seconds_since(start);
      made[i].ids.push_back(id);
      if (goes_on(model, voices[i], klens_session_logits(voices[i].session), ignore_end, made[i]))
        going_on.push_back(i);
    }
    for (const size_t i : open) {
      if (step == 0) continue;
      ++made[i].decode.tokens;
      made[i].decode.seconds += seconds;
    }
    open = std::move(going_on);
    status.update(stage, static_cast<double>(step + 1) / static_cast<double>(limit));
  }
  return made;
}

namespace {

// What continue_with_drafts does pass by pass.
class DraftedText {
 public:
  DraftedText(const klens_model* model, const Voice& voice, int64_t drafts, bool ignore_end)
      : model_(model),
        voice_(voice),
        vocab_(static_cast<size_t>(klens_model_vocab(model))),
        drafts_(drafts),
        ignore_end_(ignore_end),
        logits_(static_cast<size_t>(drafts + 1) * vocab_) {}

  // False once the text has ended. At most `most` tokens, at least one.
  bool pass(int64_t most) {
    const Clock::time_point start = Clock::now();
    const bool first = made.ids.empty();
    size_t rows = 1;
    const float* logits = klens_session_logits(voice_.session);
    if (!first) {
      rows = feed(std::min(drafts_, most - 1));
      logits = rows == 1 ? klens_session_logits(voice_.session) : logits_.data();
    }
    shown_ = 0;
    bool open = true;
    const size_t kept =
        accept_drafts(voice_.session, fed_, rows, {logits, rows * vocab_}, [&](const float* row) {
          made.ids.push_back(sample(voice_.sampler, row, vocab_));
          open = show(row);
          return open ? std::optional(made.ids.back()) : std::nullopt;
        });
    made.accepted += static_cast<int64_t>(kept) - 1;
    if (!first) {
      made.decode.tokens += static_cast<int64_t>(kept);
      made.decode.seconds += seconds_since(start) - shown_;
    }
    return open;
  }

  Continuation made;

 private:
  // Feeds the last token and drafts behind it; returns how many.
  size_t feed(int64_t most) {
    const int32_t next = made.ids.back();
    fed_ = draft(voice_.session, next, static_cast<size_t>(std::max<int64_t>(most, 0)));
    fed_.insert(fed_.begin(), next);
    made.drafted += static_cast<int64_t>(fed_.size()) - 1;
    if (fed_.size() > 1) return eval_drafts(voice_.session, fed_, logits_.data());
    eval(voice_.session, fed_);
    return 1;
  }

  bool show(const float* logits) {
    const Clock::time_point start = Clock::now();
    const bool open = goes_on(model_, voice_, logits, ignore_end_, made);
    shown_ += seconds_since(start);
    return open;
  }

  const klens_model* model_;
  const Voice& voice_;
  size_t vocab_;
  int64_t drafts_;
  bool ignore_end_;
  std::vector<float> logits_;  // [drafts + 1][vocab]
  std::vector<int32_t> fed_;   // in the last pass
  double shown_ = 0;           // seconds of it that on_token took
};

}  // namespace

Continuation continue_with_drafts(const klens_model* model, const Voice& voice, int64_t limit,
                                  int64_t drafts, bool ignore_end, bool quiet) {
  const char* stage = "generating";
  StatusLine status(quiet, stage);
  DraftedText text(model, voice, drafts, ignore_end);
  for (int64_t made = 0; made < limit; made = static_cast<int64_t>(text.made.ids.size())) {
    if (interrupted()) {
      text.made.reason = StopReason::kInterrupt;
      break;
    }
    if (!text.pass(limit - made)) break;
    status.update(stage, static_cast<double>(made + 1) / static_cast<double>(limit));
  }
  return text.made;
}

std::vector<OptionSpec> draft_options() {
  return {{"draft", "KIND",
           "ngram: feed what followed the same words before with each token, and "
           "keep it where it is right; the text is the same (default none)"},
          {"draft-tokens", "N", "of those, at most N at once, up to 63 (default 7)"}};
}

int64_t read_drafts(const Arguments& arguments) {
  const int64_t tokens = arguments.count("draft-tokens", 7, 1, 63);
  if (arguments.choice("draft", {"none", "ngram"}) == "ngram") return tokens;
  if (arguments.on_command_line("draft-tokens"))
    throw UsageError("--draft-tokens goes with --draft ngram");
  return 0;
}

std::string draft_report(const Continuation& made) {
  return std::to_string(made.accepted) + " of " + std::to_string(made.drafted) + " drafts accepted";
}

TokenLimit token_limit(int64_t predict, int64_t ctx, int64_t prompt_tokens) {
  if (ctx > 0 && ctx - prompt_tokens < predict)
    return {std::max<int64_t>(ctx - prompt_tokens, 0), "--ctx " + std::to_string(ctx)};
  return {predict, "-n " + std::to_string(predict)};
}

}  // namespace klens::apps
