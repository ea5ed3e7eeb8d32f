// klens for C++: the handles of klens.h as owning types, its failures as exceptions. Header only;
// nothing but klens.h crosses the library's boundary.
#pragma once
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "klens/klens.h"

namespace klens {
inline namespace api {

class Failure : public std::runtime_error {
 public:
  explicit Failure(const klens_error& error)
      : std::runtime_error(error.message), status(error.status) {}
  klens_status status;
};

// Throws what a call of klens.h reports: check([&](klens_error* e) { return klens_...(..., e); }).
template <class Call>
void check(Call&& call) {
  klens_error error{};
  if (call(&error) != KLENS_OK) throw Failure(error);
}

// A string result of klens.h, owned.
template <class Call>
std::string text_of(Call&& call) {
  char* text = nullptr;
  check([&](klens_error* e) { return call(&text, e); });
  const std::unique_ptr<char, void (*)(char*)> owner(text, klens_string_free);
  return text;
}

template <class T, void (*Free)(T*)>
struct Freer {
  void operator()(T* handle) const { Free(handle); }
};
using ModelHandle = std::unique_ptr<klens_model, Freer<klens_model, klens_model_free>>;
using TokenizerHandle =
    std::unique_ptr<klens_tokenizer, Freer<klens_tokenizer, klens_tokenizer_free>>;
using SessionHandle = std::unique_ptr<klens_session, Freer<klens_session, klens_session_free>>;
using SamplerHandle = std::unique_ptr<klens_sampler, Freer<klens_sampler, klens_sampler_free>>;
using DecoderHandle = std::unique_ptr<klens_decoder, Freer<klens_decoder, klens_decoder_free>>;

// What klens_devices gives.
inline std::string devices() {
  return text_of([](char** json, klens_error* e) { return klens_devices(json, e); });
}

inline std::string device_notes() {
  return text_of([](char** text, klens_error* e) { return klens_device_notes(text, e); });
}

inline ModelHandle open_model(const std::string& path, const klens_model_options& options) {
  klens_model* model = nullptr;
  check([&](klens_error* e) { return klens_model_open(path.c_str(), &options, &model, e); });
  return ModelHandle(model);
}

inline TokenizerHandle open_tokenizer(const std::string& path) {
  klens_tokenizer* tokenizer = nullptr;
  check([&](klens_error* e) { return klens_tokenizer_open(path.c_str(), &tokenizer, e); });
  return TokenizerHandle(tokenizer);
}

inline std::vector<int32_t> tokenize(const klens_tokenizer* tokenizer, std::string_view text,
                                     bool add_special) {
  int32_t* ids = nullptr;
  size_t count = 0;
  check([&](klens_error* e) {
    return klens_tokenize(tokenizer, text.data(), text.size(), add_special, &ids, &count, e);
  });
  const std::unique_ptr<int32_t, void (*)(int32_t*)> owner(ids, klens_ids_free);
  return std::vector<int32_t>(ids, ids + count);
}

inline std::string detokenize(const klens_tokenizer* tokenizer, const std::vector<int32_t>& ids,
                              bool skip_special) {
  return text_of([&](char** text, klens_error* e) {
    return klens_detokenize(tokenizer, ids.data(), ids.size(), skip_special, text, e);
  });
}

inline SessionHandle new_session(klens_model* model, const klens_session_options& options) {
  klens_session* session = nullptr;
  check([&](klens_error* e) { return klens_session_new(model, &options, &session, e); });
  return SessionHandle(session);
}

inline void eval(klens_session* session, const std::vector<int32_t>& ids) {
  check([&](klens_error* e) { return klens_session_eval(session, ids.data(), ids.size(), e); });
}

inline void checkpoint(klens_session* session) {
  check([&](klens_error* e) { return klens_session_checkpoint(session, e); });
}

inline int64_t rewind(klens_session* session, int64_t position) {
  int64_t reached = 0;
  check([&](klens_error* e) { return klens_session_rewind(session, position, &reached, e); });
  return reached;
}

inline SamplerHandle new_sampler(const klens_sampler_options& options) {
  klens_sampler* sampler = nullptr;
  check([&](klens_error* e) { return klens_sampler_new(&options, &sampler, e); });
  return SamplerHandle(sampler);
}

// A sampler that chooses none of the ids that the tokenizer (may be null) has no token for.
inline SamplerHandle new_sampler(const klens_sampler_options& options,
                                 const klens_tokenizer* tokenizer) {
  SamplerHandle sampler = new_sampler(options);
  check([&](klens_error* e) { return klens_sampler_use_tokenizer(sampler.get(), tokenizer, e); });
  return sampler;
}

inline int32_t sample(klens_sampler* sampler, const klens_session* session) {
  int32_t id = 0;
  check([&](klens_error* e) { return klens_sampler_sample(sampler, session, &id, e); });
  return id;
}

inline DecoderHandle new_decoder(const klens_tokenizer* tokenizer, bool skip_special) {
  klens_decoder* decoder = nullptr;
  check([&](klens_error* e) { return klens_decoder_new(tokenizer, skip_special, &decoder, e); });
  return DecoderHandle(decoder);
}

inline std::string push(klens_decoder* decoder, int32_t id) {
  const char* text = "";
  check([&](klens_error* e) { return klens_decoder_push(decoder, id, &text, e); });
  return text;
}

inline std::string finish(klens_decoder* decoder) {
  const char* text = "";
  check([&](klens_error* e) { return klens_decoder_finish(decoder, &text, e); });
  return text;
}

}  // namespace api
}  // namespace klens
