#include "engine/c_api/grammar.h"

#include <algorithm>
#include <cstring>

#include "engine/c_api/guard.h"
#include "engine/c_api/handles.h"
#include "loaders/grammar/gbnf.h"
#include "loaders/grammar/json_schema.h"

namespace klens {
namespace {

std::shared_ptr<const grammar::TokenTable> make_table(const klens_model& model) {
  const Tokenizer& tokenizer = model.tokenizer->tokenizer;
  std::vector<std::string> bytes;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    std::optional<std::string> text = tokenizer.text_bytes(id);
    if (!text) return nullptr;
    bytes.push_back(std::move(*text));
  }
  std::vector<int32_t> ends;
  for (const StopToken& stop : model.model->checkpoint().stop_tokens) ends.push_back(stop.id);
  return std::make_shared<const grammar::TokenTable>(std::move(bytes), std::move(ends));
}

std::shared_ptr<const grammar::TokenTable> table_of(const klens_model& model) {
  const std::string& path = model.model->checkpoint().path;
  if (!model.tokenizer)
    throw Error(ErrorKind::kUnsupported,
                path +
                    ": constrained output needs a tokenizer, and this model has none that can "
                    "be read; klens inspect says why");
  ConstraintTokens& tokens = model.constraint_tokens;
  std::call_once(tokens.once, [&] { tokens.table = make_table(model); });
  if (tokens.table == nullptr)
    throw Error(ErrorKind::kUnsupported,
                path +
                    ": constrained output needs a tokenizer whose tokens spell the same text "
                    "wherever they stand; the decoder of this one joins them otherwise");
  return tokens.table;
}

// An enumerator of a C caller may be any number.
grammar::Grammar parse(const klens_grammar_kind& kind, std::string_view text, const char* name) {
  int number = 0;
  static_assert(sizeof number == sizeof kind);
  std::memcpy(&number, &kind, sizeof number);
  switch (number) {
    case KLENS_GRAMMAR_GBNF:
      return grammar::parse_gbnf(text, name == nullptr ? "grammar" : name);
    case KLENS_GRAMMAR_JSON_SCHEMA:
      return grammar::parse_json_schema(text, name == nullptr ? "schema" : name);
    case KLENS_GRAMMAR_JSON_OBJECT:
      return grammar::json_object();
    default:
      throw Error(ErrorKind::kBadArgument,
                  "a grammar's kind must be gbnf, json_schema or "
                  "json_object");
  }
}

}  // namespace

klens_grammar_progress progress_of(const grammar::Matcher& matcher) {
  if (!matcher.complete()) return KLENS_GRAMMAR_OPEN;
  return matcher.can_continue() ? KLENS_GRAMMAR_COMPLETE : KLENS_GRAMMAR_FINISHED;
}

}  // namespace klens

using namespace klens;

klens_status klens_grammar_new(const klens_model* model, klens_grammar_kind kind, const char* text,
                               size_t text_bytes, const char* name, klens_grammar** grammar,
                               klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(grammar, "grammar");
    if (text_bytes != 0) require(text, "text");
    *grammar = new klens_grammar{std::make_shared<const grammar::Constraint>(
        parse(kind, {text, text_bytes}, name), table_of(*model))};
  });
}

void klens_grammar_free(klens_grammar* grammar) { delete grammar; }

klens_status klens_grammar_state_new(const klens_grammar* grammar, klens_grammar_state** state,
                                     klens_error* error) {
  return guarded(error, [&] {
    require(grammar, "grammar");
    require(state, "state");
    *state = new klens_grammar_state{grammar::Matcher(grammar->constraint)};
  });
}

klens_status klens_grammar_state_fork(const klens_grammar_state* state, klens_grammar_state** copy,
                                      klens_error* error) {
  return guarded(error, [&] {
    require(state, "state");
    require(copy, "copy");
    *copy = new klens_grammar_state{state->matcher};
  });
}

void klens_grammar_state_free(klens_grammar_state* state) { delete state; }

klens_status klens_grammar_state_reset(klens_grammar_state* state, klens_error* error) {
  return guarded(error, [&] {
    require(state, "state");
    state->matcher.reset();
  });
}

klens_status klens_grammar_state_accept(klens_grammar_state* state, int32_t id,
                                        klens_error* error) {
  return guarded(error, [&] {
    require(state, "state");
    if (!state->matcher.accept(id))
      throw Error(ErrorKind::kBadArgument, "token " + std::to_string(id) +
                                               " cannot follow in this grammar; choose one of "
                                               "klens_grammar_state_mask");
  });
}

klens_status klens_grammar_state_mask(klens_grammar_state* state, uint64_t* bits, size_t words,
                                      klens_error* error) {
  return guarded(error, [&] {
    require(state, "state");
    if (words != 0) require(bits, "bits");
    std::vector<uint64_t> all(state->matcher.mask_words());
    state->matcher.mask(all);
    std::fill_n(bits, words, 0);
    std::copy_n(all.begin(), std::min(words, all.size()), bits);
  });
}

klens_grammar_progress klens_grammar_state_progress(const klens_grammar_state* state) {
  return progress_of(state->matcher);
}
