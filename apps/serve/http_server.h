#pragma once
#include <httplib.h>

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "apps/serve/api_error.h"
#include "apps/serve/connection.h"
#include "apps/serve/gate.h"
#include "apps/serve/metrics.h"
#include "apps/serve/options.h"
#include "apps/serve/request_log.h"

namespace klens::apps {

// httplib's server, behind the gate: routes as a table, failures as OpenAI's error objects, a log
// line and a count for every request.
class HttpServer : private httplib::Server {
 public:
  // Throws ApiError for what a client did wrong. body: what was sent, as it is. The handler may add
  // to what is logged.
  using Handler = std::function<void(const httplib::Request& request, const std::string& body,
                                     httplib::Response& response)>;

  HttpServer(const HttpOptions& options, RequestLog& log, Metrics& metrics);

  // open: without the API key, too.
  void get(const std::string& path, Handler handler, bool open = false);
  void post(const std::string& path, Handler handler);

  int bind();    // the port. Throws Error.
  void serve();  // until stop(): no more is accepted then, and what has begun is finished
  void stop();
  bool stopping() const { return stopping_; }
  size_t connections() const { return connections_; }

  // What is logged of the request that this thread serves.
  static Json& log_entry();

 private:
  struct Route {
    Handler handler;
    bool open = false;
  };
  bool process_and_close_socket(socket_t socket) override;
  void prepare(httplib::Request& request, Connection& connection);
  const Route& route_of(const httplib::Request& request) const;
  HandlerResponse begin(const httplib::Request& request, httplib::Response& response);
  void add_origin(const httplib::Request& request, httplib::Response& response) const;
  void finish(const httplib::Request& request, const httplib::Response& response);

  HttpOptions options_;
  Gate gate_;
  RequestLog& log_;
  Metrics& metrics_;
  std::map<std::pair<std::string, std::string>, Route> routes_;  // by method and path
  std::atomic<bool> stopping_{false}, ended_{false};
  std::atomic<size_t> connections_{0};
};

void answer_json(httplib::Response& response, const Json& json, int status = 200);

}  // namespace klens::apps
