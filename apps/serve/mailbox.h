#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "klens/klens.h"

namespace klens::apps {

// What the scheduler tells whoever asked. It goes through a mailbox, so that a client that reads
// slowly stops nobody else.

enum class Finish { kStop, kLength, kFailed };

// A token with the logarithm of its probability, before temperature and whatever else chooses.
struct Scored {
  int32_t id = 0;
  double logprob = 0;
  std::vector<std::pair<int32_t, double>> top;  // the likeliest, in order
};

struct Usage {
  int64_t prompt = 0;  // tokens
  int64_t cached = 0;  // of the prompt, how many were not read again
  int64_t made = 0;
  double queued_seconds = 0, first_token_seconds = 0;  // since it was asked for
};

// What a choice has to say since its last piece.
struct Piece {
  size_t choice = 0;
  std::string text;
  std::vector<Scored> tokens;  // where logprobs are asked for; text may come later than its tokens
  bool ended = false;          // nothing comes after it
  Finish finish = Finish::kStop;
  klens_status status = KLENS_OK;  // of one that failed
  std::string problem;
  Usage usage;  // of one that ended
};

class Mailbox {
 public:
  void put(Piece piece);
  // All that is there; waits for it that long.
  std::vector<Piece> take(std::chrono::milliseconds patience);

  // Nobody wants the rest: the scheduler drops it.
  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Piece> pieces_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace klens::apps
