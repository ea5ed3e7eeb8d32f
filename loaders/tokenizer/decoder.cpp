#include "loaders/tokenizer/decoder.h"

#include <functional>
#include <utility>
#include <vector>

#include "loaders/tokenizer/decoder_sinks.h"
#include "loaders/tokenizer/fields.h"
#include "loaders/tokenizer/normalizer.h"

namespace klens {
namespace {

using nlohmann::json;

// A decoder is the arguments of its sink.
using Start = std::function<std::unique_ptr<TokenSink>(TokenSink& next)>;

class SimpleDecoder : public Decoder {
 public:
  explicit SimpleDecoder(Start start) : start_(std::move(start)) {}
  std::unique_ptr<TokenSink> start(TokenSink& next) const override { return start_(next); }

 private:
  Start start_;
};

template <typename Sink>
std::unique_ptr<Decoder> simple() {
  return std::make_unique<SimpleDecoder>(
      [](TokenSink& next) { return std::make_unique<Sink>(next); });
}

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::unique_ptr<TokenSink> start(TokenSink& next) const override {
    return std::make_unique<ReplaceSink>(next, pattern_, content_);
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
  if (!value || value->is_null()) return simple<JoinSink>();
  Fields fields(*value, where);
  const std::string type = fields.type();
  std::unique_ptr<Decoder> result;
  if (type == "ByteLevel") {
    fields.skip({"add_prefix_space", "trim_offsets", "use_regex"});
    result = simple<ByteLevelSink>();
  } else if (type == "ByteFallback") {
    result = simple<ByteFallbackSink>();
  } else if (type == "Fuse") {
    result = simple<FuseSink>();
  } else if (type == "Replace") {
    Pattern pattern = read_pattern(fields);
    result =
        std::make_unique<ReplaceDecoder>(std::move(pattern), read_insertion(fields, "content"));
  } else if (type == "Strip") {
    const char32_t content = fields.character("content");
    const int64_t start = fields.count("start"), stop = fields.count("stop");
    result = std::make_unique<SimpleDecoder>(
        [=](TokenSink& next) { return std::make_unique<StripSink>(next, content, start, stop); });
  } else if (type == "Metaspace") {
    const char32_t replacement = fields.character("replacement");
    const bool prepended =
        fields.text("prepend_scheme", "always") != "never" && fields.flag("add_prefix_space", true);
    fields.skip({"add_prefix_space", "split", "str_rep"});
    result = std::make_unique<SimpleDecoder>([=](TokenSink& next) {
      return std::make_unique<MetaspaceSink>(next, replacement, prepended);
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
