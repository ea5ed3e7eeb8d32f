// What the program calls of klens.h, with handles that own and failures that are exceptions; the
// classes of klens.hpp are for programs that hold a few things, not for tables of sessions.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "klens/klens.hpp"

namespace klens::apps {

using ModelHandle = std::unique_ptr<klens_model, Freer<klens_model, klens_model_free>>;
using TokenizerHandle =
    std::unique_ptr<klens_tokenizer, Freer<klens_tokenizer, klens_tokenizer_free>>;
using SessionHandle = std::unique_ptr<klens_session, Freer<klens_session, klens_session_free>>;
using SamplerHandle = std::unique_ptr<klens_sampler, Freer<klens_sampler, klens_sampler_free>>;
using GrammarHandle = std::unique_ptr<klens_grammar, Freer<klens_grammar, klens_grammar_free>>;
using DecoderHandle = std::unique_ptr<klens_decoder, Freer<klens_decoder, klens_decoder_free>>;

inline ModelHandle open_model(const std::string& path, const klens_model_options& options) {
  klens_model* model = nullptr;
  check([&](klens_error* e) { return klens_model_open(path.c_str(), &options, &model, e); });
  return ModelHandle(model);
}

inline TokenizerHandle open_tokenizer(const std::string& path) {
  klens_tokenizer* tokenizer = nullptr;
  check([&](klens_error* e) { return klens_tokenizer_open(path.c_str(), &tokenizer, e); });
  return TokenizerHandle(tokenizer);
}

inline std::vector<int32_t> tokenize(const klens_tokenizer* tokenizer, std::string_view text,
                                     bool add_special) {
  int32_t* ids = nullptr;
  size_t count = 0;
  check([&](klens_error* e) {
    return klens_tokenize(tokenizer, text.data(), text.size(), add_special, &ids, &count, e);
  });
  const std::unique_ptr<int32_t, void (*)(int32_t*)> owner(ids, klens_ids_free);
  return std::vector<int32_t>(ids, ids + count);
}

inline std::string detokenize(const klens_tokenizer* tokenizer, const std::vector<int32_t>& ids,
                              bool skip_special) {
  return text_of([&](char** text, klens_error* e) {
    return klens_detokenize(tokenizer, ids.data(), ids.size(), skip_special, text, e);
  });
}

inline SessionHandle new_session(klens_model* model, const klens_session_options& options) {
  klens_session* session = nullptr;
  check([&](klens_error* e) { return klens_session_new(model, &options, &session, e); });
  return SessionHandle(session);
}

inline void eval(klens_session* session, const std::vector<int32_t>& ids) {
  check([&](klens_error* e) { return klens_session_eval(session, ids.data(), ids.size(), e); });
}

inline SessionHandle fork(const klens_session* session) {
  klens_session* copy = nullptr;
  check([&](klens_error* e) { return klens_session_fork(session, &copy, e); });
  return SessionHandle(copy);
}

inline void checkpoint(klens_session* session) {
  check([&](klens_error* e) { return klens_session_checkpoint(session, e); });
}

inline int64_t rewind(klens_session* session, int64_t position) {
  int64_t reached = 0;
  check([&](klens_error* e) { return klens_session_rewind(session, position, &reached, e); });
  return reached;
}

// [texts][klens_model_hidden_size]; ids: the tokens of each text.
inline std::vector<std::vector<float>> embed(klens_model* model,
                                             const std::vector<std::vector<int32_t>>& ids,
                                             const klens_embed_options& options) {
  const auto width = static_cast<size_t>(klens_model_hidden_size(model));
  std::vector<const int32_t*> pointers;
  std::vector<size_t> counts;
  for (const std::vector<int32_t>& text : ids) {
    pointers.push_back(text.data());
    counts.push_back(text.size());
  }
  std::vector<float> all(ids.size() * width);
  check([&](klens_error* e) {
    return klens_embed(model, pointers.data(), counts.data(), ids.size(), &options, all.data(), e);
  });
  std::vector<std::vector<float>> vectors;
  for (size_t i = 0; i < ids.size(); ++i)
    vectors.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(i * width),
                         all.begin() + static_cast<std::ptrdiff_t>((i + 1) * width));
  return vectors;
}

inline SamplerHandle new_sampler(const klens_sampler_options& options) {
  klens_sampler* sampler = nullptr;
  check([&](klens_error* e) { return klens_sampler_new(&options, &sampler, e); });
  return SamplerHandle(sampler);
}

