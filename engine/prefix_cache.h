#pragma once
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

  size_t bytes() const;

 private:
  // The memory of some sessions, what they share counted once.
  struct Counted {
    void add(const Session& session);
    size_t bytes = 0;
    std::set<const Session::Checkpoint*> points;
  };
  std::shared_ptr<const Session> find(std::span<const int32_t> ids, int64_t more_than);
  void keep(const Session& session);

  std::shared_ptr<const Model> model_;
  size_t max_bytes_;
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<const Session>> kept_;  // most recently used first
};

}  // namespace klens
