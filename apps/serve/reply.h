#pragma once
#include <httplib.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/serve/mailbox.h"
#include "apps/serve/scheduler.h"
#include "apps/serve/service.h"

namespace klens::apps {

// Makes what a client sees of what choices say: piece by piece, or in whole.
class Reply {
 public:
  virtual ~Reply() = default;
  // What a stream begins with, what a piece adds to it, and how it ends: server-sent events, as
  // they are sent.
  virtual std::string opening() { return ""; }
  virtual std::string add(const Piece& piece) = 0;
  virtual std::string closing() = 0;
  virtual std::string failure(const ApiError& error);
  // All that was added.
  virtual Json whole() = 0;
};

// "data: ...\n\n"
std::string event(const Json& data);

// Asks the scheduler, and answers in a stream or at once. A client that goes away ends its answers.
void answer(Service& service, std::vector<Ask> asks, std::unique_ptr<Reply> reply, bool stream,
            httplib::Response& response);

// The sum over choices, as OpenAI counts: a prompt counts once, however many choices it has.
class UsageSum {
 public:
  void add(const Piece& piece, bool first_choice);
  Json json() const;

 private:
  int64_t prompt_ = 0, cached_ = 0, made_ = 0;
};

}  // namespace klens::apps
