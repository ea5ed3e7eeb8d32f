#pragma once
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <set>

#include "engine/session.h"

namespace klens {

// Prompts that were read, kept so that the next one that begins alike need not be read again: the
// least recently used go when they take more than the given memory. Any number of threads may use
// it.
class PrefixCache {
 public:
  PrefixCache(std::shared_ptr<const Model> model, size_t max_bytes)
      : model_(std::move(model)), max_bytes_(max_bytes) {}

  // Makes `session` one that was fed exactly `ids`, from its own tokens or the kept prompt that
  // agrees furthest, and keeps the result. Returns the tokens that did not have to be fed. Throws
  // Error for a session of another model, and as Session::prompt does.
  int64_t prompt(Session& session, std::span<const int32_t> ids, const AfterPass& after_pass = {});

  // The same in parts, for callers that feed the rest themselves, beside other sessions.
  struct Taken {
    int64_t reused = 0;  // the session's position now: a multiple of kSequenceBlock
    int64_t shared = 0;  // of ids, how many something that is kept begins with: at least `reused`
  };
  // Makes `session` the longest beginning of `ids` that is kept, whatever it was before. It is cut
  // where a prompt that is read whole is cut too: where all that was kept had been cut so, and fed
  // as prompts are, what follows has the bits that it would have without the cache.
  Taken take(Session& session, std::span<const int32_t> ids);
  // Keeps a copy of `session`, with its checkpoints. Throws Error for a session of another model.
  void keep(const Session& session);

  size_t bytes() const;

 private:
  // The memory of some sessions, what they share counted once.
  struct Counted {
    void add(const Session& session);
    size_t bytes = 0;
    std::set<const Session::Checkpoint*> points;
  };
  void check_model(const Session& session) const;
  // The kept session that reaches furthest, if that is more than so much; or null.
  std::shared_ptr<const Session> find(int64_t more_than,
                                      const std::function<int64_t(const Session&)>& reaches);

  std::shared_ptr<const Model> model_;
  size_t max_bytes_;
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<const Session>> kept_;  // most recently used first
};

}  // namespace klens
