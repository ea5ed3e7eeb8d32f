#include "loaders/tokenizer/post_processor.h"

#include <algorithm>

namespace klens {

using nlohmann::json;

PostProcessor::PostProcessor(const json* value, const std::string& where) {
  if (value && !value->is_null()) read(*value, where);
  for (const Part& part : parts_)
    special_ids_.insert(special_ids_.end(), part.ids.begin(), part.ids.end());
}

// Says whether the processor adds tokens; only one of a sequence may.
bool PostProcessor::read(const json& value, const std::string& where) {
  Fields fields(value, where);
  const std::string type = fields.type();
  bool adds = true;
  if (type == "ByteLevel") {
    // Changes offsets only.
    fields.skip({"add_prefix_space", "trim_offsets", "use_regex"});
    adds = false;
  } else if (type == "TemplateProcessing") {
    read_template(fields);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    fields.skip({"trim_offsets", "add_prefix_space"});
    parts_.clear();
    for (const char* key : {"cls", "sep"}) {
      const json& pair = fields.list(key);
      if (pair.size() != 2 || !pair[0].is_string())
        fields.bad(std::string("\"") + key + "\" is not [token, id]");
      parts_.push_back(
          {false, {token_id_of(pair[1], where, pair[0].get_ref<const std::string&>())}});
    }
    parts_.insert(parts_.begin() + 1, {true, {}});
  } else if (type == "Sequence") {
    adds = false;
    for (const json& step : fields.list("processors")) {
      if (!read(step, where)) continue;
      if (adds)
        fields.bad(
            "has more than one processor that adds tokens, which klens does not read; "
            "merge them into one TemplateProcessing");
      adds = true;
    }
  } else {
    fields.unknown_type(
        type, "TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing and Sequence");
  }
  fields.done();
  return adds;
}

void PostProcessor::read_template(Fields& fields) {
  constexpr size_t kMostParts = 64;
  fields.skip({"pair"});
  const json none = json::object();
  const json* special = fields.find("special_tokens");
  if (!special) special = &none;
  if (!special->is_object()) fields.bad("\"special_tokens\" is not an object");
  parts_.clear();
  for (const json& item : fields.list("single")) {
    Fields piece(item, fields.where() + ": a piece of \"single\"");
    const bool is_text = piece.find("Sequence") != nullptr;
    Fields inner(piece.need(is_text ? "Sequence" : "SpecialToken"), piece.where());
    const std::string id = inner.text("id");
    inner.skip({"type_id"});
    inner.done();
    piece.done();
    if (is_text) {
      if (id != "A") piece.bad("is the sequence \"" + id + "\", but one text has only \"A\"");
      parts_.push_back({true, {}});
      continue;
    }
    const auto token = special->find(id);
    if (token == special->end()) piece.bad("names \"" + id + "\", which special_tokens lacks");
    Fields members(*token, fields.where() + ": special token \"" + id + "\"");
    members.skip({"id", "tokens"});
    Part part{false, {}};
    for (const json& value : members.list("ids"))
      part.ids.push_back(token_id_of(value, fields.where(), id));
    members.done();
    parts_.push_back(std::move(part));
  }
  if (parts_.size() > kMostParts) fields.bad("has more than 64 pieces in \"single\"");
}

std::vector<int32_t> PostProcessor::apply(std::vector<int32_t> ids, bool add_special) const {
  if (parts_.size() == 1 && parts_[0].is_text) return ids;
  std::vector<int32_t> out;
  for (const Part& part : parts_) {
    if (part.is_text) out.insert(out.end(), ids.begin(), ids.end());
    if (!part.is_text && add_special) out.insert(out.end(), part.ids.begin(), part.ids.end());
  }
  return out;
}

}  // namespace klens
