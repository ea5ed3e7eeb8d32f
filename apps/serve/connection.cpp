#include "apps/serve/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace klens::apps {
namespace {

constexpr std::chrono::milliseconds kLook{100};  // how often it is asked whether we are stopping

thread_local Connection* served = nullptr;

void address(const sockaddr_storage& of, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (of.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &of, sizeof in);
    ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    port = ntohs(in.sin_port);
  } else if (of.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &of, sizeof in);
    ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    port = ntohs(in.sin6_port);
  }
  ip = text;
}

}  // namespace

Connection* Connection::current() { return served; }

Connection::Connection(socket_t socket, const ConnectionLimits& limits)
    : socket_(socket), limits_(limits), deadline_(Clock::now() + limits.request_time) {
  const int on = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(socket_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  served = this;
}

Connection::~Connection() {
  served = nullptr;
  if (close_afterwards_) linger();
  ::shutdown(socket_, SHUT_RDWR);
  ::close(socket_);
}

// Closing a socket with bytes that nobody read resets the connection, and the client may lose the
// answer: so what it still sends is read for a while.
void Connection::linger() {
  constexpr size_t kMost = size_t{16} << 20;
  ::shutdown(socket_, SHUT_WR);
  deadline_ = Clock::now() + std::chrono::seconds(1);
  for (size_t bytes = 0; bytes < kMost; bytes += buffer_.size())
    if (fill() <= 0) return;
}

bool Connection::wait(short events, Clock::time_point until) const {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd of{socket_, events, 0};
    const int ready = ::poll(&of, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (ready > 0) return true;
    if (ready == 0 && left <= 0) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

bool Connection::next_request(const std::atomic<bool>& stopping) {
  const Clock::time_point until = Clock::now() + limits_.idle_time;
  while (taken_ == buffer_.size()) {
    if (stopping || Clock::now() >= until) return false;
    if (!wait(POLLIN, std::min(until, Clock::now() + kLook))) continue;
    request_bytes_ = 0;
    deadline_ = Clock::now() + limits_.request_time;
    if (fill() <= 0) return false;
  }
  request_bytes_ = 0;
  deadline_ = Clock::now() + limits_.request_time;
  return true;
}

bool Connection::client_is_there() {
  if (taken_ < buffer_.size()) return true;
  char byte;
  const ssize_t got = ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
}

ssize_t Connection::fill() {
  constexpr size_t kBytes = size_t{16} << 10;
  buffer_.resize(kBytes);
  taken_ = 0;
  ssize_t got = -1;
  if (wait(POLLIN, deadline_)) do {
      got = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
  buffer_.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return got;
}

ssize_t Connection::read(char* bytes, size_t count) {
  if (taken_ == buffer_.size())
    if (const ssize_t got = fill(); got <= 0) return got;
  const size_t part = std::min(count, buffer_.size() - taken_);
  // What goes on for ever is cut off here, wherever httplib would collect it.
  request_bytes_ += part;
  if (request_bytes_ > limits_.header_bytes + 2 * limits_.body_bytes) return -1;
  std::memcpy(bytes, buffer_.data() + taken_, part);
  taken_ += part;
  return static_cast<ssize_t>(part);
}

ssize_t Connection::write(const char* bytes, size_t count) {
  size_t sent = 0;
  while (sent < count) {
    if (!wait(POLLOUT, Clock::now() + limits_.write_time)) return -1;
    const ssize_t part = ::send(socket_, bytes + sent, count - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (part > 0) sent += static_cast<size_t>(part);
    if (part < 0 && errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) return -1;
  }
  return static_cast<ssize_t>(sent);
}

// httplib asks these before it reads or writes; both wait themselves.
bool Connection::is_readable() const { return true; }
bool Connection::is_writable() const { return true; }

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage of{};
  socklen_t length = sizeof of;
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&of), &length) == 0) address(of, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage of{};
  socklen_t length = sizeof of;
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&of), &length) == 0) address(of, ip, port);
}

}  // namespace klens::apps
