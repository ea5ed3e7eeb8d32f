#include "loaders/tokenizer/normalizer.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "loaders/tokenizer/byte_level.h"
#include "loaders/tokenizer/pieces.h"
#include "loaders/tokenizer/unicode.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

using nlohmann::json;

class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(unicode::Form form) : form_(form) {}
  void apply(std::string& text, size_t& lead, const Deadline&) const override {
    std::string normalized = unicode::normalize(text, form_);
    // A first character may have composed with what followed it: then it is the new first
    // character.
    if (lead > 0)
      lead = std::max(first_character(normalized),
                      unicode::normalize(std::string_view(text).substr(0, lead), form_).size());
    lead = std::min(lead, normalized.size());
    text = std::move(normalized);
  }

 private:
  unicode::Form form_;
};

class Lowercase : public Normalizer {
 public:
  void apply(std::string& text, size_t& lead, const Deadline&) const override {
    std::string lower;
    lower.reserve(text.size());
    size_t lower_lead = 0;
    for (size_t at = 0; at < text.size();) {
      unicode::append_lower(lower, utf8::next(text, at));
      if (at <= lead) lower_lead = lower.size();
    }
    lead = lower_lead;
    text = std::move(lower);
  }
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text, size_t& lead, const Deadline&) const override {
    size_t begin = 0, end = text.size();
    while (left_ && begin < end) {
      size_t next = begin;
      if (!unicode::is_space(utf8::next(text, next))) break;
      begin = next;
    }
    while (right_ && end > begin) {
      size_t previous = end;
      if (!unicode::is_space(utf8::previous(text, previous))) break;
      end = previous;
    }
    lead = std::min(lead - std::min(lead, begin), end - begin);
    text = text.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text, size_t& lead, const Deadline&) const override {
    if (text.empty()) return;
    text.insert(0, prefix_);
    if (lead > 0) lead += prefix_.size();
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string& text, size_t& lead, const Deadline& deadline) const override {
    text = replace_all(pattern_, text, content_, lead, deadline);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  void apply(std::string& text, size_t& lead, const Deadline&) const override {
    std::string spelled;
    byte_level::append_spelled(spelled, text);
    lead = byte_level::spelled_length(std::string_view(text).substr(0, lead));
    text = std::move(spelled);
  }
};

// SentencePiece's cleaning of control characters and of what it takes for spaces.
class Nmt : public Normalizer {
 public:
  void apply(std::string& text, size_t& lead, const Deadline&) const override {
    std::string clean;
    size_t clean_lead = 0;
    for (size_t at = 0; at < text.size();) {
      const char32_t c = utf8::next(text, at);
      if (!dropped(c)) utf8::append(clean, as_space(c) ? U' ' : c);
      if (at <= lead) clean_lead = clean.size();
    }
    lead = clean_lead;
    text = std::move(clean);
  }

 private:
  static bool dropped(char32_t c) {
    return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
           c == 0x9F;
  }
  static bool as_space(char32_t c) {
    return c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
           (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
           c == 0xFEFF || c == 0xFFFD;
  }
};

// No normalizer of a sane tokenizer makes a text this much longer; a chain of replacements could
// fill any memory.
void check_growth(size_t before, size_t after) {
  constexpr size_t kMostGrowth = 64, kAlwaysAllowed = 64 * 1024;
  if (after > before * kMostGrowth + kAlwaysAllowed)
    throw Error(ErrorKind::kUnsupported,
                "the tokenizer makes this text more than 64 times longer before splitting it");
}

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(std::string& text, size_t& lead, const Deadline& deadline) const override {
    const size_t before = text.size();
    for (const auto& step : steps_) {
      step->apply(text, lead, deadline);
      check_growth(before, text.size());
    }
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

}  // namespace

std::string replace_all(const Pattern& pattern, std::string_view text, std::string_view content,
                        size_t& lead, const Deadline& deadline) {
  std::vector<Match> matches;
  pattern.find(text, deadline, matches);
  std::string out;
  size_t new_lead = 0;
  for (const Match& m : matches) {
    out += m.is_match ? content : text.substr(m.begin, m.end - m.begin);
    check_growth(text.size(), out.size());
    // What replaces a match counts as what the match ended with.
    if (m.end <= lead) new_lead = out.size();
    if (!m.is_match && m.begin < lead && lead < m.end) new_lead = out.size() - (m.end - lead);
  }
  lead = lead == 0 ? 0 : new_lead;
  return out;
}

Pattern read_pattern(Fields& fields) {
  Fields pattern(fields.need("pattern"), fields.where() + ": pattern");
  const json* text = pattern.find("String");
  const json* regex = pattern.find("Regex");
  pattern.done();
  if ((text != nullptr) == (regex != nullptr))
    pattern.bad("must be {\"String\": ...} or {\"Regex\": ...}");
  const json& value = text ? *text : *regex;
  if (!value.is_string()) pattern.bad("is not a text");
  return text ? Pattern::text(value.get_ref<const std::string&>())
              : Pattern::regex(value.get_ref<const std::string&>(), fields.where());
}

std::string read_insertion(Fields& fields, const std::string& key) {
  constexpr size_t kLongest = 1024;
  std::string value = fields.text(key);
  if (value.size() > kLongest) fields.bad("\"" + key + "\" is longer than 1024 bytes");
  return value;
}

std::unique_ptr<Normalizer> read_normalizer(const json* value, const std::string& where) {
  if (!value || value->is_null()) return nullptr;
  Fields fields(*value, where);
  const std::string type = fields.type();
  std::unique_ptr<Normalizer> result;
  if (type == "NFC") {
    result = std::make_unique<UnicodeForm>(unicode::Form::kNfc);
  } else if (type == "NFD") {
    result = std::make_unique<UnicodeForm>(unicode::Form::kNfd);
  } else if (type == "NFKC") {
    result = std::make_unique<UnicodeForm>(unicode::Form::kNfkc);
  } else if (type == "NFKD") {
    result = std::make_unique<UnicodeForm>(unicode::Form::kNfkd);
  } else if (type == "Lowercase") {
    result = std::make_unique<Lowercase>();
  } else if (type == "Nmt") {
    result = std::make_unique<Nmt>();
  } else if (type == "ByteLevel") {
    result = std::make_unique<ByteLevelNormalizer>();
  } else if (type == "Strip") {
    const bool left = fields.flag("strip_left"), right = fields.flag("strip_right");
    result = std::make_unique<Strip>(left, right);
  } else if (type == "Prepend") {
    result = std::make_unique<Prepend>(read_insertion(fields, "prepend"));
  } else if (type == "Replace") {
    Pattern pattern = read_pattern(fields);
    result = std::make_unique<Replace>(std::move(pattern), read_insertion(fields, "content"));
  } else if (type == "Sequence") {
    std::vector<std::unique_ptr<Normalizer>> steps;
    for (const json& step : fields.list("normalizers"))
      if (auto read = read_normalizer(&step, where)) steps.push_back(std::move(read));
    result = std::make_unique<NormalizerSequence>(std::move(steps));
  } else {
    fields.unknown_type(
        type,
        "NFC, NFD, NFKC, NFKD, Lowercase, Nmt, ByteLevel, Strip, Prepend, Replace and "
        "Sequence");
  }
  fields.done();
  return result;
}

}  // namespace klens
