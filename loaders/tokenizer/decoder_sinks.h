#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/tokenizer/decoder.h"
#include "loaders/tokenizer/regex.h"

// One sink per type of decoder; see the Rust `tokenizers`, src/decoders.
namespace klens {

// The byte that a token "<0x41>" stands for.
std::optional<unsigned char> byte_of(const std::string& token);

// Passes everything on; the ground that the others change.
class PassSink : public TokenSink {
 public:
  explicit PassSink(TokenSink& next) : next_(next) {}
  void part(std::string_view text) override { next_.part(text); }
  void end_token() override { next_.end_token(); }
  void finish() override { next_.finish(); }

 protected:
  TokenSink& next_;
};

// Collects a token's parts, for decoders that must see it whole.
class WholeTokenSink : public PassSink {
 public:
  using PassSink::PassSink;
  void part(std::string_view text) override { token_ += text; }
  void end_token() final {
    token(token_);
    token_.clear();
  }

 protected:
  virtual void token(const std::string& text) = 0;
  void pass(std::string_view text) {
    next_.part(text);
    next_.end_token();
  }

 private:
  std::string token_;
};

// Without a decoder: a space between tokens.
class JoinSink : public PassSink {
 public:
  using PassSink::PassSink;
  void end_token() override { pending_ = true; }
  void part(std::string_view text) override;
  void finish() override;

 private:
  bool pending_ = false;
};

// Makes one token of all.
class FuseSink : public PassSink {
 public:
  using PassSink::PassSink;
  void end_token() override {}
  void finish() override;
};

// Bytes spelled in the byte-level alphabet; all tokens become one text.
class ByteLevelSink : public WholeTokenSink {
 public:
  using WholeTokenSink::WholeTokenSink;
  void token(const std::string& text) override;
  void finish() override;

 private:
  std::string bytes_;  // a character whose end has not come
};

// Tokens "<0xE2>": a run of them becomes a text if it is UTF-8 as a whole, else one U+FFFD for
// each. So nothing of a run can be told before its end.
class ByteFallbackSink : public WholeTokenSink {
 public:
  using WholeTokenSink::WholeTokenSink;
  void token(const std::string& text) override;
  void finish() override;

 private:
  void flush();
  std::string bytes_;
};

class ReplaceSink : public WholeTokenSink {
 public:
  ReplaceSink(TokenSink& next, const Pattern& pattern, const std::string& content)
      : WholeTokenSink(next), pattern_(pattern), content_(content) {}
  void token(const std::string& text) override;

 private:
  const Pattern& pattern_;
  const std::string& content_;
};

// Takes up to `start` of a character off the begin of each token and up to `stop` off its end.
class StripSink : public PassSink {
 public:
  StripSink(TokenSink& next, char32_t content, int64_t start, int64_t stop)
      : PassSink(next), content_(content), start_(start), stop_(stop) {}
  void part(std::string_view text) override;
  void end_token() override;

 private:
  char32_t content_;
  int64_t start_, stop_;
  int64_t cut_ = 0;  // taken off the begin of this token
  bool at_begin_ = true;
  std::string held_;  // what may yet be taken off the end
};

// The replacement becomes a space; in the first token, nothing, unless nothing was prepended.
class MetaspaceSink : public PassSink {
 public:
  MetaspaceSink(TokenSink& next, char32_t replacement, bool prepended)
      : PassSink(next), replacement_(replacement), drop_(prepended) {}
  void part(std::string_view text) override;
  void end_token() override;

 private:
  char32_t replacement_;
  bool drop_;
};

// The end-of-word suffix becomes a space, but nothing in the last token.
class SuffixSink : public WholeTokenSink {
 public:
  SuffixSink(TokenSink& next, const std::string& suffix) : WholeTokenSink(next), suffix_(suffix) {}
  void token(const std::string& text) override;
  void finish() override;

 private:
  void flush(std::string_view instead);
  const std::string& suffix_;
  std::string last_;
  bool has_last_ = false;
};

}  // namespace klens
