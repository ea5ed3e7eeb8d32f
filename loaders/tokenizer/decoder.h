#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace klens {

// Receives the spellings of tokens one after the other: any number of parts, then the end of the
// token. Every part is valid UTF-8.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void part(std::string_view text) = 0;
  virtual void end_token() = 0;
  // No token follows. Passes on what was held back, then calls finish() of the sink behind this
  // one.
  virtual void finish() = 0;
};

// A token on its way from spelling to bytes.
struct TokenBytes {
  std::string text;
  bool joined = false;  // what follows sees one text, not tokens
};

// How the spellings of tokens become text. Const methods may be called from several threads at
// once.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // A sink that decodes what it receives into `next`, which must outlive it, as early as it can
  // without ever being wrong. Neither outlives this decoder.
  virtual std::unique_ptr<TokenSink> start(TokenSink& next) const = 0;
  // Makes of a spelling the bytes that the token adds to a text, wherever it stands but at its
  // begin; false if that depends on the tokens around it.
  virtual bool bytes(TokenBytes& token) const = 0;
};

// `value` is the member "decoder" of a tokenizer.json. Null gives one that puts spaces between
// tokens.
std::unique_ptr<Decoder> read_decoder(const nlohmann::json* value, const std::string& where);

}  // namespace klens
