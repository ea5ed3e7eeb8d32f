#include "apps/serve/reply.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "apps/cli/output.h"

namespace klens::apps {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience{100};  // how often it is asked whether the client is still there
constexpr std::chrono::seconds kSilence{15};  // after which a stream says that it lives

// An answer under way, for the thread that sends it.
class Exchange {
 public:
  Exchange(Service& service, std::vector<Ask> asks, std::unique_ptr<Reply> reply)
      : left_(std::accumulate(asks.begin(), asks.end(), size_t{0},
                              [](size_t sum, const Ask& ask) { return sum + ask.choices; })),
        reply_(std::move(reply)) {
    try {
      service.scheduler.submit(std::move(asks), mail_);
    } catch (const Busy& e) {
      service.metrics.rejected.add();
      throw ApiError(429, e.what(), "", "rate_limit_exceeded");
    }
  }
  ~Exchange() { mail_->cancel(); }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  bool over() const { return left_ == 0; }
  Reply& reply() { return *reply_; }

  // Waits for the next pieces; what they add. Throws ApiError where a choice failed, or the client
  // is gone.
  std::string next() {
    std::string events;
    for (const Piece& piece : mail_->take(kPatience)) {
      if (piece.ended) {
        --left_;
        note(piece);
      }
      if (piece.ended && piece.finish == Finish::kFailed)
        throw ApiError(piece.status == KLENS_NO_MEMORY ? 503 : 500, piece.problem);
      events += reply_->add(piece);
    }
    Connection* connection = Connection::current();
    if (events.empty() && connection != nullptr && !connection->client_is_there()) {
      HttpServer::log_entry()["gone"] = true;
      connection->close_afterwards();
      throw ApiError(499, "the client is gone");
    }
    return events;
  }

 private:
  // What is logged: sums over choices, the longest waits.
  static void note(const Piece& piece) {
    Json& log = HttpServer::log_entry();
    const auto most = [&](const char* key, double value) {
      log[key] = std::max(log.value(key, 0.0), value);
    };
    log["prompt_tokens"] = piece.usage.prompt;
    log["cached_tokens"] = piece.usage.cached;
    log["completion_tokens"] = log.value("completion_tokens", int64_t{0}) + piece.usage.made;
    most("queued_seconds", piece.usage.queued_seconds);
    most("first_token_seconds", piece.usage.first_token_seconds);
    log["finish"] = piece.finish == Finish::kStop     ? "stop"
                    : piece.finish == Finish::kLength ? "length"
                                                      : "failed";
    if (!piece.problem.empty()) log["problem"] = piece.problem;
  }

  std::shared_ptr<Mailbox> mail_ = std::make_shared<Mailbox>();
  size_t left_;  // choices that have not ended
  std::unique_ptr<Reply> reply_;
};

void stream(const std::shared_ptr<Exchange>& exchange, httplib::Response& response) {
  response.set_header("Cache-Control", "no-cache");
  const auto begun = std::make_shared<bool>(false);
  const auto said = std::make_shared<Scheduler::Clock::time_point>(Scheduler::Clock::now());
  response.set_chunked_content_provider("text/event-stream",
                                        [exchange, begun, said](size_t, httplib::DataSink& sink) {
                                          std::string events;
                                          if (!std::exchange(*begun, true))
                                            events = exchange->reply().opening();
                                          bool ended = exchange->over();
                                          try {
                                            if (!ended) events += exchange->next();
                                            ended = exchange->over();
                                            if (ended) events += exchange->reply().closing();
                                          } catch (const ApiError& e) {
                                            if (e.status == 499) return false;
                                            events += exchange->reply().failure(e);
                                            ended = true;
                                          }
                                          const auto now = Scheduler::Clock::now();
                                          if (events.empty() && now - *said > kSilence)
                                            events = ": still at work\n\n";
                                          if (!events.empty()) {
                                            *said = now;
                                            if (!sink.write(events.data(), events.size())) {
                                              HttpServer::log_entry()["gone"] = true;
                                              return false;
                                            }
                                          }
                                          if (ended) sink.done();
                                          return true;
                                        });
}

}  // namespace

std::string event(const Json& data) { return "data: " + compact(data) + "\n\n"; }

std::string Reply::failure(const ApiError& error) { return event(error_json(error)); }

void answer(Service& service, std::vector<Ask> asks, std::unique_ptr<Reply> reply, bool streamed,
            httplib::Response& response) {
  const auto exchange = std::make_shared<Exchange>(service, std::move(asks), std::move(reply));
  if (streamed) return stream(exchange, response);
  while (!exchange->over()) exchange->next();
  answer_json(response, exchange->reply().whole());
}

void UsageSum::add(const Piece& piece, bool first_choice) {
  if (!piece.ended) return;
  made_ += piece.usage.made;
  if (!first_choice) return;
  prompt_ += piece.usage.prompt;
  cached_ += piece.usage.cached;
}

Json UsageSum::json() const {
  return {{"prompt_tokens", prompt_},
          {"completion_tokens", made_},
          {"total_tokens", prompt_ + made_},
          {"prompt_tokens_details", {{"cached_tokens", cached_}}}};
}

}  // namespace klens::apps
