#include "apps/serve/http_server.h"

#include <sys/socket.h>

#include <chrono>
#include <new>
#include <optional>
#include <thread>

#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "apps/serve/workers.h"
#include "klens/klens.hpp"

namespace klens::apps {
namespace {

// Of the request that this thread serves.
struct Current {
  bool prepared = false;
  std::optional<ApiError> refused;
  std::chrono::steady_clock::time_point start;
  Json log = Json::object();
};
thread_local Current current;

void answer_error(httplib::Response& response, const ApiError& error) {
  if (error.status == 429 || error.status == 503) response.set_header("Retry-After", "2");
  answer_json(response, error_json(error), error.status);
}

int status_of(const Failure& failure) {
  return failure.status == KLENS_BAD_ARGUMENT || failure.status == KLENS_UNSUPPORTED ? 400
         : failure.status == KLENS_NO_MEMORY                                         ? 503
                                                                                     : 500;
}

// Whatever a handler throws becomes an answer.
template <class Call>
void guarded(httplib::Response& response, Call&& call) {
  try {
    call();
  } catch (const ApiError& e) {
    answer_error(response, e);
  } catch (const Failure& e) {
    answer_error(response, ApiError(status_of(e), e.what()));
  } catch (const std::bad_alloc&) {
    answer_error(response, ApiError(503, "out of memory; try again later"));
  } catch (const std::exception& e) {
    answer_error(response, ApiError(500, e.what()));
  }
}

// httplib takes patterns.
std::string quoted(const std::string& path) {
  std::string pattern;
  for (const char c : path) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
  return pattern;
}

}  // namespace

void answer_json(httplib::Response& response, const Json& json, int status) {
  response.status = status;
  response.set_content(compact(json), "application/json");
}

Json& HttpServer::log_entry() { return current.log; }

HttpServer::HttpServer(const HttpOptions& options, RequestLog& log, Metrics& metrics)
    : options_(options),
      gate_(options.hosts, options.origins, options.key),
      log_(log),
      metrics_(metrics) {
  new_task_queue = [this] { return new Workers(options_.connections); };
  set_payload_max_length(options_.limits.body_bytes);
  set_keep_alive_timeout(options_.limits.idle_time.count());
  set_keep_alive_max_count(100000);
  // Not SO_REUSEPORT, httplib's own: two servers would share a port unseen.
  set_socket_options([](socket_t socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    return begin(request, response);
  });
  // What httplib itself refuses.
  set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (response.body.empty())
      answer_error(response, ApiError(response.status,
                                      "this is no request that can be read, or "
                                      "one that is too large"));
  });
  set_logger([this](const httplib::Request& request, const httplib::Response& response) {
    finish(request, response);
  });
}

void HttpServer::get(const std::string& path, Handler handler, bool open) {
  routes_[{"GET", path}] = {std::move(handler), open};
}

void HttpServer::post(const std::string& path, Handler handler) {
  routes_[{"POST", path}] = {std::move(handler), false};
  Post(quoted(path), [this](const httplib::Request& request, httplib::Response& response,
                            const httplib::ContentReader& read) {
    std::string body;
    const bool whole = read([&](const char* bytes, size_t count) {
      if (body.size() + count > options_.limits.body_bytes) return false;
      body.append(bytes, count);
      return true;
    });
    guarded(response, [&] {
      if (!whole) {
        Connection::current()->close_afterwards();
        throw ApiError(413, "the request was not sent whole, or has more than " +
                                std::to_string(options_.limits.body_bytes) + " bytes");
      }
      route_of(request).handler(request, body, response);
    });
  });
}

int HttpServer::bind() {
  const int port = options_.port == 0                           ? bind_to_any_port(options_.host)
                   : bind_to_port(options_.host, options_.port) ? options_.port
                                                                : -1;
  if (port <= 0)
    throw Error("cannot listen on " + options_.host + ":" + std::to_string(options_.port) +
                ": the port is taken, or the address is not this machine's; give --port, --host");
  // httplib lets five wait to be accepted. More at once on a busy machine would be reset.
  ::listen(svr_sock_, SOMAXCONN);
  options_.port = port;
  return port;
}

void HttpServer::serve() {
  // It also ends where accept() fails for a reason that httplib does not know.
  while (!listen_after_bind() && !stopping_) bind();
  ended_ = true;
}

