#include "apps/serve/server.h"

#include <optional>
#include <thread>

#include "apps/serve/http_server.h"
#include "apps/serve/service.h"

namespace klens::apps {

struct Server::Parts {
  explicit Parts(const HttpOptions& options)
      : log(options.log), http(options, log, metrics), port(http.bind()) {}

  RequestLog log;
  Metrics metrics;
  HttpServer http;
  int port;
  std::optional<Service> service;
  std::thread thread;
};

Server::Server(const HttpOptions& options) : parts_(std::make_unique<Parts>(options)) {}

Server::~Server() { stop(); }

int Server::port() const { return parts_->port; }

void Server::begin(klens_model* model, const ServiceOptions& options) {
  HttpServer& http = parts_->http;
  Service& service = parts_->service.emplace(model, options, parts_->metrics);
  add_page(http);
  add_model_routes(http, service);
  add_text_routes(http, service);
  add_completions(http, service);
  add_chat(http, service);
  add_responses(http, service);
  add_embeddings(http, service);
  parts_->thread = std::thread([&http] { http.serve(); });
}

void Server::stop() {
  if (!parts_->thread.joinable()) return;
  parts_->http.stop();
  parts_->thread.join();
}

}  // namespace klens::apps
