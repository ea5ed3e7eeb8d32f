#include "loaders/tokenizer/tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "loaders/json.h"
#include "loaders/tokenizer/added_tokens.h"
#include "loaders/tokenizer/bpe.h"
#include "loaders/tokenizer/decoder.h"
#include "loaders/tokenizer/fields.h"
#include "loaders/tokenizer/normalizer.h"
#include "loaders/tokenizer/pieces.h"
#include "loaders/tokenizer/post_processor.h"
#include "loaders/tokenizer/pre_tokenizer.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {

using nlohmann::json;

// The members of a tokenizer.json, in the order in which a text passes through them.
struct Tokenizer::Parts {
  std::unique_ptr<Normalizer> normalizer;       // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<Bpe> model;
  std::unique_ptr<AddedTokens> added;
  std::unique_ptr<PostProcessor> post_processor;
  std::unique_ptr<Decoder> decoder;
  int32_t vocab_size = 0;

  // What the decoder gets for a token: null if it gets nothing.
  const std::string* spelling(int32_t id, bool skip_special) const {
    const AddedToken* token = added->find(id);
    const std::string* text = token ? &token->spelled : model->vocabulary().text(id);
    return text && skip_special && added->is_special(*text) ? nullptr : text;
  }
};

namespace {

// Gathers decoded text.
class TextSink : public TokenSink {
 public:
  void part(std::string_view text) override { text_ += text; }
  void end_token() override {}
  void finish() override {}
  std::string take() { return std::exchange(text_, {}); }

 private:
  std::string text_;
};

void check_version(Fields& fields) {
  if (const json* version = fields.find("version"))
    if (!version->is_string() || *version != "1.0") fields.bad("is not of version 1.0");
}

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}

Tokenizer Tokenizer::from_json(std::string_view text, const std::string& name) {
  const JsonDocument document = parse_json(text, name);
  const json& root = *document;
  Fields fields(root, name + ":");
  check_version(fields);
  // How long a text may be is the caller's to say: see the class comment.
  fields.skip({"truncation", "padding"});
  auto parts = std::make_shared<Parts>();
  parts->normalizer = read_normalizer(fields.find("normalizer"), name + ": normalizer");
  parts->pre_tokenizer = read_pre_tokenizer(fields.find("pre_tokenizer"), name + ": pre_tokenizer");
  parts->model = std::make_unique<Bpe>(fields.need("model"), name + ": model");
  const Vocabulary& vocabulary = parts->model->vocabulary();
  parts->added = std::make_unique<AddedTokens>(
      fields.find("added_tokens"), name + ": added_tokens", parts->normalizer.get(),
      [&](std::string_view token) { return vocabulary.find(token); }, vocabulary.size());
  parts->post_processor =
      std::make_unique<PostProcessor>(fields.find("post_processor"), name + ": post_processor");
  parts->decoder = read_decoder(fields.find("decoder"), name + ": decoder");
  fields.done();
  parts->vocab_size = std::max(vocabulary.largest_id(), parts->added->largest_id()) + 1;
  for (const int32_t id : parts->post_processor->special_ids())
    if (id >= parts->vocab_size)
      throw Error(ErrorKind::kBadFile, name + ": post_processor adds the token id " +
                                           std::to_string(id) + ", which no token has");
  return Tokenizer(std::move(parts));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::string repaired;
  if (!utf8::is_valid(text)) {
    utf8::append_lossy(repaired, text);
    text = repaired;
  }
  Pieces pieces(Deadline::for_bytes(text.size()));
  parts_->added->extract(text, parts_->normalizer.get(), pieces);
  if (parts_->pre_tokenizer) parts_->pre_tokenizer->apply(pieces);
  std::vector<int32_t> ids;
  Bpe::Cache cache;
  for (const Piece& piece : pieces.list) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
    } else {
      parts_->model->encode(piece.text, cache, ids);
    }
  }
  return parts_->post_processor->apply(std::move(ids), add_special);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  StreamDecoder decoder(*this, skip_special);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

int32_t Tokenizer::vocab_size() const { return parts_->vocab_size; }

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  if (const std::optional<int32_t> id = parts_->added->id_of(token)) return id;
  return parts_->model->vocabulary().find(token);
}

std::string_view Tokenizer::token(int32_t id) const {
  if (const AddedToken* added = parts_->added->find(id)) return added->content;
  const std::string* text = parts_->model->vocabulary().text(id);
  return text ? std::string_view(*text) : std::string_view();
}

bool Tokenizer::is_special(int32_t id) const {
  const std::string_view text = token(id);
  return !text.empty() && parts_->added->is_special(text);
}

std::optional<std::string> Tokenizer::text_bytes(int32_t id) const {
  const std::string* spelling = parts_->spelling(id, true);
  if (!spelling) return "";
  TokenBytes token{*spelling};
  if (!parts_->decoder->bytes(token)) return std::nullopt;
  return std::move(token.text);
}

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer::Parts> parts;
  bool skip_special;
  TextSink text;
  std::unique_ptr<TokenSink> decoder;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : state_(std::make_unique<State>()) {
  state_->parts = tokenizer.parts_;
  state_->skip_special = skip_special;
  state_->decoder = state_->parts->decoder->start(state_->text);
}

StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::push(int32_t id) {
  const std::string* spelling = state_->parts->spelling(id, state_->skip_special);
  if (!spelling) return "";
  state_->decoder->part(*spelling);
  state_->decoder->end_token();
  return state_->text.take();
}

std::string StreamDecoder::finish() {
  state_->decoder->finish();
  state_->decoder = state_->parts->decoder->start(state_->text);
  return state_->text.take();
}

}  // namespace klens
