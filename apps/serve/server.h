#pragma once
#include <memory>

#include "apps/serve/options.h"

namespace klens::apps {

// A model that is served. It listens from the beginning, so that a port that is taken is soon said,
// and answers once there is a model.
class Server {
 public:
  explicit Server(const HttpOptions& options);  // throws Error where it cannot listen
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;
  // Answers from now on, on threads of its own. The model has a tokenizer and outlives the server.
  void begin(klens_model* model, const ServiceOptions& options);
  // No more requests; returns when all that began are answered.
  void stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace klens::apps
