#include "engine/session.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "kernels/magnitude.h"

namespace klens {
namespace {

int64_t whole_blocks(int64_t tokens) {
  return (tokens + kSequenceBlock - 1) / kSequenceBlock * kSequenceBlock;
}

}  // namespace

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : model_(std::move(model)),
      options_(options),
      state_(model_->initial_state()),
      logits_(static_cast<size_t>(model_->spec().vocab)) {}

size_t Session::Checkpoint::bytes() const {
  size_t total = static_cast<size_t>(slots.bytes()) + logits.size() * sizeof(float);
  for (const KvCache& cache : windows) total += cache.bytes();
  return total;
}

size_t Session::state_bytes() const { return state_.bytes() + logits_.size() * sizeof(float); }

size_t Session::bytes() const {
  size_t total = state_bytes();
  for (const auto& point : checkpoints_) total += point->bytes();
  for (const SequenceState& state : drafts_.states) total += state.bytes();
  return total;
}

int32_t Session::wide_caches() const {
  return static_cast<int32_t>(
      std::count_if(state_.caches.begin(), state_.caches.end(),
                    [&](const KvCache& cache) { return cache.type() != model_->kv_type(); }));
}

std::span<const float> Session::logits() const {
  return has_logits_ ? std::span<const float>(logits_) : std::span<const float>();
}

void Session::reset() {
  state_ = model_->initial_state();
  ids_.clear();
  checkpoints_.clear();
  has_logits_ = false;
  drafts_.count = 0;
}

void Session::become(const Session& other) {
  const SessionOptions own = options_;
  *this = other;
  options_ = own;
  forget_checkpoints();
}

void Session::eval(std::span<const int32_t> ids, float* all, const AfterPass& after_pass) {
  const int64_t vocab = model_->spec().vocab;
  const LogitSink copy = [&](int64_t first, int64_t count, const float* logits) {
    std::copy_n(logits, count * vocab, all + first * vocab);
  };
  const Feed feed{this, ids, all == nullptr ? nullptr : &copy};
  eval_together({&feed, 1}, after_pass);
}

void Session::eval(std::span<const int32_t> ids, const LogitSink& sink) {
  const Feed feed{this, ids, &sink};
  eval_together({&feed, 1});
}

// ---- several sessions in one pass ---------------------------------------------------------------

// The feeding of some sessions, round by round: each round is one pass over the weights.
class SessionBatch {
 public:
  explicit SessionBatch(std::span<const Feed> feeds)
      : feeds_(feeds),
        model_(feeds.front().session->model()),
        fed_(feeds.size()),
        order_(feeds.size()) {
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::stable_sort(order_.begin(), order_.end(),
                     [&](size_t a, size_t b) { return feeds[a].ids.size() < feeds[b].ids.size(); });
    for (const Feed& feed : feeds) {
      if (&feed.session->model() != &model_)
        throw Error(ErrorKind::kBadArgument, "sessions of different models cannot be fed together");
      for (const Feed& other : feeds)
        if (&other != &feed && other.session == feed.session)
          throw Error(ErrorKind::kBadArgument, "a session cannot be fed twice at once");
      model_.check_ids(feed.ids);
    }
  }

  // One pass, or passes until all is fed or `stop` says so. What fails in the middle of one resets
  // all sessions: the states of some blocks have advanced, of others not.
  std::vector<Fed> run(const std::function<bool()>& stop) {
    try {
      model_.device().run([&](Lane& lane) {
        while (plan_round()) {
          run_round(lane);
          if (stop()) break;
        }
      });
    } catch (...) {
      for (const Feed& feed : feeds_) feed.session->reset();
      throw;
    }
    return std::move(fed_);
  }

  int64_t tokens_fed() const {
    return std::accumulate(fed_.begin(), fed_.end(), int64_t{0},
                           [](int64_t sum, const Fed& fed) { return sum + fed.tokens; });
  }

