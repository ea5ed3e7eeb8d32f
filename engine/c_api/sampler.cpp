#include "engine/sampler.h"

#include <cmath>

#include "engine/c_api/grammar.h"
#include "engine/c_api/guard.h"
#include "engine/c_api/handles.h"

namespace klens {
namespace {

SamplerOptions sampler_options(const klens_sampler_options& given) {
  check_range(given.temperature >= 0 && std::isfinite(given.temperature),
              "--temp must be a number from 0");
  check_range(given.top_k >= 0, "--top-k must be from 0 (all)");
  check_range(given.top_p >= 0 && given.top_p <= 1, "--top-p must be from 0 to 1");
  check_range(given.min_p >= 0 && given.min_p <= 1, "--min-p must be from 0 to 1");
  check_range(given.repeat_penalty >= 0 && std::isfinite(given.repeat_penalty),
              "--repeat-penalty must be a number from 0");
  check_range(given.repeat_last_n >= 0, "--repeat-last-n must be from 0");
  return {.temperature = given.temperature,
          .top_k = given.top_k,
          .top_p = given.top_p == 0 ? 1 : given.top_p,
          .min_p = given.min_p,
          .repeat_penalty = given.repeat_penalty == 0 ? 1 : given.repeat_penalty,
          .repeat_last_n = given.repeat_last_n == 0 ? 64 : given.repeat_last_n,
          .seed = given.seed};
}

}  // namespace
}  // namespace klens

using namespace klens;

klens_status klens_sampler_new(const klens_sampler_options* options, klens_sampler** sampler,
                               klens_error* error) {
  return guarded(error, [&] {
    require(sampler, "sampler");
    *sampler = new klens_sampler{Sampler(sampler_options(read_options(options)))};
  });
}

klens_status klens_sampler_use_tokenizer(klens_sampler* sampler, const klens_tokenizer* tokenizer,
                                         klens_error* error) {
  return guarded(error, [&] {
    require(sampler, "sampler");
    if (tokenizer == nullptr) return sampler->sampler.restrict_to(SIZE_MAX, {});
    std::vector<int32_t> holes;
    const int32_t size = tokenizer->tokenizer.vocab_size();
    for (int32_t id = 0; id < size; ++id)
      if (tokenizer->tokenizer.token(id).empty()) holes.push_back(id);
    if (holes.size() == static_cast<size_t>(size))
      throw Error(ErrorKind::kBadFile, "the tokenizer has no tokens to choose from");
    sampler->sampler.restrict_to(static_cast<size_t>(size), std::move(holes));
  });
}

klens_status klens_sampler_use_grammar(klens_sampler* sampler, const klens_grammar* grammar,
                                       klens_error* error) {
  return guarded(error, [&] {
    require(sampler, "sampler");
    sampler->sampler.constrain(grammar == nullptr ? nullptr : grammar->constraint);
  });
}

klens_grammar_progress klens_sampler_grammar_progress(const klens_sampler* sampler) {
  const std::optional<grammar::Matcher>& matcher = sampler->sampler.matcher();
  return matcher ? progress_of(*matcher) : KLENS_GRAMMAR_OPEN;
}

void klens_sampler_free(klens_sampler* sampler) { delete sampler; }
void klens_sampler_accept(klens_sampler* sampler, int32_t id) { sampler->sampler.accept(id); }

klens_status klens_sampler_sample(klens_sampler* sampler, const klens_session* session, int32_t* id,
                                  klens_error* error) {
  return guarded(error, [&] {
    require(sampler, "sampler");
    require(session, "session");
    require(id, "id");
    const std::span<const float> logits = session->session.logits();
    check_range(!logits.empty(), "there is nothing to sample from: feed the session a token first");
    *id = sampler->sampler.sample(logits);
  });
}

klens_status klens_sampler_sample_logits(klens_sampler* sampler, const float* logits, size_t vocab,
                                         int32_t* id, klens_error* error) {
  return guarded(error, [&] {
    require(sampler, "sampler");
    require(logits, "logits");
    require(id, "id");
    check_range(vocab >= 1, "there is nothing to sample from: vocab must be from 1");
    *id = sampler->sampler.sample({logits, vocab});
  });
}
