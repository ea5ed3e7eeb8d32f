#pragma once
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/model.h"

namespace klens {

struct SessionOptions {
  int64_t batch = 512;  // tokens of a prompt that are processed at once; rounded up to whole blocks
  // Checkpoints are kept as long as they are within both; the oldest are forgotten.
  int64_t checkpoints = 16;
  int64_t checkpoint_bytes = int64_t{512} << 20;
  int64_t checkpoint_every =
      0;  // tokens between those that prompt() makes on its way; 0: see there
};

// Called between the passes of a call, with how many of its tokens were fed. True asks it to stop:
// it then throws Error (kInterrupted), and the sessions hold what was fed.
using AfterPass = std::function<bool(int64_t fed, int64_t of)>;

// Values of some tokens on the host: sink(first token, tokens, logits [tokens][vocab]).
using LogitSink = std::function<void(int64_t, int64_t, const float*)>;

// One sequence being generated: its tokens, its state, and the logits after the last token. Copying
// it is forking the sequence.
class Session {
 public:
  struct Checkpoint {
    int64_t position;
    Slots slots;
    std::vector<float> logits;     // empty where they are not known
    std::vector<KvCache> windows;  // caches that forget; the others are truncated

    size_t bytes() const;
  };
  using Checkpoints = std::deque<std::shared_ptr<const Checkpoint>>;  // ascending positions

  Session(std::shared_ptr<const Model> model, const SessionOptions& options);
  Session(std::shared_ptr<const Model> model, int64_t batch)
      : Session(std::move(model), SessionOptions{.batch = batch}) {}

  const Model& model() const { return *model_; }
  int64_t position() const { return static_cast<int64_t>(ids_.size()); }
  const std::vector<int32_t>& ids() const { return ids_; }  // all tokens fed
  size_t bytes() const;                                     // states, caches, checkpoints
  int32_t wide_caches() const;  // KV caches that FP16 did not reach and that are FP32 now
  size_t state_bytes() const;   // the same without checkpoints
  const Checkpoints& checkpoints() const { return checkpoints_; }
  // [vocab]; empty at position 0 and after a rewind() to where no checkpoint was.
  std::span<const float> logits() const;
  void reset();
  void become(const Session& other);  // the same tokens and state; keeps its own options

  // Feeds tokens; only the logits after the last are computed, or, with `all` [ids][vocab], those
  // after each. Throws Error: before anything is changed for ids out of range, after a reset for
  // logits that are not finite.
  void eval(std::span<const int32_t> ids, float* all, const AfterPass& after_pass = {});
  // The same with every token's logits given to sink, some at a time.
  void eval(std::span<const int32_t> ids, const LogitSink& sink);

  // ---- drafts -----------------------------------------------------------------------------------
  // Feeds a token and drafts of what follows it in one pass, each with the arithmetic of a token
  // that is fed alone: the logits after each, written to `all` [ids][vocab], are those, bit for
  // bit. Returns how many were fed: less than all where the arithmetic fails at a draft. Until it
  // is fed again, the session can be rewound to behind any of them. Throws Error as eval does, and
  // where the device cannot.
  int64_t eval_drafts(std::span<const int32_t> ids, float* all);

  // ---- going back -------------------------------------------------------------------------------
  // An SSM's state cannot be undone, so a session goes back to positions where checkpoint() was
  // called, and to the beginning; a model of attention alone goes back anywhere, as far as its
  // windows hold. Copies of a session share the checkpoints that it has.
  void checkpoint();
  // The largest position up to `position` that rewind() can reach, and the going there. Later
  // checkpoints are forgotten.
  int64_t reachable(int64_t position) const;
  int64_t rewind(int64_t position);

  // Makes the session one that was fed exactly these tokens (at least one): goes back to where it
  // still agrees, feeds the rest, and leaves checkpoints: at the end, and every checkpoint_every
  // tokens, or, where none are asked for, at the last multiple of `batch`, where a long prompt is
  // cut anyway. Returns the tokens it did not have to feed.
  int64_t prompt(std::span<const int32_t> ids, const AfterPass& after_pass = {});
  // Where that would begin.
  int64_t agrees_with(std::span<const int32_t> ids) const;

  void save(const std::string& path) const;
  // Throws Error and leaves the session as it was unless the file is a session of the same model.
  void load(const std::string& path);

 private:
  friend class SessionBatch;
  // What eval_drafts left behind each token but the last, at positions from `first` on. A copy of a
  // session begins without.
  struct Drafts {
    std::vector<SequenceState> states;  // slots alone; more than `count` may be there for reuse
    std::vector<float> logits;          // [count][vocab]
    int64_t first = 0, count = 0;
    Drafts() = default;
    Drafts(const Drafts&) {}
    Drafts(Drafts&&) = default;
    Drafts& operator=(const Drafts&) {
      count = 0;
      return *this;
    }
    Drafts& operator=(Drafts&&) = default;
    bool reach(int64_t position) const { return position >= first && position < first + count; }
  };
  int64_t run_drafts(std::span<const int32_t> ids, float* all);
  void go_back_to_draft(int64_t position);
  const Checkpoint* checkpoint_at(int64_t position) const;  // or null
  void forget_checkpoints();                                // those beyond what options allow
  std::shared_ptr<const Model> model_;
  SessionOptions options_;
  std::vector<int32_t> ids_;
  SequenceState state_;
  std::vector<float> logits_;  // [vocab], at one address as long as the session lives
  bool has_logits_ = false;
  Checkpoints checkpoints_;
  Drafts drafts_;
};

// What one session is to be fed.
struct Feed {
  Session* session;
  std::span<const int32_t> ids;     // at least one
  const LogitSink* sink = nullptr;  // or null: only the logits after the last token
  int64_t more = 0;                 // tokens known to follow these; dynamic rotation depends on it
  // Or null: takes what the head would be multiplied by, [tokens][d_model], and the head is left
  // out: the session has no logits then. Not with a sink.
  const LogitSink* hidden = nullptr;
};

// Feeds several sessions of one model together, prefill and decode mixed, so that they share one
// pass over the weights. Decoding gives each the bits it would get alone. Throws Error as
// Session::eval does. A session whose logits are not finite is reset, the others are not; what
// fails in the middle of a pass resets all of them.
void eval_together(std::span<const Feed> feeds, const AfterPass& after_pass = {});

// What a round did for one feed.
struct Fed {
  int64_t tokens = 0;          // the first of the feed's
  std::optional<Error> error;  // the session was reset: its logits, or what it gave, are not finite
};
// One pass of that: the sessions' next tokens, short feeds first, as far as one pass has room (the
// first session's `batch`; tokens that come alone always have it). Feeds may be empty. Call it
// again with what is left; bits are those of eval_together.
std::vector<Fed> feed_round(std::span<const Feed> feeds);

}  // namespace klens
