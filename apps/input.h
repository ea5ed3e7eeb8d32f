#pragma once
#include <string>
#include <vector>

#include "apps/cli/arguments.h"
#include "klens/klens.hpp"

namespace klens::apps {

// The text, or the token ids, that a command is given: by -p, -f or --ids, or through standard
// input where none is named and nobody types there.
class Input {
 public:
  // Reads it. Throws UsageError where there is none.
  explicit Input(const Arguments& arguments);

  bool is_ids() const { return is_ids_; }
  // Its tokens. Those of an empty text are the token that texts begin with.
  std::vector<int32_t> tokens(const klens_model* model, const std::string& model_path) const;
  // Every line as a text, or list of ids, of its own. Throws Error where there is none, or one is
  // not UTF-8.
  std::vector<std::vector<int32_t>> tokens_by_line(const klens_model* model,
                                                   const std::string& model_path) const;

 private:
  std::vector<int32_t> tokens_of(const std::string& content, const std::string& name,
                                 const klens_model* model, const std::string& model_path) const;

  bool is_ids_ = false;
  std::string name_;  // for messages
  std::string content_;
};

}  // namespace klens::apps
