#include "tests/apps/browser.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace klens::testing {

using nlohmann::json;

std::string browser_path() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');)
    for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
      if (::access((folder + "/" + name).c_str(), X_OK) == 0) return folder + "/" + name;
  return "";
}

Browser::Browser() {
  int in[2], out[2];  // it reads what we write, it writes what we read
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const std::string user = "--user-data-dir=" + (folder_ / "user"), program = browser_path();
  child_ = ::fork();
  if (child_ == 0) {
    ::setpgid(0, 0);
    // Its ends are 3 and 4; they may lie there already, crosswise.
    const int reads = ::fcntl(in[0], F_DUPFD, 10), writes = ::fcntl(out[1], F_DUPFD, 10);
    ::dup2(reads, 3);
    ::dup2(writes, 4);
    const int nothing = ::open("/dev/null", O_WRONLY);
    ::dup2(nothing, STDOUT_FILENO);
    ::dup2(nothing, STDERR_FILENO);
    ::execl(program.c_str(), program.c_str(), "--headless=new", "--disable-gpu", "--no-first-run",
            "--remote-debugging-pipe", user.c_str(),
            ::geteuid() == 0 ? "--no-sandbox" : "--incognito", static_cast<char*>(nullptr));
    std::_Exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  to_ = in[1];
  from_ = out[0];
  const json target = call("Target.createTarget", {{"url", "about:blank"}});
  session_ = call("Target.attachToTarget", {{"targetId", target.at("targetId")}, {"flatten", true}})
                 .at("sessionId");
}

Browser::~Browser() {
  ::close(to_);
  ::close(from_);
  if (child_ <= 0) return;
  ::kill(-child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
}

json Browser::call(const std::string& method, const json& parameters) {
  json message = {{"id", ++last_id_}, {"method", method}, {"params", parameters}};
  if (!session_.empty()) message["sessionId"] = session_;
  const std::string text = message.dump() + '\0';
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t part = ::write(to_, text.data() + sent, text.size() - sent);
    if (part <= 0) throw std::runtime_error("the browser is gone");
    sent += static_cast<size_t>(part);
  }
  for (;;) {
    if (const size_t end = received_.find('\0'); end != std::string::npos) {
      const json answer = json::parse(received_.substr(0, end));
      received_.erase(0, end + 1);
      if (answer.value("id", 0) != last_id_) continue;  // an event
      if (answer.contains("error")) throw std::runtime_error(answer["error"].dump());
      return answer.at("result");
    }
    pollfd of{from_, POLLIN, 0};
    if (::poll(&of, 1, 60000) <= 0) throw std::runtime_error("the browser does not answer");
    char part[1 << 16];
    const ssize_t got = ::read(from_, part, sizeof part);
    if (got <= 0) throw std::runtime_error("the browser is gone");
    received_.append(part, static_cast<size_t>(got));
  }
}

void Browser::open(const std::string& url) {
  call("Page.enable", json::object());
  call("Page.navigate", {{"url", url}});
  if (!becomes_true("location.href !== 'about:blank' && document.readyState === 'complete'"))
    throw std::runtime_error(url + " does not load");
}

void Browser::resize(int width, int height, bool dark) {
  call("Emulation.setDeviceMetricsOverride",
       {{"width", width}, {"height", height}, {"deviceScaleFactor", 1}, {"mobile", width < 600}});
  call("Emulation.setEmulatedMedia",
       {{"features", {{{"name", "prefers-color-scheme"}, {"value", dark ? "dark" : "light"}}}}});
}

json Browser::evaluate(const std::string& expression) {
  const json made =
      call("Runtime.evaluate",
           {{"expression", expression}, {"awaitPromise", true}, {"returnByValue", true}});
  if (made.contains("exceptionDetails")) throw std::runtime_error(made["exceptionDetails"].dump());
  return made.at("result").value("value", json());
}

bool Browser::becomes_true(const std::string& expression, int seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (evaluate(expression) != true) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  return true;
}

void Browser::screenshot(const std::string& path) {
  const std::string data =
      call("Page.captureScreenshot", {{"format", "png"}}).at("data").get<std::string>();
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : data) {
    const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t value = letters.find(c);
    if (value == std::string::npos) break;
    bits = bits << 6 | static_cast<uint32_t>(value);
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  write_text(path, bytes);
}

}  // namespace klens::testing
