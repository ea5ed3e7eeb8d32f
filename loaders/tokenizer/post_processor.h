#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "loaders/tokenizer/fields.h"

namespace klens {

// What is put around the tokens of a text, such as the token that begins every text.
class PostProcessor {
 public:
  // `value` is the member "post_processor" of a tokenizer.json; null gives one that changes
  // nothing.
  PostProcessor(const nlohmann::json* value, const std::string& where);

  // Without `add_special` only the text's own tokens remain, as often as the template has them.
  std::vector<int32_t> apply(std::vector<int32_t> ids, bool add_special) const;

  const std::vector<int32_t>& special_ids() const { return special_ids_; }

 private:
  bool read(const nlohmann::json& value, const std::string& where);
  void read_template(Fields& fields);

  struct Part {
    bool is_text;
    std::vector<int32_t> ids;
  };
  std::vector<Part> parts_{{true, {}}};
  std::vector<int32_t> special_ids_;
};

}  // namespace klens