void HttpServer::stop() {
  stopping_ = true;
  // What has only begun to listen cannot be told to stop yet.
  while (!is_running() && !ended_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  httplib::Server::stop();
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  ++connections_;
  try {
    Connection connection(socket, options_.limits);
    while (connection.next_request(stopping_)) {
      current = {};
      current.start = std::chrono::steady_clock::now();
      bool closed = false;
      const bool answered =
          process_request(connection, stopping_, closed,
                          [&](httplib::Request& request) { prepare(request, connection); });
      if (!current.prepared) connection.close_afterwards();
      if (!answered || closed || stopping_ || connection.closes_afterwards()) break;
    }
  } catch (const std::exception&) {
    // No memory for the request: the connection is all that can be given up.
  }
  --connections_;
  return true;
}

// Before anything of the body is read.
void HttpServer::prepare(httplib::Request& request, Connection& connection) {
  current.prepared = true;
  request.ranges.clear();
  request.headers.erase("Range");
  request.headers.erase("Accept-Encoding");  // on loopback compression only takes time
  const std::string length = request.get_header_value("Content-Length");
  const bool chunked = request.has_header("Transfer-Encoding");
  const bool has_body = chunked || (!length.empty() && length != "0");
  try {
    const auto found = routes_.find({request.method, request.path});
    gate_.check(request, found != routes_.end() && found->second.open);
    route_of(request);
    if (request.has_header("Content-Encoding"))
      throw ApiError(415, "compressed requests are not supported");
    // Where it is not clear where a request ends, what follows could be taken for another.
    const bool digits = length.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || length.size() > 18 || request.get_header_value_count("Content-Length") > 1 ||
        (chunked && !length.empty()))
      throw ApiError(400, "the request's length is not clear");
    if (!length.empty() && std::stoull(length) > options_.limits.body_bytes)
      throw ApiError(413, "a request may have " + std::to_string(options_.limits.body_bytes) +
                              " bytes at most");
    if (stopping_) throw ApiError(503, "the server is being stopped");
  } catch (const ApiError& e) {
    current.refused = e;
  }
  // A body that is not read must not be taken for the next request.
  if (current.refused || (has_body && request.method != "POST")) {
    connection.close_afterwards();
    request.headers.erase("Connection");
    request.set_header("Connection", "close");
  }
}

const HttpServer::Route& HttpServer::route_of(const httplib::Request& request) const {
  static const Route preflight{
      [](const auto&, const auto&, httplib::Response& response) { response.status = 204; }, false};
  if (request.method == "OPTIONS" && gate_.allows_origin(request.get_header_value("Origin")))
    return preflight;
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  if (const auto found = routes_.find({method, request.path}); found != routes_.end())
    return found->second;
  for (const char* other : {"GET", "POST"})
    if (routes_.contains({other, request.path}))
      throw ApiError(405, request.path + " is asked for by " + other);
  throw ApiError(404, "there is no " + request.path.substr(0, 100) + " here");
}

HttpServer::HandlerResponse HttpServer::begin(const httplib::Request& request,
                                              httplib::Response& response) {
  add_origin(request, response);
  if (!current.refused && request.method == "POST") return HandlerResponse::Unhandled;
  guarded(response, [&] {
    if (current.refused) throw *current.refused;
    route_of(request).handler(request, "", response);
  });
  return HandlerResponse::Handled;
}

void HttpServer::add_origin(const httplib::Request& request, httplib::Response& response) const {
  const std::string origin = request.get_header_value("Origin");
  if (origin.empty() || !gate_.allows_origin(origin)) return;
  response.set_header("Access-Control-Allow-Origin", origin);
  response.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type");
  response.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  response.set_header("Vary", "Origin");
}

void HttpServer::finish(const httplib::Request& request, const httplib::Response& response) {
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - current.start).count();
  metrics_.requests.observe(seconds);
  const bool known =
      routes_.contains({"GET", request.path}) || routes_.contains({"POST", request.path});
  metrics_.count(known ? request.path : "other", response.status);
  Json entry = {{"time", time_now()},
                {"client", request.remote_addr},
                {"method", request.method.substr(0, 16)},
                {"path", request.path.substr(0, 200)},
                {"status", response.status},
                {"seconds", seconds}};
  entry.update(current.log);
  log_.write(entry);
}

}  // namespace klens::apps
