#include "engine/session.h"

#include <cmath>

#include "engine/c_api/guard.h"
#include "engine/c_api/handles.h"

namespace klens {
namespace {

void check_range(bool good, const char* what) {
  if (!good) throw Error(ErrorKind::kBadArgument, what);
}

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

void eval(klens_session* session, const int32_t* ids, size_t count, float* logits) {
  require(session, "session");
  require(ids, "ids");
  check_range(count >= 1, "there is no token to evaluate");
  session->session.eval({ids, count}, logits);
}

}  // namespace
}  // namespace klens

using namespace klens;

klens_status klens_session_new(klens_model* model, const klens_session_options* options,
                               klens_session** session, klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(session, "session");
    const klens_session_options given = read_options(options);
    constexpr int32_t kDefaultBatch = 512;
    check_range(given.batch >= 0, "-b must be from 1");
    *session =
        new klens_session{Session(model->model, given.batch == 0 ? kDefaultBatch : given.batch)};
  });
}

void klens_session_free(klens_session* session) { delete session; }

klens_status klens_session_reset(klens_session* session, klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    session->session.reset();
  });
}

klens_status klens_session_fork(const klens_session* session, klens_session** copy,
                                klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    require(copy, "copy");
    *copy = new klens_session{session->session};
  });
}

int64_t klens_session_position(const klens_session* session) { return session->session.position(); }
size_t klens_session_bytes(const klens_session* session) { return session->session.bytes(); }

klens_status klens_session_save(const klens_session* session, const char* path,
                                klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    require(path, "path");
    session->session.save(path);
  });
}

klens_status klens_session_load(klens_session* session, const char* path, klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    require(path, "path");
    session->session.load(path);
  });
}

klens_status klens_session_eval(klens_session* session, const int32_t* ids, size_t count,
                                klens_error* error) {
  return guarded(error, [&] { eval(session, ids, count, nullptr); });
}

klens_status klens_session_eval_all(klens_session* session, const int32_t* ids, size_t count,
                                    float* logits, klens_error* error) {
  return guarded(error, [&] {
    require(logits, "logits");
    eval(session, ids, count, logits);
  });
}

const float* klens_session_logits(const klens_session* session) {
  const std::span<const float> logits = session->session.logits();
  return logits.empty() ? nullptr : logits.data();
}

klens_status klens_sampler_new(const klens_sampler_options* options, klens_sampler** sampler,
                               klens_error* error) {
  return guarded(error, [&] {
    require(sampler, "sampler");
    *sampler = new klens_sampler{Sampler(sampler_options(read_options(options)))};
  });
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
