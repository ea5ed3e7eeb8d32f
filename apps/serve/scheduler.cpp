#include "apps/serve/scheduler.h"

#include <algorithm>
#include <cmath>
#include <new>

namespace klens::apps {
namespace {

// Where a prompt may be cut without a trace in any bit: see klens.h, "Where a text is cut".
constexpr size_t kBlock = 64;
constexpr size_t kCutEvery = 1024;  // tokens between states of a long prompt that are kept anyway
constexpr int32_t kCheckpoints = 16;
constexpr int32_t kSmallPart =
    128;  // tokens of prompts that a pass reads while answers wait for it

size_t whole_blocks(size_t tokens) { return tokens / kBlock * kBlock; }

double seconds_between(Scheduler::Clock::time_point from, Scheduler::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

size_t common(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

}  // namespace

Scheduler::Scheduler(klens_model* model, const SchedulerLimits& limits, Metrics& metrics)
    : model_(model), tokenizer_(klens_model_tokenizer(model)), limits_(limits), metrics_(metrics) {
  if (limits_.cache_bytes > 0) {
    klens_prefix_cache* cache = nullptr;
    check([&](klens_error* e) {
      return klens_prefix_cache_new(model_, limits_.cache_bytes, &cache, e);
    });
    cache_.reset(cache);
  }
  klens_session_options options{};
  options.size = sizeof options;
  // Answers take a token's room each.
  options.batch = std::min(kSmallPart, limits_.part) + static_cast<int32_t>(limits_.batch);
  pace_ = new_session(model_, options);
  if (limits_.drafts > 0) check_drafts(model_);
  thread_ = std::thread([this] { loop(); });
}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

size_t Scheduler::cache_bytes() const {
  return cache_ == nullptr ? 0 : klens_prefix_cache_bytes(cache_.get());
}

void Scheduler::submit(std::vector<Ask> asks, const std::shared_ptr<Mailbox>& mail) {
  std::list<Waiting> jobs;
  size_t choices = 0;
  for (Ask& ask : asks) {
    choices += ask.choices;
    jobs.push_back({std::make_shared<const Ask>(std::move(ask)), mail, Clock::now()});
  }
  {
    const std::lock_guard lock(mutex_);
    // What there is a place for does not wait long.
    if (active_count_ + waiting_count_ + choices > limits_.batch + limits_.queue)
      throw Busy("too many requests wait for an answer already; try again later");
    waiting_count_ += choices;
    waiting_.splice(waiting_.end(), jobs);
  }
  wake_.notify_one();
}

void Scheduler::loop() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !waiting_.empty() || !active_.empty(); });
      if (stopping_) break;
    }
    try {
      admit();
      if (!active_.empty()) round();
    } catch (const std::bad_alloc&) {
      for (Answer& answer : active_)
        if (!answer.over) fail(answer, KLENS_NO_MEMORY, "out of memory");
    } catch (const std::exception& e) {
      for (Answer& answer : active_)
        if (!answer.over) fail(answer, KLENS_INTERNAL, e.what());
    }
    clear();
  }
  active_.clear();
}

// Forgets answers that ended and those that nobody waits for.
void Scheduler::clear() {
  active_.remove_if([&](const Answer& answer) {
    const bool gone = answer.over || answer.job.mail->cancelled();
    if (!gone) return false;
    if (!answer.over) metrics_.cancelled.add();
    if (answer.reading()) reserved_ -= answer.job.ask->choices - 1;
    return true;
  });
  active_count_ = active_.size() + reserved_;
}

// ---- beginning --------------------------------------------------------------------------------

void Scheduler::admit() {
  std::list<Waiting> admitted;
  {
    const std::lock_guard lock(mutex_);
    size_t taken = active_.size() + reserved_;
    for (auto job = waiting_.begin(); job != waiting_.end();) {
      const size_t choices = job->ask->choices;
      const auto next = std::next(job);
      if (job->mail->cancelled()) {
        metrics_.cancelled.add(choices);
        waiting_count_ -= choices;
        waiting_.erase(job);
      } else if (taken + choices > limits_.batch) {
        break;  // those behind it would keep it waiting
      } else if (!waits_for_another(*job)) {
        taken += choices;
        waiting_count_ -= choices;
        active_count_ += choices;
        admitted.splice(admitted.end(), waiting_, job);
      }
      job = next;
    }
  }
  // The second of two that begin alike waits for the first: so they begin one by one.
  std::list<Waiting> deferred;
  for (auto job = admitted.begin(); job != admitted.end();) {
    const auto next = std::next(job);
    if (waits_for_another(*job))
      deferred.splice(deferred.end(), admitted, job);
    else
      begin(*job);
    job = next;
  }
  const std::lock_guard lock(mutex_);
  for (const Waiting& job : deferred) {
    waiting_count_ += job.ask->choices;
    active_count_ -= job.ask->choices;
  }
  waiting_.splice(waiting_.begin(), deferred);
}

