#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace klens {

// Text to token ids and back, as the `tokenizers` Python package does it for a model of type BPE.
// What a tokenizer.json holds is either followed exactly or refused by name; only its "truncation"
// and "padding" are read past on purpose: how long a prompt may be is the caller's to say, and an
// encoder that cut a text silently would lose it. Const methods may be called from several threads
// at once. Copies share their tables.
class Tokenizer {
 public:
  // `text` is the contents of a tokenizer.json, `name` the file's name for messages. Throws Error.
  static Tokenizer from_json(std::string_view text, const std::string& name);

  // Every maximal invalid part of a UTF-8 sequence is read as U+FFFD, as Python's errors="replace"
  // does. `add_special` applies the post-processor (begin-of-text and the like). Added tokens are
  // found in the text either way. Throws Error if a pattern of the tokenizer needs too much work on
  // this text.
  std::vector<int32_t> encode(std::string_view text, bool add_special) const;

  // Ids that have no token are left out, and special tokens too if `skip_special`. Bytes that are
  // not UTF-8 come out as U+FFFD, so the result is always valid UTF-8.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  int32_t vocab_size() const;  // one more than the largest id
  std::optional<int32_t> token_id(std::string_view token) const;
  std::string_view token(int32_t id) const;  // as spelled in the vocabulary; "" if there is none
  bool is_special(int32_t id) const;
  // The bytes that a token adds to a text, wherever it stands but at its begin; they need not be
  // whole characters. "" if there is no such token, or it is special; none if what it adds depends
  // on the tokens around it.
  std::optional<std::string> text_bytes(int32_t id) const;

  struct Parts;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

// Turns ids into text one at a time. What it returns is always whole UTF-8 characters; everything
// it returned, finish() included, put together equals decode() of all the ids. Bytes that may still
// become a character are held back until they have, or cannot any more.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  StreamDecoder(const StreamDecoder&) = delete;
  StreamDecoder& operator=(const StreamDecoder&) = delete;

  std::string push(int32_t id);
  std::string finish();  // the rest; the decoder is then as new

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace klens
