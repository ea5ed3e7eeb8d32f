#include "engine/session.h"

#include <algorithm>
#include <chrono>

#include "engine/c_api/guard.h"
#include "engine/c_api/handles.h"
#include "engine/ngram.h"
#include "loaders/output_path.h"

namespace klens {
namespace {

using Sessions = std::span<klens_session* const>;

// Asks the progress functions that these sessions have.
AfterPass session_progress(Sessions sessions) {
  const auto has = [](const klens_session* session) { return session->progress != nullptr; };
  if (std::none_of(sessions.begin(), sessions.end(), has)) return {};
  const auto begin = std::chrono::steady_clock::now();
  return [sessions, begin](int64_t fed, int64_t of) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    const double left = seconds.count() * static_cast<double>(of - fed) / static_cast<double>(fed);
    const klens_progress progress{"prompt", static_cast<double>(fed) / static_cast<double>(of),
                                  left, left, 0};
    bool stop = false;
    for (const klens_session* session : sessions)
      if (session->progress != nullptr)
        stop = session->progress(session->progress_user, &progress) != 0 || stop;
    return stop;
  };
}

void tell_of_wide_caches(Sessions sessions) {
  for (klens_session* session : sessions) {
    const int32_t wide = session->session.wide_caches();
    if (wide > session->wide_caches)
      session->notice(session->session.model().checkpoint().path + ": keys or values of " +
                      std::to_string(wide) +
                      " layers left what FP16 holds and are kept in FP32 from here on");
    session->wide_caches = wide;
  }
}

void eval(klens_session* session, const int32_t* ids, size_t count, float* logits) {
  require(session, "session");
  check_range(count >= 1, "there is no token to evaluate");
  require(ids, "ids");
  const Sessions fed(&session, 1);
  session->session.eval({ids, count}, logits, session_progress(fed));
  tell_of_wide_caches(fed);
}

std::vector<Feed> feeds_of(klens_session* const* sessions, const int32_t* const* ids,
                           const size_t* counts, size_t session_count) {
  require(sessions, "sessions");
  require(ids, "ids");
  require(counts, "counts");
  std::vector<Feed> feeds;
  for (size_t i = 0; i < session_count; ++i) {
    require(sessions[i], "session");
    require(ids[i], "ids");
    feeds.push_back({.session = &sessions[i]->session, .ids = {ids[i], counts[i]}});
  }
  return feeds;
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
    check_range(given.batch >= 0, "-b must be from 1");
    check_range(given.checkpoints >= 0 && given.checkpoint_every >= 0,
                "checkpoints and checkpoint_every must be from 0");
    SessionOptions made;
    if (given.batch != 0) made.batch = given.batch;
    if (given.checkpoints != 0) made.checkpoints = given.checkpoints;
    made.checkpoint_every = given.checkpoint_every;
    if (given.checkpoint_bytes != 0) made.checkpoint_bytes = given.checkpoint_bytes;
    *session = new klens_session{.session = Session(model->model, made), .notice = model->notice};
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
    *copy = new klens_session{.session = session->session,
                              .notice = session->notice,
                              .wide_caches = session->wide_caches};
  });
}

int64_t klens_session_position(const klens_session* session) { return session->session.position(); }
const int32_t* klens_session_ids(const klens_session* session) {
  return session->session.ids().data();
}
size_t klens_session_bytes(const klens_session* session) { return session->session.bytes(); }
int32_t klens_session_wide_caches(const klens_session* session) {
  return session->session.wide_caches();
}