// Whether a prompt that is being read begins like this one: then it is read once, and the state at
// the place where they part is kept.
bool Scheduler::waits_for_another(const Waiting& job) {
  if (cache_ == nullptr) return false;
  for (Answer& answer : active_) {
    if (!answer.reading() || answer.over) continue;
    const size_t shared = whole_blocks(common(answer.job.ask->ids, job.ask->ids));
    if (shared < answer.read + kBlock) continue;
    auto at = std::find_if(answer.cuts.begin(), answer.cuts.end(),
                           [&](const Cut& cut) { return cut.at >= shared; });
    if (at == answer.cuts.end() || at->at != shared) at = answer.cuts.insert(at, {shared, true});
    at->keep = true;
    return true;
  }
  return false;
}

void Scheduler::begin(const Waiting& job) {
  const Ask& ask = *job.ask;
  Answer& answer = active_.emplace_back();
  answer.job = job;
  answer.choice = ask.first_choice;
  answer.usage.prompt = static_cast<int64_t>(ask.ids.size());
  answer.usage.queued_seconds = seconds_between(job.asked, Clock::now());
  reserved_ += ask.choices - 1;
  try {
    klens_session_options options{};
    options.size = sizeof options;
    options.batch = limits_.part;
    options.checkpoints = kCheckpoints;
    // Answers hold their states until they end, whatever the cache forgets: so less than all of it.
    options.checkpoint_bytes =
        cache_ == nullptr ? -1 : static_cast<int64_t>(std::max<size_t>(limits_.cache_bytes / 8, 1));
    answer.session = new_session(model_, options);
    answer.sampler = sampler_for(ask, 0);
    answer.text = text_for(ask);
    if (ask.grammar_after.empty()) constrain(answer);
    int64_t reused = 0, shared = 0;
    if (cache_ != nullptr)
      check([&](klens_error* e) {
        return klens_prefix_cache_take(cache_.get(), answer.session.get(), ask.ids.data(),
                                       ask.ids.size(), &reused, &shared, e);
      });
    answer.read = static_cast<size_t>(reused);
    answer.usage.cached = reused;
    if (cache_ != nullptr) answer.cuts = cuts_of(ask, answer.read, static_cast<size_t>(shared));
    metrics_.prefix_queries.add(ask.ids.size());
    metrics_.prefix_hits.add(answer.read);
    metrics_.prompt_tokens.add(ask.ids.size());
    if (!answer.reading()) split(answer);
  } catch (const Failure& e) {
    fail(answer, e.status, e.what());
  } catch (const std::bad_alloc&) {
    fail(answer, KLENS_NO_MEMORY, "out of memory");
  }
}

SamplerHandle Scheduler::sampler_for(const Ask& ask, size_t choice) const {
  klens_sampler_options options = ask.sampler;
  options.seed += choice;
  SamplerHandle sampler = new_sampler(options, tokenizer_);
  for (const int32_t id : ask.ids) klens_sampler_accept(sampler.get(), id);
  return sampler;
}

std::unique_ptr<AnswerText> Scheduler::text_for(const Ask& ask) const {
  return std::make_unique<AnswerText>(
      tokenizer_, ask.stops,
      ask.one_text ? std::span<const int32_t>(ask.ids) : std::span<const int32_t>(), ask.shown);
}

// Where states are kept: where the asker says so, where a kept prompt went on otherwise, now and
// then, and as late as can be.
std::vector<Scheduler::Cut> Scheduler::cuts_of(const Ask& ask, size_t reused, size_t shared) const {
  const size_t last = whole_blocks(ask.ids.size());
  std::vector<size_t> places = {whole_blocks(shared), last};
  for (const size_t at : ask.cuts) places.push_back(whole_blocks(at));
  for (size_t at = reused / kCutEvery * kCutEvery; at < last; at += kCutEvery) places.push_back(at);
  std::sort(places.begin(), places.end());
  places.erase(std::unique(places.begin(), places.end()), places.end());
  std::vector<Cut> cuts;
  for (const size_t at : places)
    if (at > reused && at <= last) cuts.push_back({at, at == last});
  return cuts;
}

// ---- going on ---------------------------------------------------------------------------------

std::vector<Scheduler::Answer*> Scheduler::fed_this_round() {
  const bool oldest_alone = ++rounds_ % 2 == 0;
  bool has_prompt = false;
  std::vector<Answer*> fed;
  for (Answer& answer : active_) {
    if (answer.over || (answer.reading() && has_prompt && oldest_alone)) continue;
    has_prompt |= answer.reading();
    fed.push_back(&answer);
  }
  return fed;
}