// A sampler that chooses none of the ids that the tokenizer (may be null) has no token for.
inline SamplerHandle new_sampler(const klens_sampler_options& options,
                                 const klens_tokenizer* tokenizer) {
  SamplerHandle sampler = new_sampler(options);
  check([&](klens_error* e) { return klens_sampler_use_tokenizer(sampler.get(), tokenizer, e); });
  return sampler;
}

inline int32_t sample(klens_sampler* sampler, const klens_session* session) {
  int32_t id = 0;
  check([&](klens_error* e) { return klens_sampler_sample(sampler, session, &id, e); });
  return id;
}

// `name` stands for the text in messages.
inline GrammarHandle new_grammar(const klens_model* model, klens_grammar_kind kind,
                                 std::string_view text, const std::string& name) {
  klens_grammar* grammar = nullptr;
  check([&](klens_error* e) {
    return klens_grammar_new(model, kind, text.data(), text.size(), name.c_str(), &grammar, e);
  });
  return GrammarHandle(grammar);
}

inline void use_grammar(klens_sampler* sampler, const klens_grammar* grammar) {
  check([&](klens_error* e) { return klens_sampler_use_grammar(sampler, grammar, e); });
}

// Logits [vocab] of the caller.
inline int32_t sample(klens_sampler* sampler, const float* logits, size_t vocab) {
  int32_t id = 0;
  check(
      [&](klens_error* e) { return klens_sampler_sample_logits(sampler, logits, vocab, &id, e); });
  return id;
}

inline std::vector<int32_t> draft(const klens_session* session, int32_t next, size_t most) {
  std::vector<int32_t> ids(most);
  size_t count = 0;
  check([&](klens_error* e) {
    return klens_session_draft(session, next, most, ids.data(), &count, e);
  });
  ids.resize(count);
  return ids;
}

// How many were fed; logits: [ids][vocab].
inline size_t eval_drafts(klens_session* session, const std::vector<int32_t>& ids, float* logits) {
  size_t fed = 0;
  check([&](klens_error* e) {
    return klens_session_eval_drafts(session, ids.data(), ids.size(), logits, &fed, e);
  });
  return fed;
}

// Chooses by the logits [rows][vocab] behind tokens ids[0, rows), which were fed, one row after the
// other, as long as what is chosen is the token that was fed next; the session forgets the others.
// choose(logits of a row) gives the next token, or nullopt where the text ends. Returns how many
// rows were chosen by: one more than drafts were right.
template <class Choose>
size_t accept_drafts(klens_session* session, const std::vector<int32_t>& ids, size_t rows,
                     std::span<const float> logits, Choose&& choose) {
  const size_t vocab = logits.size() / rows;
  size_t kept = 0;
  std::optional<int32_t> next;
  do next = choose(logits.subspan(kept * vocab, vocab).data());
  while (++kept < rows && next == ids[kept]);
  if (kept < rows)
    rewind(session, klens_session_position(session) - static_cast<int64_t>(rows - kept));
  return kept;
}

// Throws Failure (KLENS_UNSUPPORTED) where the model's device cannot verify drafts: the library
// knows. What else fails, answers tell.
inline void check_drafts(klens_model* model) {
  klens_session_options options{};
  options.size = sizeof options;
  const SessionHandle probe = new_session(model, options);
  std::vector<float> logits(static_cast<size_t>(klens_model_vocab(model)));
  try {
    eval_drafts(probe.get(), {0}, logits.data());
  } catch (const Failure& e) {
    if (e.status == KLENS_UNSUPPORTED) throw;
  }
}

inline DecoderHandle new_decoder(const klens_tokenizer* tokenizer, bool skip_special) {
  klens_decoder* decoder = nullptr;
  check([&](klens_error* e) { return klens_decoder_new(tokenizer, skip_special, &decoder, e); });
  return DecoderHandle(decoder);
}

inline std::string push(klens_decoder* decoder, int32_t id) {
  const char* text = "";
  check([&](klens_error* e) { return klens_decoder_push(decoder, id, &text, e); });
  return text;
}

inline std::string finish(klens_decoder* decoder) {
  const char* text = "";
  check([&](klens_error* e) { return klens_decoder_finish(decoder, &text, e); });
  return text;
}

}  // namespace klens::apps
