// Tokens that are verified together: Session::eval_drafts.
#include <algorithm>
#include <cmath>

#include "engine/session.h"
#include "kernels/magnitude.h"

namespace klens {

int64_t Session::eval_drafts(std::span<const int32_t> ids, float* all) {
  model_->check_ids(ids);
  if (ids.empty()) throw Error(ErrorKind::kBadArgument, "there is no token to evaluate");
  if (std::string_view(model_->device().name()) != "cpu" || model_->front() != nullptr)
    throw Error(ErrorKind::kUnsupported,
                "drafts are verified on the CPU alone: elsewhere a token has other bits in "
                "company; use --backend cpu, or no drafts");
  if (ids.size() > 1) {
    try {
      if (const int64_t fed = run_drafts(ids, all); fed > 0) return fed;
    } catch (const Error&) {
      // A draft need not be a token that could be fed: what it asks of the state may be too much.
      // The state is untouched, and keys and values beyond its end are written over.
    }
  }
  eval(ids.first(1), all);
  return 1;
}

// 0: the logits behind the first token are not finite, and the session's state is as it was.
int64_t Session::run_drafts(std::span<const int32_t> ids, float* all) {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t vocab = model_->spec().vocab, begin = model_->prefix_rows() + position();
  drafts_.count = 0;
  std::vector<SequenceState>& states = drafts_.states;
  while (states.size() < ids.size()) {
    states.push_back({.layout = &model_->states(), .slots = {}, .caches = {}});
    states.back().slots = model_->make_slots(Memory::Begin::kAnything);
  }
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < count; ++i)
    sequences.push_back({.state = &states[static_cast<size_t>(i)],
                         .row = i,
                         .tokens = 1,
                         .position = begin + i,
                         .horizon = begin + i + 1});
  model_->device().run([&](Lane& lane) {
    const Lane::Frame frame(lane);
    const Rows x = lane.take(count, model_->spec().d_model), logits = lane.take(count, vocab);
    model_->run(
        {.ids = ids, .sequences = sequences, .weights = model_->weights(), .drafted = &state_}, x,
        lane);
    model_->head(x, logits, model_->weights(), lane);
    std::copy_n(lane.host(logits), count * vocab, all);
  });
  int64_t good = 0;
  while (good < count && std::isfinite(largest_magnitude(all + good * vocab, vocab))) ++good;
  if (good == 0) return 0;
  drafts_.first = position() + 1;
  drafts_.count = good - 1;
  drafts_.logits.assign(all, all + (good - 1) * vocab);
  ids_.insert(ids_.end(), ids.begin(), ids.begin() + good);
  state_.slots.swap(states[static_cast<size_t>(good - 1)].slots);
  if (good < count)
    for (KvCache& cache : state_.caches) cache.truncate(begin + good);
  std::copy_n(all + (good - 1) * vocab, vocab, logits_.data());
  has_logits_ = true;
  return good;
}

void Session::go_back_to_draft(int64_t wanted) {
  const auto draft = static_cast<size_t>(wanted - drafts_.first);
  while (!checkpoints_.empty() && checkpoints_.back()->position > wanted) checkpoints_.pop_back();
  state_.slots.swap(drafts_.states[draft].slots);
  for (KvCache& cache : state_.caches) cache.truncate(model_->prefix_rows() + wanted);
  ids_.resize(static_cast<size_t>(wanted));
  const size_t vocab = logits_.size();
  std::copy_n(drafts_.logits.data() + draft * vocab, vocab, logits_.data());
  has_logits_ = true;
  drafts_.count = 0;
}

}  // namespace klens