 private:
  // The sessions' next tokens, short feeds first, as far as the round has room. Tokens that come
  // alone always have it: they are decoded together, before all others.
  bool plan_round() {
    ids_.clear();
    sequences_.clear();
    owner_.clear();
    not_finite_.clear();
    alone_ = 0;
    int64_t room = whole_blocks(feeds_.front().session->options_.batch);
    std::vector<std::pair<size_t, int64_t>> parts;  // of which feed, and how many tokens
    for (const size_t i : order_) {
      if (left(i) == 0 || (room <= 0 && left(i) > 1)) continue;
      parts.emplace_back(i, next_part(i, std::max<int64_t>(room, 1)));
      room -= parts.back().second;
      if (parts.back().second == 1) ++alone_;
    }
    std::stable_partition(parts.begin(), parts.end(),
                          [](const auto& part) { return part.second == 1; });
    int64_t row = 0;
    for (const auto& [i, part] : parts) {
      const auto tokens =
          feeds_[i].ids.subspan(static_cast<size_t>(fed_[i].tokens), static_cast<size_t>(part));
      Session& session = *feeds_[i].session;
      session.drafts_.count = 0;
      const int64_t position = model_.prefix_rows() + session.position();
      ids_.insert(ids_.end(), tokens.begin(), tokens.end());
      sequences_.push_back({.state = &session.state_,
                            .row = row,
                            .tokens = part,
                            .position = position,
                            .horizon = position + left(i) + feeds_[i].more});
      owner_.push_back(i);
      row += part;
    }
    return !sequences_.empty();
  }

  // How many of a feed's tokens go next. They are cut at whole blocks only, though that be more
  // than there is room for. A token alone in a block is computed otherwise than in company, so it
  // is alone whatever comes before it.
  int64_t next_part(size_t i, int64_t room) const {
    const int64_t begin = feeds_[i].session->position(), end = begin + left(i);
    int64_t stop = end;
    if (left(i) > room) {
      stop = (begin + room) / kSequenceBlock * kSequenceBlock;
      if (stop <= begin) stop = std::min(end, (begin / kSequenceBlock + 1) * kSequenceBlock);
    }
    if (stop == end && stop - begin > 1 && end % kSequenceBlock == 1) --stop;
    return stop - begin;
  }

  void run_round(Lane& lane) {
    const Lane::Frame frame(lane);
    const Rows x = lane.take(static_cast<int64_t>(ids_.size()), model_.spec().d_model);
    if (&model_.prompt_weights() == &model_.weights()) {
      pass(0, sequences_.size(), model_.weights(), x, lane);
    } else {
      pass(0, alone_, model_.weights(), x, lane);
      pass(alone_, sequences_.size(), model_.prompt_weights(), x, lane);
    }
    std::vector<size_t> ended;  // sequences whose last logits are wanted
    for (size_t s = 0; s < sequences_.size(); ++s) {
      const size_t i = owner_[s];
      const Sequence& sequence = sequences_[s];
      feeds_[i].session->has_logits_ = false;  // they were of an earlier token
      if (feeds_[i].hidden != nullptr)
        give_hidden(i, x.rows(sequence.row, sequence.tokens), lane);
      else if (feeds_[i].sink != nullptr)
        give_all(i, x.rows(sequence.row, sequence.tokens), lane);
      else if (sequence.tokens == left(i))
        ended.push_back(s);
      const auto fed = feeds_[i].ids.subspan(static_cast<size_t>(fed_[i].tokens),
                                             static_cast<size_t>(sequence.tokens));
      std::vector<int32_t>& known = feeds_[i].session->ids_;
      known.insert(known.end(), fed.begin(), fed.end());
      fed_[i].tokens += sequence.tokens;
    }
    give_last(ended, x, lane);
    for (const size_t i : owner_)
      if (feeds_[i].session->has_logits_ && !finite(feeds_[i].session->logits_))
        refuse(i, "logits");
    for (const size_t i : not_finite_) refuse(i, "hidden states");
  }

  // Sequences [begin, end) of the round, with x's rows for them.
  void pass(size_t begin, size_t end, const std::vector<Weight>& weights, const Rows& x,
            Lane& lane) {
    if (begin == end) return;
    std::vector<Sequence> sequences(sequences_.begin() + static_cast<std::ptrdiff_t>(begin),
                                    sequences_.begin() + static_cast<std::ptrdiff_t>(end));
    const int64_t first = sequences.front().row;
    const int64_t count = sequences.back().row + sequences.back().tokens - first;
    for (Sequence& sequence : sequences) sequence.row -= first;
    const auto ids =
        std::span(ids_).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    model_.run({.ids = ids, .sequences = sequences, .weights = weights}, x.rows(first, count),
               lane);
  }

