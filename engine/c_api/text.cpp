#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "engine/c_api/guard.h"
#include "engine/c_api/handles.h"
#include "loaders/chat_template/prompt.h"
#include "loaders/checkpoint.h"
#include "loaders/file_kind.h"
#include "loaders/gguf/read_gguf.h"
#include "loaders/klens_file.h"
#include "loaders/mapped_file.h"
#include "loaders/safetensors.h"
#include "loaders/stop_tokens.h"

namespace klens {
namespace {

// The text of a tokenizer.json: a folder's, a .klens or GGUF file's, or the file itself.
std::string tokenizer_text(const std::string& path) {
  const std::string own = path + "/tokenizer.json";
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec) && file_exists(own)) return read_text(own);
  const std::string file = model_file(path);
  if (std::filesystem::is_directory(file, ec)) return read_text(own);  // says what is missing
  const bool gguf = is_gguf(file);
  const bool klens = kind_of_file(file) == FileKind::kSafetensors || file.ends_with(".klens");
  if (!gguf && !klens) return read_text(file);
  std::string text =
      gguf ? read_gguf_tokenizer(file) : read_klens_file(file, false).texts.tokenizer;
  if (text.empty()) throw Error(ErrorKind::kBadFile, file + ": holds no tokenizer");
  return text;
}

void require_text(const char* text, size_t bytes) {
  if (text == nullptr && bytes != 0) throw Error(ErrorKind::kBadArgument, "argument text is NULL");
}

}  // namespace
}  // namespace klens

using namespace klens;

klens_status klens_tokenizer_open(const char* path, klens_tokenizer** tokenizer,
                                  klens_error* error) {
  return guarded(error, [&] {
    require(path, "path");
    require(tokenizer, "tokenizer");
    *tokenizer = new klens_tokenizer{Tokenizer::from_json(tokenizer_text(path), path)};
  });
}

void klens_tokenizer_free(klens_tokenizer* tokenizer) { delete tokenizer; }

klens_status klens_tokenize(const klens_tokenizer* tokenizer, const char* text, size_t text_bytes,
                            int add_special, int32_t** ids, size_t* count, klens_error* error) {
  return guarded(error, [&] {
    require(tokenizer, "tokenizer");
    require(ids, "ids");
    require(count, "count");
    require_text(text, text_bytes);
    const std::vector<int32_t> encoded =
        tokenizer->tokenizer.encode({text, text_bytes}, add_special != 0);
    auto* copy = static_cast<int32_t*>(std::malloc((encoded.size() + 1) * sizeof(int32_t)));
    if (copy == nullptr) throw std::bad_alloc();
    if (!encoded.empty()) std::memcpy(copy, encoded.data(), encoded.size() * sizeof(int32_t));
    *ids = copy;
    *count = encoded.size();
  });
}

klens_status klens_detokenize(const klens_tokenizer* tokenizer, const int32_t* ids, size_t count,
                              int skip_special, char** text, klens_error* error) {
  return guarded(error, [&] {
    require(tokenizer, "tokenizer");
    require(text, "text");
    if (count != 0) require(ids, "ids");
    *text = owned_text(tokenizer->tokenizer.decode({ids, count}, skip_special != 0));
  });
}

klens_status klens_decoder_new(const klens_tokenizer* tokenizer, int skip_special,
                               klens_decoder** decoder, klens_error* error) {
  return guarded(error, [&] {
    require(tokenizer, "tokenizer");
    require(decoder, "decoder");
    *decoder = new klens_decoder{StreamDecoder(tokenizer->tokenizer, skip_special != 0), ""};
  });
}

void klens_decoder_free(klens_decoder* decoder) { delete decoder; }

klens_status klens_decoder_push(klens_decoder* decoder, int32_t id, const char** text,
                                klens_error* error) {
  return guarded(error, [&] {
    require(decoder, "decoder");
    require(text, "text");
    decoder->text = decoder->decoder.push(id);
    *text = decoder->text.c_str();
  });
}

klens_status klens_decoder_finish(klens_decoder* decoder, const char** text, klens_error* error) {
  return guarded(error, [&] {
    require(decoder, "decoder");
    require(text, "text");
    decoder->text = decoder->decoder.finish();
    *text = decoder->text.c_str();
  });
}

int klens_model_has_chat_template(const klens_model* model) {
  return has_chat_template(model->model->checkpoint().texts) ? 1 : 0;
}

klens_status klens_chat_prompt(const klens_model* model, const char* messages_json,
                               int add_generation_prompt, char** text, klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(messages_json, "messages_json");
    require(text, "text");
    const Checkpoint& checkpoint = model->model->checkpoint();
    *text = owned_text(
        chat_prompt(checkpoint.texts, checkpoint.path, messages_json, add_generation_prompt != 0));
  });
}
