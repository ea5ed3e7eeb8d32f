#pragma once
// A klens serve that runs while a test talks to it.
#include <httplib.h>
#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/apps/run_program.h"

namespace klens::testing {

// The demo's model with a chat template beside it: its path within folder.
std::string model_with_template(const Folder& folder, const std::string& chat_template);
// <role>content</role> for each message, thoughts and tools where they are given.
extern const char* const kPlainTemplate;

class Served {
 public:
  // options follow the model; it listens on a port of its own, and logs into a file.
  explicit Served(const std::string& model, std::vector<std::string> options = {});
  ~Served();  // kills it, if it still runs
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  pid_t pid() const { return child_; }
  // Its exit code; -1 where a signal ended it. Waits for it.
  int wait();
  int stop();  // SIGTERM, and that
  bool runs() const;
  int64_t resident_bytes() const;
  std::vector<nlohmann::json> log() const;

  httplib::Client client() const;
  httplib::Result post(const std::string& path, const nlohmann::json& body) const;
  nlohmann::json ask(const std::string& path, const nlohmann::json& body) const;  // 200, or fails
  nlohmann::json get(const std::string& path) const;
  double metric(const std::string& name) const;
  // Waits until all that was begun is over, or dropped.
  bool comes_to_rest() const;
  // What a stream of server-sent events says, without its last, which is [DONE].
  std::vector<nlohmann::json> stream(const std::string& path, nlohmann::json body) const;

  // A socket of one's own, for what no client would send.
  int connect() const;
  // Sends this and reads until the server closes, or for so many seconds.
  std::string raw(const std::string& bytes, int seconds = 5) const;

 private:
  Folder folder_;
  pid_t child_ = -1;
  int port_ = 0;
};

}  // namespace klens::testing