  void give_all(size_t i, const Rows& x, Lane& lane) {
    const int64_t vocab = model_.spec().vocab, done = fed_[i].tokens;
    stream_logits(model_, x, model_.weights(), lane, [&](int64_t first, const Rows& rows) {
      const float* logits = lane.host(rows);
      (*feeds_[i].sink)(done + first, rows.count(), logits);
      std::copy_n(logits + (rows.count() - 1) * vocab, vocab, feeds_[i].session->logits_.data());
    });
    feeds_[i].session->has_logits_ = true;
  }

  void give_hidden(size_t i, const Rows& x, Lane& lane) {
    const Lane::Frame frame(lane);
    const Rows normed = lane.take(x.count(), x.width());
    model_.final_norm(x, normed, model_.weights(), lane);
    const auto size = static_cast<size_t>(x.count() * x.width());
    const std::span<const float> values(lane.host(normed), size);
    if (finite(values))
      (*feeds_[i].hidden)(fed_[i].tokens, x.count(), values.data());
    else
      not_finite_.push_back(i);
  }

  void give_last(const std::vector<size_t>& ended, const Rows& x, Lane& lane) {
    const int64_t vocab = model_.spec().vocab, count = static_cast<int64_t>(ended.size());
    if (count == 0) return;
    std::vector<int64_t> last;
    for (const size_t s : ended) last.push_back(sequences_[s].row + sequences_[s].tokens - 1);
    const Rows rows = lane.take(count, x.width()), logits = lane.take(count, vocab);
    lane.gather(x, last, rows);
    model_.head(rows, logits, model_.weights(), lane);
    const float* values = lane.host(logits);
    for (int64_t i = 0; i < count; ++i) {
      Session& session = *feeds_[owner_[ended[static_cast<size_t>(i)]]].session;
      std::copy_n(values + i * vocab, vocab, session.logits_.data());
      session.has_logits_ = true;
    }
  }

  static bool finite(std::span<const float> values) {
    return std::isfinite(largest_magnitude(values.data(), static_cast<int64_t>(values.size())));
  }

  // The others are fine: they have only shared the pass.
  void refuse(size_t i, const std::string& what) {
    feeds_[i].session->reset();
    fed_[i].error = Error(ErrorKind::kBadFile,
                          model_.checkpoint().path + ": the " + what +
                              " are not finite: its weights are damaged or overflow; run klens "
                              "inspect --verify");
  }

  int64_t left(size_t i) const {
    return fed_[i].error ? 0 : static_cast<int64_t>(feeds_[i].ids.size()) - fed_[i].tokens;
  }

