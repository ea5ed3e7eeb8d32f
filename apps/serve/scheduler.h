#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "apps/cli/handles.h"
#include "apps/serve/answer_text.h"
#include "apps/serve/mailbox.h"
#include "apps/serve/metrics.h"
#include "apps/serve/options.h"

namespace klens::apps {

// A prompt and how to go on with it.
struct Ask {
  std::vector<int32_t> ids;  // at least one
  // Places in ids where other prompts are likely to go on otherwise: the prefix cache keeps states
  // there.
  std::vector<size_t> cuts;
  klens_sampler_options sampler{};  // of choice i the seed is i more
  std::vector<std::string> stops;
  std::vector<int32_t> shown;  // as AnswerText has it
  int64_t most = 0;            // tokens of an answer, from 1
  int32_t top_logprobs = -1;   // negative: no logprobs are wanted
  size_t choices = 1;          // answers to make, at most as many as are made at once
  size_t first_choice = 0;     // what the first of them is called in pieces
  std::shared_ptr<const klens_grammar> grammar;  // what answers must be; null: anything
  std::string grammar_after;  // it holds for what comes after this text; "": for all
  // Where it begins to hold, the answer goes on with these tokens, which are no part of its text.
  std::vector<int32_t> opening;
  bool ignore_end = false;
  bool one_text = false;  // an answer is one text with the prompt
};

// There is no room to wait.
class Busy : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Makes answers, many at once: one thread that owns all sessions and calls the library round by
// round. A round feeds a token to every answer under way and part of the prompts that are read.
// Prompts take turns: every other round is the oldest one's alone, so that neither short nor long
// ones wait for all others. An answer that is made alone may be fed drafts with its token. What an
// answer says depends on its Ask alone, not on others, the cache or drafts.
class Scheduler {
 public:
  using Clock = std::chrono::steady_clock;

  // model has a tokenizer. Both outlive the scheduler. Throws Failure (KLENS_UNSUPPORTED) where
  // drafts are wanted and the model's device cannot verify them.
  Scheduler(klens_model* model, const SchedulerLimits& limits, Metrics& metrics);
  ~Scheduler();  // drops what is left
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // All of the asks, or none and Busy. Every choice says that it ended, unless it is cancelled.
  void submit(std::vector<Ask> asks, const std::shared_ptr<Mailbox>& mail);

  size_t active() const { return active_count_; }
  size_t waiting() const { return waiting_count_; }
  size_t cache_bytes() const;

 private:
  struct Waiting {
    std::shared_ptr<const Ask> ask;
    std::shared_ptr<Mailbox> mail;
    Clock::time_point asked;
  };
  struct Cut {
    size_t at;
    bool keep;  // in the cache, now; else it is a checkpoint of what will be kept
  };
  struct Answer {
    Waiting job;
    size_t choice = 0;
    SessionHandle session;
    SamplerHandle sampler;
    std::unique_ptr<AnswerText> text;
    std::vector<Cut> cuts;     // ascending, those to come
    size_t read = 0;           // tokens of the prompt
    bool constrained = false;  // the grammar is in force
    std::string before;        // what was said before it is, with special tokens
    size_t opened = 0;         // tokens of the opening that were said
    int32_t next = 0;          // the token that was chosen and is to be fed
    bool over = false;
    Usage usage;

    bool reading() const { return read < job.ask->ids.size(); }
    size_t part_end() const { return cuts.empty() ? job.ask->ids.size() : cuts.front().at; }
  };
  using CacheHandle =
      std::unique_ptr<klens_prefix_cache, Freer<klens_prefix_cache, klens_prefix_cache_free>>;

  void loop();
  void admit();
  bool waits_for_another(const Waiting& job);
  void begin(const Waiting& job);
  std::vector<Cut> cuts_of(const Ask& ask, size_t reused, size_t shared) const;
  void round();
  bool draft_round(Answer& answer);
  std::vector<Answer*> fed_this_round();
  void advance(Answer& answer, size_t fed);
  void split(Answer& answer);
  int32_t next_token(Answer& answer, const float* logits) const;
  void choose(Answer& answer, const float* logits);
  void constrain(Answer& answer);
  bool completes_grammar(Answer& answer, int32_t id);
  Scored score(const Answer& answer, int32_t id, const float* logits) const;
  void end(Answer& answer, Piece piece, Finish finish);
  void fail(Answer& answer, klens_status status, const std::string& problem);
  SamplerHandle sampler_for(const Ask& ask, size_t choice) const;
  std::unique_ptr<AnswerText> text_for(const Ask& ask) const;
  void clear();

  klens_model* model_;
  const klens_tokenizer* tokenizer_;
  SchedulerLimits limits_;
  Metrics& metrics_;
  CacheHandle cache_;
  std::vector<float> drafted_logits_;  // [drafts + 1][vocab]
  SessionHandle pace_;        // is fed nothing; its batch bounds what prompts take of a pass
  std::list<Answer> active_;  // the thread's own, in the order in which they began
  size_t reserved_ = 0;       // choices that begin when their prompt is read
  uint64_t rounds_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Waiting> waiting_;
  bool stopping_ = false;
  std::atomic<size_t> active_count_{0}, waiting_count_{0};
  std::thread thread_;
};

}  // namespace klens::apps
