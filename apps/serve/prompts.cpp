#include "apps/serve/prompts.h"

#include <algorithm>

namespace klens::apps {
namespace {

constexpr size_t kMostPrompts = 256;

bool are_ids(const Json& list) {
  return list.is_array() && !list.empty() &&
         std::all_of(list.begin(), list.end(),
                     [](const Json& item) { return item.is_number_integer(); });
}

std::vector<int32_t> ids_of(const Service& service, const Fields& fields, const char* name,
                            const Json& list) {
  std::vector<int32_t> ids;
  const int32_t vocab = klens_model_vocab(service.model);
  for (const Json& item : list) {
    const auto id = item.get<int64_t>();
    if (id < 0 || id >= vocab)
      fields.refuse(name, "has the id " + item.dump() + ", which is outside the vocabulary");
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::vector<int32_t> tokens_of_text(const Service& service, const Fields& fields, const char* name,
                                    const Json& text) {
  if (are_ids(text)) return ids_of(service, fields, name, text);
  if (!text.is_string()) fields.refuse(name, "must be a text, a list of ids, or a list of those");
  std::vector<int32_t> ids = tokens_of(service, text.get<std::string>(), true);
  if (!ids.empty()) return ids;
  // Not every tokenizer adds the token that texts begin with.
  if (const int32_t bos = klens_model_bos(service.model); bos >= 0) return {bos};
  fields.refuse(name, "is empty, and this model has no token to start from");
}

}  // namespace

std::vector<std::vector<int32_t>> read_texts(const Service& service, const Fields& fields,
                                             const char* name) {
  const Json* texts = fields.find(name);
  if (texts == nullptr) fields.refuse(name, "is missing");
  if (!texts->is_array() || are_ids(*texts)) return {tokens_of_text(service, fields, name, *texts)};
  if (texts->empty() || texts->size() > kMostPrompts)
    fields.refuse(name, "must have from 1 to " + std::to_string(kMostPrompts) + " texts");
  std::vector<std::vector<int32_t>> all;
  for (const Json& one : *texts) all.push_back(tokens_of_text(service, fields, name, one));
  return all;
}

}  // namespace klens::apps
