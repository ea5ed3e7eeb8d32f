#include "apps/input.h"

#include <unistd.h>

#include <algorithm>

#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/terminal/style.h"
#include "apps/terminal/text.h"

namespace klens::apps {

Input::Input(const Arguments& arguments) {
  const std::string option = arguments.one_of({"prompt", "file", "ids"});
  is_ids_ = option == "ids";
  const std::string given = option.empty() ? "-" : *arguments.text(option);
  if (option == "prompt" && given != "-") {
    name_ = "-p";
    content_ = given;
    return;
  }
  const char* missing = "there is no text: give one with -p, -f or --ids, or through a pipe";
  if (option.empty() && is_terminal(STDIN_FILENO)) throw UsageError(missing);
  name_ = given == "-" ? "standard input" : given;
  content_ = read_file(given);
  if (option.empty() && content_.empty()) throw UsageError(missing);
}

std::vector<int32_t> Input::tokens_of(const std::string& content, const std::string& name,
                                      const klens_model* model,
                                      const std::string& model_path) const {
  if (is_ids_) return parse_ids(content, name, klens_model_vocab(model));
  std::vector<int32_t> ids = tokenize(tokenizer_of(model, model_path), content, true);
  if (!ids.empty()) return ids;
  // Not every tokenizer adds the token that texts begin with.
  if (const int32_t bos = klens_model_bos(model); bos >= 0) return {bos};
  throw Error(name + " is empty, and this model has no token to start from");
}

std::vector<int32_t> Input::tokens(const klens_model* model, const std::string& model_path) const {
  return tokens_of(content_, name_, model, model_path);
}

std::vector<std::vector<int32_t>> Input::tokens_by_line(const klens_model* model,
                                                        const std::string& model_path) const {
  if (content_.empty()) throw Error(name_ + " is empty: there is no line to read");
  std::vector<std::vector<int32_t>> all;
  for (size_t begin = 0; begin < content_.size();) {
    const size_t end = std::min(content_.find('\n', begin), content_.size());
    std::string line = content_.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    const std::string name = name_ + ", line " + std::to_string(all.size() + 1);
    if (!is_ids_ && !is_utf8(line)) throw Error(name + " is not UTF-8: save the text as UTF-8");
    all.push_back(tokens_of(line, name, model, model_path));
    begin = end + 1;
  }
  return all;
}

}  // namespace klens::apps
