#include "loaders/tokenizer/decoder.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "loaders/tokenizer/byte_level.h"
#include "loaders/tokenizer/decoder_sinks.h"
#include "loaders/tokenizer/fields.h"
#include "loaders/tokenizer/normalizer.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

using nlohmann::json;

// A decoder is the arguments of its sink.
using Start = std::function<std::unique_ptr<TokenSink>(TokenSink& next)>;
using ToBytes = std::function<bool(TokenBytes& token)>;

class SimpleDecoder : public Decoder {
 public:
  SimpleDecoder(Start start, ToBytes bytes) : start_(std::move(start)), bytes_(std::move(bytes)) {}
  std::unique_ptr<TokenSink> start(TokenSink& next) const override { return start_(next); }
  bool bytes(TokenBytes& token) const override { return bytes_(token); }

 private:
  Start start_;
  ToBytes bytes_;
};

template <typename Sink>
std::unique_ptr<Decoder> simple(ToBytes bytes) {
  return std::make_unique<SimpleDecoder>(
      [](TokenSink& next) { return std::make_unique<Sink>(next); }, std::move(bytes));
}

bool depends_on_neighbours(TokenBytes&) { return false; }

bool join(TokenBytes& token) {
  token.joined = true;
  return true;
}

bool byte_level_bytes(TokenBytes& token) {
  std::string bytes;
  byte_level::append_bytes(bytes, token.text);
  token.text = std::move(bytes);
  return join(token);
}

bool fallback_bytes(TokenBytes& token) {
  if (const auto byte = byte_of(token.text)) token.text = static_cast<char>(*byte);
  return true;
}

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::unique_ptr<TokenSink> start(TokenSink& next) const override {
    return std::make_unique<ReplaceSink>(next, pattern_, content_);
  }
  bool bytes(TokenBytes& token) const override {
    if (token.joined) return false;
    size_t lead = 0;
    token.text =
        replace_all(pattern_, token.text, content_, lead, Deadline::for_bytes(token.text.size()));
    return true;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class SuffixDecoder : public Decoder {
 public:
  explicit SuffixDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  std::unique_ptr<TokenSink> start(TokenSink& next) const override {
    return std::make_unique<SuffixSink>(next, suffix_);
  }
  bool bytes(TokenBytes&) const override { return false; }  // the last token differs

 private:
  std::string suffix_;
};

class SequenceDecoder : public Decoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<Decoder>> steps)
      : steps_(std::move(steps)) {}

  std::unique_ptr<TokenSink> start(TokenSink& next) const override {
    auto chain = std::make_unique<Chain>();
    chain->first = &next;
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
      chain->sinks.push_back((*step)->start(*chain->first));
      chain->first = chain->sinks.back().get();
    }
    return chain;
  }
  bool bytes(TokenBytes& token) const override {
    return std::all_of(steps_.begin(), steps_.end(),
                       [&](const auto& step) { return step->bytes(token); });
  }

 private:
  struct Chain : TokenSink {
    std::vector<std::unique_ptr<TokenSink>> sinks;  // last to first
    TokenSink* first = nullptr;
    void part(std::string_view text) override { first->part(text); }
    void end_token() override { first->end_token(); }
    void finish() override { first->finish(); }
  };
  std::vector<std::unique_ptr<Decoder>> steps_;
};

}  // namespace

std::unique_ptr<Decoder> read_decoder(const json* value, const std::string& where) {
  if (!value || value->is_null()) return simple<JoinSink>(depends_on_neighbours);
  Fields fields(*value, where);
  const std::string type = fields.type();
  std::unique_ptr<Decoder> result;
  if (type == "ByteLevel") {
    fields.skip({"add_prefix_space", "trim_offsets", "use_regex"});
    result = simple<ByteLevelSink>(byte_level_bytes);
  } else if (type == "ByteFallback") {
    result = simple<ByteFallbackSink>(fallback_bytes);
  } else if (type == "Fuse") {
    result = simple<FuseSink>(join);
  } else if (type == "Replace") {
    Pattern pattern = read_pattern(fields);
    result =
        std::make_unique<ReplaceDecoder>(std::move(pattern), read_insertion(fields, "content"));
  } else if (type == "Strip") {
    const char32_t content = fields.character("content");
    const int64_t start = fields.count("start"), stop = fields.count("stop");
    result = std::make_unique<SimpleDecoder>(
        [=](TokenSink& next) { return std::make_unique<StripSink>(next, content, start, stop); },
        // Of one text it takes off the begin, which is elsewhere.
        [=](const TokenBytes& token) { return token.joined && stop == 0; });
  } else if (type == "Metaspace") {
    const char32_t replacement = fields.character("replacement");
    const bool prepended =
        fields.text("prepend_scheme", "always") != "never" && fields.flag("add_prefix_space", true);
    fields.skip({"add_prefix_space", "split", "str_rep"});
    result = std::make_unique<SimpleDecoder>(
        [=](TokenSink& next) {
          return std::make_unique<MetaspaceSink>(next, replacement, prepended);
        },
        [=](TokenBytes& token) {
          std::string text;
          for (size_t at = 0; at < token.text.size();) {
            const char32_t c = utf8::next(token.text, at);
            utf8::append(text, c == replacement ? U' ' : c);
          }
          token.text = std::move(text);
          return true;
        });
  } else if (type == "BPEDecoder") {
    result = std::make_unique<SuffixDecoder>(fields.text("suffix"));
  } else if (type == "Sequence") {
    std::vector<std::unique_ptr<Decoder>> steps;
    for (const json& step : fields.list("decoders")) {
      if (step.is_null()) fields.bad("has a decoder that is null");
      steps.push_back(read_decoder(&step, where));
    }
    result = std::make_unique<SequenceDecoder>(std::move(steps));
  } else {
    fields.unknown_type(
        type, "ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, BPEDecoder and Sequence");
  }
  fields.done();
  return result;
}

}  // namespace klens
