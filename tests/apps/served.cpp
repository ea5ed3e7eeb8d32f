#include "tests/apps/served.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace klens::testing {

const char* const kPlainTemplate =
    "{%- if tools %}<tools>{{ tools | tojson }}</tools>{% endif -%}"
    "{%- for m in messages -%}<{{ m.role }}>{{ m.content }}</{{ m.role }}>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<assistant>{% if thinking %}<think>\n{% endif %}{% endif -%}";

std::string model_with_template(const Folder& folder, const std::string& chat_template) {
  const std::string path = folder / "model";
  std::filesystem::create_directory(path);
  for (const auto& file : std::filesystem::directory_iterator(kModel))
    std::filesystem::create_symlink(std::filesystem::absolute(file.path()),
                                    path + "/" + file.path().filename().string());
  write_text(path + "/chat_template.jinja", chat_template);
  return path;
}

Served::Served(const std::string& model, std::vector<std::string> options) {
  int out[2];
  if (::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  std::vector<std::string> arguments = {"klens",  "serve", model,   "--json",
                                        "--port", "0",     "--log", folder_ / "log"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  child_ = ::fork();
  if (child_ == 0) {
    ::dup2(out[1], STDOUT_FILENO);
    ::execv(KLENS_PROGRAM, argv.data());
    std::_Exit(127);
  }
  ::close(out[1]);
  std::string said;
  char part[512];
  // Until the object is whole.
  while (!nlohmann::json::accept(said)) {
    const ssize_t got = ::read(out[0], part, sizeof part);
    if (got <= 0) break;
    said.append(part, static_cast<size_t>(got));
  }
  ::close(out[0]);
  const nlohmann::json told = nlohmann::json::parse(said, nullptr, false);
  if (!told.is_object()) throw std::runtime_error("klens serve did not start");
  const std::string url = told["url"];
  port_ = std::stoi(url.substr(url.rfind(':') + 1));
}

Served::~Served() {
  if (child_ <= 0) return;
  ::kill(child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
}

int Served::wait() {
  int status = 0;
  ::waitpid(child_, &status, 0);
  child_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int Served::stop() {
  ::kill(child_, SIGTERM);
  return wait();
}

bool Served::runs() const { return ::waitpid(child_, nullptr, WNOHANG) == 0; }

int64_t Served::resident_bytes() const {
  std::ifstream file("/proc/" + std::to_string(child_) + "/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

std::vector<nlohmann::json> Served::log() const {
  std::ifstream file(folder_ / "log");
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

httplib::Client Served::client() const {
  httplib::Client client("127.0.0.1", port_);
  client.set_read_timeout(120);
  client.set_keep_alive(true);
  return client;
}

httplib::Result Served::post(const std::string& path, const nlohmann::json& body) const {
  return client().Post(path, body.dump(), "application/json");
}

nlohmann::json Served::ask(const std::string& path, const nlohmann::json& body) const {
  const httplib::Result result = post(path, body);
  if (!result) throw std::runtime_error(path + ": no answer");
  if (result->status != 200) throw std::runtime_error(path + ": " + result->body);
  return nlohmann::json::parse(result->body);
}

nlohmann::json Served::get(const std::string& path) const {
  const httplib::Result result = client().Get(path);
  if (!result || result->status != 200) throw std::runtime_error(path + ": no answer");
  return nlohmann::json::parse(result->body);
}

double Served::metric(const std::string& name) const {
  const httplib::Result result = client().Get("/metrics");
  if (!result) throw std::runtime_error("/metrics: no answer");
  const size_t at = result->body.find("\n" + name + " ");
  if (at == std::string::npos) throw std::runtime_error("there is no metric " + name);
  return std::stod(result->body.substr(at + name.size() + 2));
}

bool Served::comes_to_rest() const {
  for (int i = 0; i < 1000; ++i) {
    if (metric("klens_answers_active") + metric("klens_answers_waiting") == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

std::vector<nlohmann::json> Served::stream(const std::string& path, nlohmann::json body) const {
  body["stream"] = true;
  const httplib::Result result = post(path, body);
  if (!result) throw std::runtime_error(path + ": no answer");
  if (result->status != 200) throw std::runtime_error(path + ": " + result->body);
  std::vector<nlohmann::json> events;
  std::istringstream lines(result->body);
  const std::string data = "data: ", done = "data: [DONE]";
  bool ended = false;
  for (std::string line; std::getline(lines, line);) {
    if (line == done)
      ended = true;
    else if (line.starts_with(data))
      events.push_back(nlohmann::json::parse(line.substr(data.size())));
  }
  if (!ended) throw std::runtime_error(path + ": the stream has no end");
  return events;
}

int Served::connect() const {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port_));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
    throw std::runtime_error("connect");
  return socket;
}

std::string Served::raw(const std::string& bytes, int seconds) const {
  const int socket = connect();
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t part = ::send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (part <= 0) break;
    sent += static_cast<size_t>(part);
  }
  std::string got;
  char part[4096];
  for (pollfd of{socket, POLLIN, 0}; ::poll(&of, 1, seconds * 1000) > 0;) {
    const ssize_t count = ::recv(socket, part, sizeof part, 0);
    if (count <= 0) break;
    got.append(part, static_cast<size_t>(count));
  }
  ::close(socket);
  return got;
}

}  // namespace klens::testing
