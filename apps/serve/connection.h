#pragma once
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "apps/serve/options.h"

namespace klens::apps {

// A client's socket as httplib reads and writes it, with bounds on what a client can make us wait
// for and hold in memory: httplib itself has none on the length of headers.
class Connection : public httplib::Stream {
 public:
  // Takes the socket and closes it in the end.
  Connection(socket_t socket, const ConnectionLimits& limits);
  ~Connection() override;

  // Waits for the first byte of another request; false if there is none: the client is gone, too
  // slow, or `stopping` was set.
  bool next_request(const std::atomic<bool>& stopping);
  // Whether the client still waits. One that closed its half of the connection does not.
  bool client_is_there();
  // What was sent of a request is not read to its end, so nothing can follow it.
  void close_afterwards() { close_afterwards_ = true; }
  bool closes_afterwards() const { return close_afterwards_; }
  // The connection that this thread serves, or null.
  static Connection* current();

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* bytes, size_t count) override;
  ssize_t write(const char* bytes, size_t count) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  // Not the descriptor: httplib only asks whether select() could take it, and it is not called.
  socket_t socket() const override { return 0; }

 private:
  using Clock = std::chrono::steady_clock;
  bool wait(short events, Clock::time_point until) const;
  ssize_t fill();
  void linger();

  socket_t socket_;
  ConnectionLimits limits_;
  Clock::time_point deadline_;  // of the request that is read
  size_t request_bytes_ = 0;    // read of it
  bool close_afterwards_ = false;
  std::string buffer_;  // received, not read yet from `taken_` on
  size_t taken_ = 0;
};

}  // namespace klens::apps
