#pragma once
// Chromium without a window, told what to do over its DevTools protocol.
#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/apps/run_program.h"

namespace klens::testing {

// Where it is; "" where there is none.
std::string browser_path();

class Browser {
 public:
  Browser();  // throws where it does not start
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  void open(const std::string& url);
  void resize(int width, int height, bool dark);
  // What an expression gives, awaited; throws where it throws.
  nlohmann::json evaluate(const std::string& expression);
  // Whether the expression becomes true within so many seconds.
  bool becomes_true(const std::string& expression, int seconds = 60);
  void screenshot(const std::string& path);

 private:
  nlohmann::json call(const std::string& method, const nlohmann::json& parameters);

  Folder folder_;
  pid_t child_ = -1;
  int to_ = -1, from_ = -1;
  int last_id_ = 0;
  std::string received_, session_;
};

}  // namespace klens::testing
