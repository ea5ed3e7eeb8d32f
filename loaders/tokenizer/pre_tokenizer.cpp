#include "loaders/tokenizer/pre_tokenizer.h"

#include <utility>

#include "loaders/tokenizer/byte_level.h"
#include "loaders/tokenizer/normalizer.h"
#include "loaders/tokenizer/split.h"
#include "loaders/tokenizer/unicode.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

using nlohmann::json;

// GPT-2's words: https://github.com/openai/gpt-2/blob/master/src/encoder.py
constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space),
        use_regex_(use_regex),
        words_(Pattern::regex(kGpt2Words, "ByteLevel")) {}

  void apply(Pieces& pieces) const override {
    if (add_prefix_space_)
      for (Piece& piece : pieces.list)
        if (piece.id < 0 && !piece.text.empty() && piece.text[0] != ' ') {
          piece.text = pieces.keep(std::string(1, ' ').append(piece.text));
          if (piece.lead > 0) ++piece.lead;
        }
    if (use_regex_)
      split_pieces(pieces, Behavior::kIsolated,
                   [&](std::string_view text, std::vector<Match>& out) {
                     words_.find(text, pieces.deadline(), out);
                   });
    spell(pieces);
  }

 private:
  // All spellings go into one block of memory.
  static void spell(Pieces& pieces) {
    size_t length = 0;
    for (const Piece& piece : pieces.list)
      if (piece.id < 0) length += byte_level::spelled_length(piece.text);
    std::string block;
    block.reserve(length);
    for (const Piece& piece : pieces.list)
      if (piece.id < 0) byte_level::append_spelled(block, piece.text);
    const std::string_view kept = pieces.keep(std::move(block));
    size_t at = 0;
    for (Piece& piece : pieces.list) {
      if (piece.id >= 0) continue;
      const size_t size = byte_level::spelled_length(piece.text);
      piece.lead = byte_level::spelled_length(piece.text.substr(0, piece.lead));
      piece.text = kept.substr(at, size);
      at += size;
    }
  }

  bool add_prefix_space_, use_regex_;
  Pattern words_;
};

class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  Metaspace(char32_t replacement, Prepend prepend, bool split)
      : character_(replacement),
        replacement_(utf8::encode(replacement)),
        space_(Pattern::text(" ")),
        prepend_(prepend),
        split_(split) {}

  void apply(Pieces& pieces) const override {
    for (Piece& piece : pieces.list) {
      if (piece.id >= 0) continue;
      std::string text =
          replace_all(space_, piece.text, replacement_, piece.lead, pieces.deadline());
      const bool wanted =
          prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && piece.lead > 0);
      if (wanted && !text.empty() && !text.starts_with(replacement_)) {
        text.insert(0, replacement_);
        if (piece.lead > 0) piece.lead += replacement_.size();
      }
      piece.text = pieces.keep(std::move(text));
    }
    const auto is_replacement = [this](char32_t c) { return c == character_; };
    if (split_) split_pieces(pieces, Behavior::kMergedWithNext, characters(is_replacement));
  }

 private:
  char32_t character_;
  std::string replacement_;
  Pattern space_;
  Prepend prepend_;
  bool split_;
};

