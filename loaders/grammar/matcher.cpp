#include "loaders/grammar/matcher.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace klens::grammar {
namespace {

constexpr uint32_t kNoNode = Automaton::kNone;
// Places that are always there: the text's, and that of a call whose callers are not known.
constexpr uint32_t kText = 0, kUnknown = 1;
constexpr size_t kCacheBytes = size_t{64} << 20;
// Of one call: about a second.
constexpr size_t kMostWork = 100'000'000;

uint64_t bit(int32_t id) { return uint64_t{1} << (static_cast<uint32_t>(id) % 64); }
uint64_t& word(std::span<uint64_t> words, int32_t id) {
  return words[static_cast<size_t>(id) / 64];
}

}  // namespace

// What may follow an item, whoever called its rule: tokens that end within the rule or with it, and
// places in the tries where the rule may end and the callers would go on.
struct Constraint::Known {
  std::vector<uint64_t> words;
  std::vector<uint32_t> many_exits, few_exits;
  size_t bytes() const {
    return words.size() * 8 + (many_exits.size() + few_exits.size()) * 4 + sizeof(Known) + 64;
  }
};

struct Constraint::Cache {
  std::mutex mutex;
  std::unordered_map<uint64_t, std::shared_ptr<const Known>> entries;
  size_t bytes = 0;

  std::shared_ptr<const Known> find(uint64_t key) {
    const std::lock_guard lock(mutex);
    const auto at = entries.find(key);
    return at == entries.end() ? nullptr : at->second;
  }
  void add(uint64_t key, const std::shared_ptr<const Known>& known) {
    const std::lock_guard lock(mutex);
    if (bytes + known->bytes() > kCacheBytes) {
      entries.clear();
      bytes = 0;
    }
    if (entries.try_emplace(key, known).second) bytes += known->bytes();
  }
};

Constraint::Constraint(const Grammar& grammar, std::shared_ptr<const TokenTable> tokens)
    : automaton_(grammar), tokens_(std::move(tokens)), cache_(std::make_unique<Cache>()) {}

Constraint::~Constraint() = default;

// Tries the tokens of a part of a trie from one set on.
class Matcher::Walk {
 public:
  // `exits` receives the nodes where the unknown call may end and more bytes follow; may be null.
  Walk(Matcher& matcher, std::span<uint64_t> words, std::vector<uint32_t>* exits)
      : matcher_(matcher),
        automaton_(matcher.constraint_->automaton()),
        words_(words),
        exits_(exits) {}

  // Nodes [begin, end), whose first is at `depth`.
  void run(const TokenTrie& trie, uint32_t begin, uint32_t end, uint32_t depth, const Set& base) {
    trie_ = &trie;
    path_.resize(trie.depth() + 2);
    path_[0] = {.single = false, .item = {}, .set = base};
    for (uint32_t i = begin; i < end;) {
      const TokenTrie::Node& node = trie.node(i);
      const size_t level = node.depth - depth;
      At& at = path_[level + 1];
      if (!step(path_[level], node.byte, at)) {
        i = node.end;
        continue;
      }
      for (const int32_t id : trie.tokens(i)) word(words_, id) |= bit(id);
      if (outside_ && exits_ != nullptr && node.end > i + 1) exits_->push_back(i);
      ++i;
    }
  }

 private:
  // After some bytes: a set, or, most of the time, one item that one byte leads on.
  struct At {
    bool single;
    Item item;
    Set set;
  };

  bool step(At& from, uint8_t byte, At& to) {
    outside_ = false;
    matcher_.spend(1);
    if (from.single) {
      const uint32_t next = automaton_.next(automaton_.state(from.item.state), byte);
      if (next == kNoNode) return false;
      const Automaton::State& state = automaton_.state(next);
      if (state.plain && (!state.accepts || from.item.call == kUnknown)) {
        outside_ = state.accepts;
        to.single = true;
        to.item = {next, 0, from.item.call};
        to.set = from.set;
        return true;
      }
      matcher_.forget(from.set);
      to.set = matcher_.begin_set();
      matcher_.add(to.set, {next, from.item.count, from.item.call});
      matcher_.add_ends(to.set);
    } else {
      matcher_.forget(from.set);
      to.set = matcher_.step(from.set, byte);
    }
    to.single = false;
    outside_ = to.set.outside;
    if (to.set.behind - to.set.begin == 1 && !to.set.complete) {
      const Item& item = matcher_.items_[to.set.begin];
      const Automaton::State& state = automaton_.state(item.state);
      to.single = state.plain && (!state.accepts || item.call == kUnknown);
      to.item = item;
    }
    return to.set.alive();
  }