void Scheduler::round() {
  const std::vector<Answer*> fed = fed_this_round();
  if (fed.empty()) return;
  if (limits_.drafts > 0 && active_.size() == 1 && !fed.front()->reading()) {
    try {
      if (draft_round(*fed.front())) return;
    } catch (const Failure& e) {
      return fail(*fed.front(), e.status, e.what());
    }
  }
  std::vector<klens_session*> sessions;
  std::vector<const int32_t*> ids;
  std::vector<size_t> counts;
  // A pass has the room of its first session, which may be fed nothing.
  if (std::any_of(fed.begin(), fed.end(), [](const Answer* a) { return !a->reading(); })) {
    sessions.push_back(pace_.get());
    ids.push_back(&fed.front()->next);
    counts.push_back(0);
  }
  const size_t first = sessions.size();
  for (const Answer* answer : fed) {
    sessions.push_back(answer->session.get());
    ids.push_back(answer->reading() ? answer->job.ask->ids.data() + answer->read : &answer->next);
    counts.push_back(answer->reading() ? answer->part_end() - answer->read : 1);
  }
  std::vector<size_t> done(sessions.size());
  std::vector<klens_status> statuses(sessions.size());
  const Clock::time_point start = Clock::now();
  klens_error error{};
  const klens_status status =
      klens_sessions_round(sessions.data(), ids.data(), counts.data(), sessions.size(), done.data(),
                           statuses.data(), &error);
  metrics_.rounds.observe(seconds_between(start, Clock::now()));
  for (size_t i = 0; i < fed.size(); ++i) {
    Answer& answer = *fed[i];
    try {
      if (status != KLENS_OK)
        fail(answer, status, error.message);
      else if (statuses[first + i] != KLENS_OK)
        fail(answer, statuses[first + i],
             "the logits are not finite: the model's weights are damaged or overflow; run klens "
             "inspect --verify");
      else
        advance(answer, done[first + i]);
    } catch (const Failure& e) {
      fail(answer, e.status, e.what());
    }
  }
}

// A pass that feeds an answer, beside which there is no other, its token and drafts of what comes
// next. False: there are no drafts, and nothing was fed. A round of several sessions cannot verify
// drafts, which a session does alone; their bits are those of rounds, so that an answer may change
// from one to the other as others come and go.
bool Scheduler::draft_round(Answer& answer) {
  const auto vocab = static_cast<size_t>(klens_model_vocab(model_));
  const auto left = static_cast<size_t>(answer.job.ask->most - answer.usage.made);
  klens_session* session = answer.session.get();
  std::vector<int32_t> ids = draft(session, answer.next, std::min(limits_.drafts, left - 1));
  if (ids.empty()) return false;
  metrics_.drafted.add(ids.size());
  ids.insert(ids.begin(), answer.next);
  drafted_logits_.resize((limits_.drafts + 1) * vocab);
  const Clock::time_point start = Clock::now();
  const size_t fed = eval_drafts(session, ids, drafted_logits_.data());
  metrics_.rounds.observe(seconds_between(start, Clock::now()));
  bool after_a_draft = false;
  accept_drafts(session, ids, fed, std::span(drafted_logits_).first(fed * vocab),
                [&](const float* logits) {
                  if (after_a_draft) metrics_.accepted.add();  // before the answer can end
                  after_a_draft = true;
                  choose(answer, logits);
                  return answer.over ? std::nullopt : std::optional(answer.next);
                });
  return true;
}

void Scheduler::advance(Answer& answer, size_t fed) {
  if (!answer.reading()) return choose(answer, klens_session_logits(answer.session.get()));
  answer.read += fed;
  if (!answer.cuts.empty() && answer.read == answer.cuts.front().at) {
    checkpoint(answer.session.get());
    if (answer.cuts.front().keep)
      check([&](klens_error* e) {
        return klens_prefix_cache_keep(cache_.get(), answer.session.get(), e);
      });
    answer.cuts.erase(answer.cuts.begin());
  }
  if (!answer.reading()) split(answer);
}

// The prompt is read: its other choices go on from the same state.
void Scheduler::split(Answer& answer) {
  const Ask& ask = *answer.job.ask;
  reserved_ -= ask.choices - 1;
  for (size_t i = 1; i < ask.choices; ++i) {
    Answer& other = active_.emplace_back();
    other.job = answer.job;
    other.choice = ask.first_choice + i;
    other.read = answer.read;
    other.usage = answer.usage;
    try {
      klens_session* copy = nullptr;
      check([&](klens_error* e) { return klens_session_fork(answer.session.get(), &copy, e); });
      other.session.reset(copy);
      other.sampler = sampler_for(ask, i);
      other.text = text_for(ask);
      if (ask.grammar_after.empty()) constrain(other);
      choose(other, klens_session_logits(other.session.get()));
    } catch (const Failure& e) {
      fail(other, e.status, e.what());
    }
  }
  choose(answer, klens_session_logits(answer.session.get()));
}