class Split : public PreTokenizer {
 public:
  Split(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(Pieces& pieces) const override {
    split_pieces(pieces, behavior_, [&](std::string_view text, std::vector<Match>& out) {
      pattern_.find(text, pieces.deadline(), out);
      if (invert_)
        for (Match& m : out) m.is_match = !m.is_match;
    });
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

// Splits at single characters: Punctuation, Digits, WhitespaceSplit, CharDelimiterSplit.
template <typename Predicate>
class SplitCharacters : public PreTokenizer {
 public:
  SplitCharacters(Predicate predicate, Behavior behavior)
      : predicate_(predicate), behavior_(behavior) {}
  void apply(Pieces& pieces) const override {
    split_pieces(pieces, behavior_, characters(predicate_));
  }

 private:
  Predicate predicate_;
  Behavior behavior_;
};

template <typename Predicate>
std::unique_ptr<PreTokenizer> split_characters(Predicate predicate, Behavior behavior) {
  return std::make_unique<SplitCharacters<Predicate>>(predicate, behavior);
}

// Words and runs of other characters that are not white space: \w+|[^\w\s]+
class Whitespace : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    split_pieces(pieces, Behavior::kRemoved, [](std::string_view text, std::vector<Match>& out) {
      out.clear();
      for (size_t at = 0, begin = 0; begin < text.size(); begin = at) {
        const int kind = kind_of(utf8::next(text, at));
        for (size_t ahead = at; ahead < text.size() && kind_of(utf8::next(text, ahead)) == kind;)
          at = ahead;
        out.push_back({begin, at, kind == kSpace});
      }
    });
  }

 private:
  enum { kSpace, kWord, kOther };
  static int kind_of(char32_t c) {
    return unicode::is_word(c) ? kWord : unicode::is_space(c) ? kSpace : kOther;
  }
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(Pieces& pieces) const override {
    for (const auto& step : steps_) step->apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

std::unique_ptr<PreTokenizer> read_metaspace(Fields& fields) {
  const char32_t replacement = fields.character("replacement");
  const json* scheme_given = fields.find("prepend_scheme");
  const std::string scheme = fields.text("prepend_scheme", "always");
  const bool split = fields.flag("split", true);
  fields.skip({"str_rep"});
  auto prepend = Metaspace::Prepend::kAlways;
  if (scheme == "first") {
    prepend = Metaspace::Prepend::kFirst;
  } else if (scheme == "never") {
    prepend = Metaspace::Prepend::kNever;
  } else if (scheme != "always") {
    fields.bad("has the unknown prepend_scheme \"" + scheme +
               "\"; klens reads always, first and never");
  }
  // Before there was prepend_scheme, add_prefix_space said always or never.
  if (!fields.flag("add_prefix_space", true)) {
    if (scheme_given && prepend != Metaspace::Prepend::kNever)
      fields.bad("says add_prefix_space: false against prepend_scheme: " + scheme);
    prepend = Metaspace::Prepend::kNever;
  }
  return std::make_unique<Metaspace>(replacement, prepend, split);
}

}  // namespace

std::unique_ptr<PreTokenizer> read_pre_tokenizer(const json* value, const std::string& where) {
  if (!value || value->is_null()) return nullptr;
  Fields fields(*value, where);
  const std::string type = fields.type();
  std::unique_ptr<PreTokenizer> result;
  if (type == "ByteLevel") {
    const bool add_prefix_space = fields.flag("add_prefix_space");
    fields.skip({"trim_offsets"});
    result =
        std::make_unique<ByteLevelPreTokenizer>(add_prefix_space, fields.flag("use_regex", true));
  } else if (type == "Metaspace") {
    result = read_metaspace(fields);
  } else if (type == "Split") {
    Pattern pattern = read_pattern(fields);
    const Behavior behavior = read_behavior(fields);
    result = std::make_unique<Split>(std::move(pattern), behavior, fields.flag("invert", false));
  } else if (type == "Punctuation") {
    result = split_characters(&unicode::is_punctuation, read_behavior(fields, Behavior::kIsolated));
  } else if (type == "Digits") {
    const bool individual = fields.flag("individual_digits");
    result = split_characters(&unicode::is_numeric,
                              individual ? Behavior::kIsolated : Behavior::kContiguous);
  } else if (type == "Whitespace") {
    result = std::make_unique<Whitespace>();
  } else if (type == "WhitespaceSplit") {
    result = split_characters(&unicode::is_space, Behavior::kRemoved);
  } else if (type == "CharDelimiterSplit") {
    const char32_t delimiter = fields.character("delimiter");
    result =
        split_characters([delimiter](char32_t c) { return c == delimiter; }, Behavior::kRemoved);
  } else if (type == "Sequence") {
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    for (const json& step : fields.list("pretokenizers"))
      if (auto read = read_pre_tokenizer(&step, where)) steps.push_back(std::move(read));
    result = std::make_unique<PreTokenizerSequence>(std::move(steps));
  } else {
    fields.unknown_type(
        type,
        "ByteLevel, Metaspace, Split, Punctuation, Digits, Whitespace, WhitespaceSplit, "
        "CharDelimiterSplit and Sequence");
  }
  fields.done();
  return result;
}

}  // namespace klens