  Matcher& matcher_;
  const Automaton& automaton_;
  const TokenTrie* trie_ = nullptr;
  std::span<uint64_t> words_;
  std::vector<uint32_t>* exits_;
  std::vector<At> path_;  // by depth
  bool outside_ = false;  // after the last step
};

Matcher::Matcher(std::shared_ptr<const Constraint> constraint)
    : constraint_(std::move(constraint)) {
  reset();
}

void Matcher::reset() {
  const Automaton& automaton = constraint_->automaton();
  items_.clear();
  waiting_.clear();
  places_.assign(2, {kNoNode, 0});
  sets_ = 0;
  called_.assign(automaton.rules().size(), {0, 0});
  live_ = 0;
  ended_ = false;
  now_ = begin_set();
  add(now_, {automaton.rules()[automaton.start_rule()].start, 0, kText});
  now_.behind = now_.end = items_.size();
  now_.complete = automaton.accepts_nothing();
}

bool Matcher::can_continue() const {
  if (ended_) return false;
  return std::any_of(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(now_.behind),
                     [&](const Item& item) {
                       const Automaton::State& state = constraint_->automaton().state(item.state);
                       return state.range_count + state.call_count > 0;
                     });
}

void Matcher::spend(size_t work) {
  work_ += work;
  if (work_ > kMostWork)
    throw Error(ErrorKind::kUnsupported,
                "the grammar or schema is so ambiguous that the next token cannot be found in "
                "time; make its alternatives begin differently");
}

// ---- sets ---------------------------------------------------------------------------------------

Matcher::Set Matcher::begin_set() {
  return {.id = ++set_ids_,
          .begin = items_.size(),
          .behind = items_.size(),
          .end = items_.size(),
          .places = places_.size(),
          .waiting = waiting_.size()};
}

void Matcher::add(const Set& set, const Item& item) {
  constexpr size_t kFew = 16;
  const size_t count = items_.size() - set.begin;
  const auto begin = items_.begin() + static_cast<std::ptrdiff_t>(set.begin);
  bool may_be_there = true;
  if (count >= kFew) {
    seen_.in.resize(constraint_->automaton().states());
    if (count == kFew)
      std::for_each(begin, items_.end(), [&](const Item& at) { seen_.in[at.state] = set.id; });
    may_be_there = std::exchange(seen_.in[item.state], set.id) == set.id;
  }
  spend(may_be_there ? 1 + count / 4 : 1);
  if (!may_be_there || std::find(begin, items_.end(), item) == items_.end()) items_.push_back(item);
}

// What items that have reached an end of their rule lead to, until nothing new is found.
void Matcher::add_ends(Set& set) {
  const Automaton& automaton = constraint_->automaton();
  for (size_t i = set.begin; i < items_.size(); ++i) {
    const Item item = items_[i];
    const Automaton::State& state = automaton.state(item.state);
    if (!state.accepts) continue;
    const Automaton::Rule& rule = automaton.rules()[state.rule];
    if (rule.counted()) {
      const uint32_t count = item.count + 1;
      if (count < rule.max) add(set, {rule.start, count, item.call});
      if (count < rule.min) continue;
    }
    end_call(set, item.call);
  }
  set.behind = set.end = items_.size();
}

void Matcher::end_call(Set& set, uint32_t place) {
  if (place == kText) set.complete = true;
  if (place == kUnknown) set.outside = true;
  for (uint32_t i = places_[place].waiting; i != kNoNode; i = waiting_[i].next)
    add(set, waiting_[i].item);
}