  std::span<const Feed> feeds_;
  const Model& model_;
  std::vector<Fed> fed_;       // by feed
  std::vector<size_t> order_;  // of feeds, the shortest first
  std::vector<int32_t> ids_;   // of the round
  std::vector<Sequence> sequences_;
  std::vector<size_t> owner_;       // of each sequence: its feed
  std::vector<size_t> not_finite_;  // feeds whose hidden states are not
  size_t alone_ = 0;                // the first sequences, of one token each
};

void eval_together(std::span<const Feed> feeds, const AfterPass& after_pass) {
  if (feeds.empty()) return;
  SessionBatch batch(feeds);
  int64_t tokens = 0;
  for (const Feed& feed : feeds) {
    if (feed.ids.empty()) throw Error(ErrorKind::kBadArgument, "there is no token to evaluate");
    tokens += static_cast<int64_t>(feed.ids.size());
  }
  bool stopped = false;
  const auto stop = [&] {
    const int64_t fed = batch.tokens_fed();
    stopped = after_pass && fed < tokens && after_pass(fed, tokens);
    return stopped;
  };
  for (const Fed& fed : batch.run(stop))
    if (fed.error) throw *fed.error;
  if (stopped) throw Error(ErrorKind::kInterrupted, "prompt: interrupted");
}

std::vector<Fed> feed_round(std::span<const Feed> feeds) {
  if (feeds.empty()) return {};
  return SessionBatch(feeds).run([] { return true; });
}

// ---- going back ---------------------------------------------------------------------------------

void Session::checkpoint() {
  const Checkpoint* last = checkpoint_at(position());
  if (last != nullptr && (!last->logits.empty() || !has_logits_)) return;
  if (last != nullptr) checkpoints_.pop_back();
  auto point = std::make_shared<Checkpoint>(
      Checkpoint{.position = position(),
                 .slots = state_.slots,
                 .logits = has_logits_ ? logits_ : std::vector<float>(),
                 .windows = {}});
  for (size_t i = 0; i < state_.caches.size(); ++i)
    if (forgets(model_->spec().caches[i])) point->windows.push_back(state_.caches[i]);
  checkpoints_.push_back(std::move(point));
  forget_checkpoints();
}

const Session::Checkpoint* Session::checkpoint_at(int64_t wanted) const {
  for (const auto& point : checkpoints_)
    if (point->position == wanted) return point.get();
  return nullptr;
}

void Session::forget_checkpoints() {
  size_t bytes = 0, kept = 0;
  for (auto at = checkpoints_.rbegin(); at != checkpoints_.rend(); ++at, ++kept) {
    bytes += (*at)->bytes();
    if (static_cast<int64_t>(bytes) > options_.checkpoint_bytes) break;
    if (static_cast<int64_t>(kept) == options_.checkpoints) break;
  }
  while (checkpoints_.size() > kept) checkpoints_.pop_front();
}

int64_t Session::reachable(int64_t wanted) const {
  if (wanted >= position()) return position();
  if (drafts_.reach(wanted)) return wanted;
  int64_t best = 0;
  for (const auto& point : checkpoints_)
    if (point->position <= wanted) best = std::max(best, point->position);
  const bool stateless = state_.slots.bytes() == 0;
  const auto held = [&](const KvCache& cache) {
    return cache.reaches_back_to(model_->prefix_rows() + wanted);
  };
  if (stateless && wanted > 0 && std::all_of(state_.caches.begin(), state_.caches.end(), held))
    best = wanted;
  return best;
}

int64_t Session::rewind(int64_t wanted) {
  const int64_t target = reachable(wanted);
  if (target == position()) return target;
  if (drafts_.reach(target)) {
    go_back_to_draft(target);
    return target;
  }
  drafts_.count = 0;
  if (target == 0) {
    reset();
    return 0;
  }
  while (!checkpoints_.empty() && checkpoints_.back()->position > target) checkpoints_.pop_back();
  const Checkpoint* point = checkpoint_at(target);
  if (point != nullptr) state_.slots = point->slots;
  size_t window = 0;
  for (size_t i = 0; i < state_.caches.size(); ++i) {
    if (point != nullptr && forgets(model_->spec().caches[i]))
      state_.caches[i] = point->windows[window++];
    else
      state_.caches[i].truncate(model_->prefix_rows() + target);
  }
  ids_.resize(static_cast<size_t>(target));
  has_logits_ = point != nullptr && !point->logits.empty();
  if (has_logits_) logits_ = point->logits;
  return target;
}

int64_t Session::agrees_with(std::span<const int32_t> ids) const {
  const auto differs = std::mismatch(ids_.begin(), ids_.end(), ids.begin(), ids.end()).first;
  const int64_t common = reachable(differs - ids_.begin());
  // The logits after the last token are wanted, so it is fed again where they are not known.
  const int64_t count = static_cast<int64_t>(ids.size());
  if (common < count) return common;
  const Checkpoint* point = checkpoint_at(common);
  const bool known =
      common == position() ? has_logits_ : point != nullptr && !point->logits.empty();
  return known ? common : reachable(count - 1);
}

int64_t Session::prompt(std::span<const int32_t> ids, const AfterPass& after_pass) {
  model_->check_ids(ids);
  if (ids.empty()) throw Error(ErrorKind::kBadArgument, "there is no token to evaluate");
  const int64_t count = static_cast<int64_t>(ids.size()), kept = rewind(agrees_with(ids));
  const int64_t batch = whole_blocks(options_.batch);
  const int64_t every = options_.checkpoint_every > 0 ? options_.checkpoint_every
                        : count > batch               ? (count - 1) / batch * batch
                                                      : count;
  for (int64_t at = kept; at < count;) {
    const int64_t stop = std::min(count, (at / every + 1) * every);
    if (at > kept && after_pass && after_pass(at - kept, count - kept))
      throw Error(ErrorKind::kInterrupted, "prompt: interrupted");
    const AfterPass of_all = [&](int64_t fed, int64_t) {
      return after_pass && after_pass(at - kept + fed, count - kept);
    };
    const Feed feed{.session = this,
                    .ids = ids.subspan(static_cast<size_t>(at), static_cast<size_t>(stop - at)),
                    .sink = nullptr,
                    .more = count - stop};
    eval_together({&feed, 1}, of_all);
    checkpoint();
    at = stop;
  }
  return kept;
}

}  // namespace klens
