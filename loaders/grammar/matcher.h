#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "loaders/grammar/automaton.h"
#include "loaders/grammar/token_trie.h"

namespace klens::grammar {

// A grammar made ready to constrain the tokens of one tokenizer. May be used by several threads at
// once.
class Constraint {
 public:
  Constraint(const Grammar& grammar, std::shared_ptr<const TokenTable> tokens);
  ~Constraint();

  const Automaton& automaton() const { return automaton_; }
  const TokenTable& tokens() const { return *tokens_; }

 private:
  friend class Matcher;
  struct Known;
  struct Cache;
  Automaton automaton_;
  std::shared_ptr<const TokenTable> tokens_;
  std::unique_ptr<Cache> cache_;
};

// How far one text is in a grammar: an Earley parser over the rules' automata. An item is a state
// of a rule that was called at some place; a call that several others wait for is run once, so
// ambiguous grammars take polynomial time, and left recursion is a call like any other. Copying it
// is forking it. Belongs to one thread at a time.
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Constraint> constraint);

  void reset();
  // Takes a token or bytes; false, and nothing is taken, if the text would leave the language. A
  // token that ends a turn is taken where the text is complete.
  bool accept(int32_t id);
  bool accept_bytes(std::string_view bytes);
  bool complete() const { return now_.complete; }  // the text is in the language
  bool can_continue() const;                       // some text may follow
  bool ended() const { return ended_; }

  // One bit for each id, in words of 64: whether it may be next. Tokens that end a turn may where
  // the text is complete. Throws Error if a grammar is so ambiguous that this takes too long.
  size_t mask_words() const { return (constraint_->tokens().bytes.size() + 63) / 64; }
  void mask(std::span<uint64_t> words);

  const Constraint& constraint() const { return *constraint_; }
  size_t places() const { return places_.size(); }  // where rules were called and may yet end

 private:
  // A state of the call `call`, which counts where its rule does.
  struct Item {
    uint32_t state, count, call;
    bool operator==(const Item&) const = default;
  };
  // Who waits for a call's end: where it then goes on.
  struct Waiting {
    Item item;
    uint32_t next;
  };
  struct Place {
    uint32_t waiting;  // the first; kNone: none, as of the text itself
    uint64_t made;     // in which set
  };
  // Items of one place in a text: those behind its last byte, then those that they call.
  struct Set {
    uint64_t id;
    size_t begin, behind, end;  // in items_
    size_t places, waiting;     // sizes of those once the set was made
    bool complete = false;      // the text may end here
    bool outside = false;       // so may the call whose callers are not known
    bool called = false;        // what the items call is there
    bool alive() const { return behind > begin || complete || outside; }
  };
  class Walk;
  // Which states the items of a large set have. A copy of a matcher begins without.
  struct Seen {
    std::vector<uint64_t> in;  // by state: the last set that has it
    Seen() = default;
    Seen(const Seen&) {}
    Seen(Seen&&) = default;
    Seen& operator=(const Seen&) { return *this; }
    Seen& operator=(Seen&&) = default;
  };

  Set begin_set();
  void add(const Set& set, const Item& item);
  void add_ends(Set& set);
  void end_call(Set& set, uint32_t place);
  void call_rules(Set& set);
  void call_rule(const Automaton::CallEdge& edge, const Item& caller);
  void wait(uint32_t place, const Item& item);
  Set step(Set& from, uint8_t byte);
  void forget(const Set& back_to);
  void collect();
  void spend(size_t work);
  std::shared_ptr<const Constraint::Known> known(const Item& item);
  void mask_item(const Item& item, std::span<uint64_t> words);

  std::shared_ptr<const Constraint> constraint_;
  std::vector<Item> items_;    // of the current place, then of those that are tried
  std::vector<Place> places_;  // 0: the text; 1: the call of Known, whose callers are not known
  std::vector<Waiting> waiting_;
  Set now_{};
  uint64_t set_ids_ = 0, sets_ = 0;  // made, and that called rules, so far
  Seen seen_;
  std::vector<std::pair<uint64_t, uint32_t>> called_;  // by rule: in which set, as which place
  size_t live_ = 0;                                    // places that the last collection left
  size_t work_ = 0;                                    // of this call
  bool ended_ = false;
};

}  // namespace klens::grammar