// Calls what the items call, and what is then called; the set must be the last.
void Matcher::call_rules(Set& set) {
  if (set.called) return;
  ++sets_;
  for (size_t i = set.begin; i < items_.size(); ++i) {
    const Item item = items_[i];
    const Automaton::State& state = constraint_->automaton().state(item.state);
    for (const Automaton::CallEdge& edge : constraint_->automaton().calls(state))
      call_rule(edge, item);
  }
  set.end = items_.size();
  set.places = places_.size();
  set.waiting = waiting_.size();
  set.called = true;
}

void Matcher::call_rule(const Automaton::CallEdge& edge, const Item& caller) {
  spend(1);
  auto& [made, place] = called_[edge.rule];
  if (made != sets_) {
    made = sets_;
    place = static_cast<uint32_t>(places_.size());
    places_.push_back({kNoNode, sets_});
    items_.push_back({constraint_->automaton().rules()[edge.rule].start, 0, place});
  }
  // A call that ends its rule hands on who waits for that one, if they are all known: lists that
  // are written as a rule that ends with itself do not grow then.
  const bool hands_on = edge.last && caller.call > kUnknown && places_[caller.call].made != sets_;
  if (!hands_on) return wait(place, {edge.to, caller.count, caller.call});
  for (uint32_t i = places_[caller.call].waiting; i != kNoNode; i = waiting_[i].next)
    wait(place, Item{waiting_[i].item});
}

void Matcher::wait(uint32_t place, const Item& item) {
  size_t looked_at = 1;
  for (uint32_t i = places_[place].waiting; i != kNoNode; i = waiting_[i].next, ++looked_at)
    if (waiting_[i].item == item) return spend(looked_at);
  spend(looked_at);
  waiting_.push_back({item, places_[place].waiting});
  places_[place].waiting = static_cast<uint32_t>(waiting_.size() - 1);
}

// The set behind one more byte; `from` must be the last set.
Matcher::Set Matcher::step(Set& from, uint8_t byte) {
  call_rules(from);
  const Automaton& automaton = constraint_->automaton();
  Set to = begin_set();
  for (size_t i = from.begin; i < from.end; ++i) {
    const Item item = items_[i];
    const uint32_t next = automaton.next(automaton.state(item.state), byte);
    if (next != kNoNode) add(to, {next, item.count, item.call});
  }
  add_ends(to);
  return to;
}

void Matcher::forget(const Set& back_to) {
  items_.resize(back_to.end);
  places_.resize(back_to.places);
  waiting_.resize(back_to.waiting);
}

// ---- going on -----------------------------------------------------------------------------------

bool Matcher::accept(int32_t id) {
  const TokenTable& tokens = constraint_->tokens();
  if (std::find(tokens.ends.begin(), tokens.ends.end(), id) != tokens.ends.end()) {
    ended_ = ended_ || complete();
    return ended_;
  }
  if (id < 0 || static_cast<size_t>(id) >= tokens.bytes.size()) return false;
  const std::string& bytes = tokens.bytes[static_cast<size_t>(id)];
  return !bytes.empty() && accept_bytes(bytes);
}

bool Matcher::accept_bytes(std::string_view bytes) {
  if (ended_) return bytes.empty();
  work_ = 0;
  Set at = now_;
  for (size_t i = 0; i < bytes.size(); ++i) {
    Set next = step(at, static_cast<uint8_t>(bytes[i]));
    if (i == 0) now_ = at;  // its calls were made
    if (!next.alive()) {
      forget(now_);
      return false;
    }
    at = next;
  }
  items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(at.begin));
  at.behind -= at.begin;
  at.end -= at.begin;
  at.begin = 0;
  now_ = at;
  if (places_.size() > 2 * live_ + 256) collect();
  return true;
}