int32_t Scheduler::next_token(Answer& answer, const float* logits) const {
  klens_sampler* sampler = answer.sampler.get();
  const std::vector<int32_t>& opening = answer.job.ask->opening;
  if (!answer.constrained || answer.opened == opening.size())
    return sample(sampler, logits, static_cast<size_t>(klens_model_vocab(model_)));
  const int32_t id = opening[answer.opened++];
  klens_sampler_accept(sampler, id);
  return id;
}

// Goes on by logits [vocab].
void Scheduler::choose(Answer& answer, const float* logits) {
  const Ask& ask = *answer.job.ask;
  const int32_t id = next_token(answer, logits);
  if (++answer.usage.made == 1) {
    answer.usage.first_token_seconds = seconds_between(answer.job.asked, Clock::now());
    metrics_.first_token.observe(answer.usage.first_token_seconds);
  }
  metrics_.generated_tokens.add();
  answer.next = id;
  Piece piece;
  piece.choice = answer.choice;
  if (!ask.ignore_end && klens_model_is_eos(model_, id) != 0)
    return end(answer, std::move(piece), Finish::kStop);
  if (ask.top_logprobs >= 0) piece.tokens.push_back(score(answer, id, logits));
  piece.text = answer.text->push(id);
  if (answer.text->stopped() || completes_grammar(answer, id))
    return end(answer, std::move(piece), Finish::kStop);
  if (answer.usage.made == ask.most) return end(answer, std::move(piece), Finish::kLength);
  if (!piece.text.empty() || !piece.tokens.empty()) answer.job.mail->put(std::move(piece));
}

void Scheduler::constrain(Answer& answer) {
  const klens_grammar* grammar = answer.job.ask->grammar.get();
  if (grammar == nullptr) return;
  check(
      [&](klens_error* e) { return klens_sampler_use_grammar(answer.sampler.get(), grammar, e); });
  answer.constrained = true;
}

// Whether nothing may follow this token. A grammar that waits for the end of thoughts begins with
// the token after it.
bool Scheduler::completes_grammar(Answer& answer, int32_t id) {
  const Ask& ask = *answer.job.ask;
  if (ask.grammar == nullptr) return false;
  if (answer.constrained)
    return klens_sampler_grammar_progress(answer.sampler.get()) == KLENS_GRAMMAR_FINISHED;
  answer.before += detokenize(tokenizer_, {id}, false);
  if (answer.before.find(ask.grammar_after) != std::string::npos) constrain(answer);
  return false;
}

// log softmax of the logits.
Scored Scheduler::score(const Answer& answer, int32_t id, const float* logits) const {
  const auto count = static_cast<size_t>(klens_model_vocab(model_));
  const double largest = *std::max_element(logits, logits + count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(logits[i] - largest);
  const double total = largest + std::log(sum);
  Scored scored{id, logits[id] - total, {}};
  std::vector<int32_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = static_cast<int32_t>(i);
  const auto top = std::min(count, static_cast<size_t>(answer.job.ask->top_logprobs));
  std::partial_sort(
      order.begin(), order.begin() + static_cast<ptrdiff_t>(top), order.end(),
      [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (size_t i = 0; i < top; ++i) scored.top.emplace_back(order[i], logits[order[i]] - total);
  return scored;
}

void Scheduler::end(Answer& answer, Piece piece, Finish finish) {
  const bool stopped = answer.text->stopped();
  piece.text += answer.text->finish();
  // What was held back may end in a stop string now that its last character is whole.
  piece.finish = !stopped && answer.text->stopped() ? Finish::kStop : finish;
  piece.ended = true;
  piece.usage = answer.usage;
  answer.over = true;
  answer.job.mail->put(std::move(piece));
}

void Scheduler::fail(Answer& answer, klens_status status, const std::string& problem) {
  answer.over = true;
  // Choices that have not begun fail with the one that reads for them.
  const size_t choices = answer.reading() ? answer.job.ask->choices : 1;
  for (size_t i = 0; i < choices; ++i) {
    Piece piece;
    piece.choice = answer.choice + i;
    piece.ended = true;
    piece.finish = Finish::kFailed;
    piece.status = status;
    piece.problem = problem;
    piece.usage = answer.usage;
    answer.job.mail->put(std::move(piece));
  }
}

}  // namespace klens::apps