klens_status klens_session_save(const klens_session* session, const char* path,
                                klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    require(path, "path");
    check_output(path, {.ending = ".safetensors",
                        .inputs = {session->session.model().checkpoint().path},
                        .bytes = static_cast<int64_t>(session->session.bytes())});
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

void klens_session_set_progress(klens_session* session, klens_progress_fn progress, void* user) {
  session->progress = progress;
  session->progress_user = user;
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

klens_status klens_sessions_eval(klens_session* const* sessions, const int32_t* const* ids,
                                 const size_t* counts, size_t session_count, klens_error* error) {
  return guarded(error, [&] {
    const std::vector<Feed> feeds = feeds_of(sessions, ids, counts, session_count);
    const Sessions fed(sessions, session_count);
    eval_together(feeds, session_progress(fed));
    tell_of_wide_caches(fed);
  });
}

klens_status klens_sessions_round(klens_session* const* sessions, const int32_t* const* ids,
                                  const size_t* counts, size_t session_count, size_t* fed,
                                  klens_status* statuses, klens_error* error) {
  return guarded(error, [&] {
    require(fed, "fed");
    require(statuses, "statuses");
    const std::vector<Fed> done = feed_round(feeds_of(sessions, ids, counts, session_count));
    for (size_t i = 0; i < done.size(); ++i) {
      fed[i] = static_cast<size_t>(done[i].tokens);
      statuses[i] = done[i].error ? status_of(done[i].error->kind()) : KLENS_OK;
    }
    tell_of_wide_caches({sessions, session_count});
  });
}

klens_status klens_session_draft(const klens_session* session, int32_t next, size_t most,
                                 int32_t* ids, size_t* count, klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    if (most != 0) require(ids, "ids");
    require(count, "count");
    std::vector<int32_t> text = session->session.ids();
    text.push_back(next);
    const std::vector<int32_t> draft = ngram_draft(text, most);
    std::copy(draft.begin(), draft.end(), ids);
    *count = draft.size();
  });
}

klens_status klens_session_eval_drafts(klens_session* session, const int32_t* ids, size_t count,
                                       float* logits, size_t* fed, klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    require(ids, "ids");
    require(logits, "logits");
    require(fed, "fed");
    check_range(count >= 1 && count <= 64, "a token and its drafts must be from 1 to 64");
    *fed = static_cast<size_t>(session->session.eval_drafts({ids, count}, logits));
  });
}

klens_status klens_session_checkpoint(klens_session* session, klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    session->session.checkpoint();
  });
}

int64_t klens_session_reachable(const klens_session* session, int64_t position) {
  return session->session.reachable(position);
}

klens_status klens_session_rewind(klens_session* session, int64_t position, int64_t* reached,
                                  klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    check_range(position >= 0, "a position must be from 0");
    const int64_t target = session->session.rewind(position);
    if (reached != nullptr) *reached = target;
  });
}

klens_status klens_session_prompt(klens_session* session, const int32_t* ids, size_t count,
                                  int64_t* reused, klens_error* error) {
  return guarded(error, [&] {
    require(session, "session");
    if (count != 0) require(ids, "ids");
    const Sessions fed(&session, 1);
    const int64_t kept = session->session.prompt({ids, count}, session_progress(fed));
    tell_of_wide_caches(fed);
    if (reused != nullptr) *reused = kept;
  });
}

klens_status klens_prefix_cache_new(klens_model* model, size_t max_bytes,
                                    klens_prefix_cache** cache, klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(cache, "cache");
    constexpr size_t kDefaultBytes = size_t{1} << 30;
    *cache = new klens_prefix_cache{
        PrefixCache(model->model, max_bytes == 0 ? kDefaultBytes : max_bytes)};
  });
}

void klens_prefix_cache_free(klens_prefix_cache* cache) { delete cache; }

klens_status klens_prefix_cache_prompt(klens_prefix_cache* cache, klens_session* session,
                                       const int32_t* ids, size_t count, int64_t* reused,
                                       klens_error* error) {
  return guarded(error, [&] {
    require(cache, "cache");
    require(session, "session");
    if (count != 0) require(ids, "ids");
    const Sessions fed(&session, 1);
    const int64_t kept = cache->cache.prompt(session->session, {ids, count}, session_progress(fed));
    tell_of_wide_caches(fed);
    if (reused != nullptr) *reused = kept;
  });
}

klens_status klens_prefix_cache_take(klens_prefix_cache* cache, klens_session* session,
                                     const int32_t* ids, size_t count, int64_t* reused,
                                     int64_t* shared, klens_error* error) {
  return guarded(error, [&] {
    require(cache, "cache");
    require(session, "session");
    require(ids, "ids");
    check_range(count >= 1, "there is no token to evaluate");
    const PrefixCache::Taken taken = cache->cache.take(session->session, {ids, count});
    if (reused != nullptr) *reused = taken.reused;
    if (shared != nullptr) *shared = taken.shared;
  });
}

klens_status klens_prefix_cache_keep(klens_prefix_cache* cache, const klens_session* session,
                                     klens_error* error) {
  return guarded(error, [&] {
    require(cache, "cache");
    require(session, "session");
    cache->cache.keep(session->session);
  });
}

size_t klens_prefix_cache_bytes(const klens_prefix_cache* cache) { return cache->cache.bytes(); }