// Drops places that no item leads to.
void Matcher::collect() {
  std::vector<uint32_t> number(places_.size(), kNoNode);
  std::vector<uint32_t> order = {kText, kUnknown};
  number[kText] = kText;
  number[kUnknown] = kUnknown;
  const auto reach = [&](uint32_t& place) {
    if (number[place] == kNoNode) {
      number[place] = static_cast<uint32_t>(order.size());
      order.push_back(place);
    }
    place = number[place];
  };
  for (Item& item : items_) reach(item.call);
  std::vector<Place> places;
  std::vector<Waiting> waiting;
  for (size_t i = 0; i < order.size(); ++i) {
    places.push_back({kNoNode, places_[order[i]].made});
    for (uint32_t at = places_[order[i]].waiting; at != kNoNode; at = waiting_[at].next) {
      waiting.push_back({waiting_[at].item, places.back().waiting});
      reach(waiting.back().item.call);
      places.back().waiting = static_cast<uint32_t>(waiting.size() - 1);
    }
  }
  places_ = std::move(places);
  waiting_ = std::move(waiting);
  now_.places = places_.size();
  now_.waiting = waiting_.size();
  now_.called = false;
  items_.resize(now_.behind);
  now_.end = now_.behind;
  live_ = places_.size();
}

// ---- masks --------------------------------------------------------------------------------------

void Matcher::mask(std::span<uint64_t> words) {
  std::fill(words.begin(), words.end(), 0);
  work_ = 0;
  if (ended_ || complete())
    for (const int32_t id : constraint_->tokens().ends) word(words, id) |= bit(id);
  if (ended_) return;
  for (size_t i = 0; i < now_.behind; ++i) mask_item(Item{items_[i]}, words);
  forget(now_);
}

void Matcher::mask_item(const Item& item, std::span<uint64_t> words) {
  const Automaton& automaton = constraint_->automaton();
  const TokenTable& tokens = constraint_->tokens();
  const std::shared_ptr<const Constraint::Known> known = this->known(item);
  for (size_t i = 0; i < words.size(); ++i) words[i] |= known->words[i];
  std::vector<uint32_t> few_exits = known->few_exits;
  if (automaton.rules()[automaton.state(item.state).rule].counted()) {
    forget(now_);
    Set base = begin_set();
    add(base, {item.state, item.count, kUnknown});
    base.behind = base.end = items_.size();
    call_rules(base);
    Walk(*this, words, &few_exits).run(tokens.few, 0, tokens.few.size(), 1, base);
  }
  if (known->many_exits.empty() && few_exits.empty()) return;
  forget(now_);
  Set behind = begin_set();
  end_call(behind, item.call);
  add_ends(behind);
  if (behind.behind == behind.begin) return;
  call_rules(behind);
  Walk walk(*this, words, nullptr);
  const auto follow = [&](const TokenTrie& trie, const std::vector<uint32_t>& exits) {
    for (const uint32_t exit : exits) {
      const TokenTrie::Node& node = trie.node(exit);
      walk.run(trie, exit + 1, node.end, node.depth + 1, behind);
    }
  };
  follow(tokens.many, known->many_exits);
  follow(tokens.few, few_exits);
}

// A count matters as far as a token reaches: up to kShort times of a byte each.
std::shared_ptr<const Constraint::Known> Matcher::known(const Item& item) {
  const Automaton& automaton = constraint_->automaton();
  const TokenTable& tokens = constraint_->tokens();
  const Automaton::Rule& rule = automaton.rules()[automaton.state(item.state).rule];
  uint64_t key = uint64_t{item.state} << 16;
  if (rule.counted()) {
    constexpr uint32_t kFar = TokenTable::kShort + 1;
    const uint32_t missing = rule.min > item.count ? rule.min - item.count : 0;
    key |= std::min(missing, kFar) << 8 | std::min(rule.max - item.count, kFar);
  }
  if (auto found = constraint_->cache_->find(key)) return found;
  auto made = std::make_shared<Constraint::Known>();
  made->words.resize(mask_words());
  forget(now_);
  Set base = begin_set();
  add(base, {item.state, item.count, kUnknown});
  base.behind = base.end = items_.size();
  call_rules(base);
  Walk(*this, made->words, &made->many_exits).run(tokens.many, 0, tokens.many.size(), 1, base);
  if (!rule.counted())
    Walk(*this, made->words, &made->few_exits).run(tokens.few, 0, tokens.few.size(), 1, base);
  constraint_->cache_->add(key, made);
  return made;
}

}  // namespace klens::grammar
