#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace klens {

// Processes that share a job, here called ranks, as MPI does. All run the same job on the same
// model: what is cheap each does itself, of what takes time each does its share, and exchange()
// tells it what the others found. So it has to be called equally often on each, by one thread at a
// time.
class Ranks {
 public:
  // Takes `bytes` bytes of every rank, as many of each, to all: [count][bytes], by rank. Other than
  // 0: some rank is gone.
  using Gather = std::function<int(const void* own, size_t bytes, void* all)>;

  Ranks() = default;  // one process, alone
  // index below count.
  Ranks(size_t index, size_t count, Gather gather);

  bool alone() const { return count_ == 1; }
  size_t index() const { return index_; }
  size_t count() const { return count_; }
  // Whether item i of a list that all ranks have alike is this one's to do.
  bool mine(size_t i) const { return i % count_ == index_; }

  // What each rank gives, by rank. Throws Error: the first that a rank failed with, or kIo where
  // one is gone.
  std::vector<std::string> exchange(std::string_view own);
  // In place of an exchange: all others fail in theirs with this reason. Nothing where they have
  // failed already. Allocates nothing.
  void fail(ErrorKind kind, std::string_view why) noexcept;

 private:
  struct Message;
  void gather(const void* own, size_t bytes);

  size_t index_ = 0, count_ = 1;
  Gather gather_;
  std::vector<std::byte> own_, all_;  // of one message
  bool over_ = false;                 // nothing is exchanged any more
};

// Throws Error unless all ranks give the same bytes; `what` names them for the message.
void check_alike(Ranks& ranks, std::string_view own, const char* what);

// Runs body; what it throws is every rank's failure. Ends when all ranks have come as far.
void together(Ranks& ranks, const std::function<void()>& body);

}  // namespace klens
