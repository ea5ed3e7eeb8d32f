// klens for C++20: the handles of klens.h as classes that own them, its failures as exceptions.
// Header only; nothing but klens.h crosses the library's boundary, so a program and the library may
// come from different compilers. What a function does is said where klens.h declares it: Session::
// eval is klens_session_eval, klens::profile is klens_profile. Objects may be destroyed in any
// order; one that was moved from can only be assigned to or destroyed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "klens/klens.h"

namespace klens {
inline namespace api {

// A call of klens.h that failed: what() is its line.
class Failure : public std::runtime_error {
 public:
  explicit Failure(const klens_error& error)
      : std::runtime_error(error.message), status(error.status) {}
  klens_status status;
};

// Options that are all defaults: sized<klens_model_options>().
template <class Options>
Options sized() {
  Options options{};
  options.size = sizeof options;
  return options;
}

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

// A handle that a call of klens.h makes.
template <class T, class Call>
T* made(Call&& call) {
  T* handle = nullptr;
  check([&](klens_error* e) { return call(&handle, e); });
  return handle;
}

// Called as a klens_progress_fn is; true asks the call to stop. What it throws stops the call too,
// which then throws it.
using Progress = std::function<bool(const klens_progress&)>;
// Called as a klens_notice_fn is; must not throw.
using Notice = std::function<void(std::string_view line)>;

// One call with a Progress.
class WithProgress {
 public:
  explicit WithProgress(const Progress& progress) : progress_(progress) {}
  WithProgress(const WithProgress&) = delete;
  WithProgress& operator=(const WithProgress&) = delete;

  // Options that have fields for it keep their own where no Progress is given.
  template <class Options>
  void put_into(Options& options) {
    if (!progress_) return;
    options.progress = function();
    options.user = this;
  }
  klens_progress_fn function() const { return progress_ ? ask : nullptr; }

  template <class Call>
  void check(Call&& call) {
    klens_error error{};
    const klens_status status = call(&error);
    if (thrown_) std::rethrow_exception(thrown_);
    if (status != KLENS_OK) throw Failure(error);
  }

 private:
  static int ask(void* user, const klens_progress* progress) {
    WithProgress& self = *static_cast<WithProgress*>(user);
    try {
      return self.thrown_ || self.progress_(*progress) ? 1 : 0;
    } catch (...) {
      self.thrown_ = std::current_exception();
      return 1;
    }
  }
  const Progress& progress_;
  std::exception_ptr thrown_;
};

template <class T, void (*Free)(T*)>
struct Freer {
  void operator()(T* handle) const { Free(handle); }
};

// ---- what there is ------------------------------------------------------------------------------

inline std::string version() { return klens_version(); }
inline std::string isa() { return klens_isa(); }

// The tables and reports below are JSON texts.
inline std::string table(const char* json) {
  if (json == nullptr) throw std::bad_alloc();
  return json;
}
inline std::string formats() { return table(klens_formats()); }
inline std::string quantizers() { return table(klens_quantizers()); }
inline std::string metrics() { return table(klens_metrics()); }
inline std::string plan_methods() { return table(klens_plan_methods()); }

inline std::string devices() {
  return text_of([](char** json, klens_error* e) { return klens_devices(json, e); });
}
inline std::string device_notes() {
  return text_of([](char** text, klens_error* e) { return klens_device_notes(text, e); });
}
inline std::string inspect(const std::string& path, bool verify = false) {
  return text_of([&](char** json, klens_error* e) {
    return klens_inspect(path.c_str(), verify ? 1 : 0, json, e);
  });
}

// ---- models and text ----------------------------------------------------------------------------

// A tokenizer of its own, or a model's, which it then keeps. Copies are the same one; any number of
// threads may use it.
class Tokenizer {
 public:
  explicit Tokenizer(const std::string& path)
      : handle_(made<klens_tokenizer>([&](klens_tokenizer** tokenizer, klens_error* e) {
                  return klens_tokenizer_open(path.c_str(), tokenizer, e);
                }),
                klens_tokenizer_free) {}
  explicit Tokenizer(std::shared_ptr<const klens_tokenizer> handle) : handle_(std::move(handle)) {}

  const klens_tokenizer* get() const { return handle_.get(); }

  std::vector<int32_t> tokenize(std::string_view text, bool add_special = true) const {
    int32_t* ids = nullptr;
    size_t count = 0;
    check([&](klens_error* e) {
      return klens_tokenize(get(), text.data(), text.size(), add_special ? 1 : 0, &ids, &count, e);
    });
    const std::unique_ptr<int32_t, void (*)(int32_t*)> owner(ids, klens_ids_free);
    return std::vector<int32_t>(ids, ids + count);
  }
  std::string detokenize(std::span<const int32_t> ids, bool skip_special = false) const {
    return text_of([&](char** text, klens_error* e) {
      return klens_detokenize(get(), ids.data(), ids.size(), skip_special ? 1 : 0, text, e);
    });
  }

 private:
  std::shared_ptr<const klens_tokenizer> handle_;
};

class Decoder {
 public:
  explicit Decoder(const Tokenizer& tokenizer, bool skip_special = true)
      : handle_(made<klens_decoder>([&](klens_decoder** decoder, klens_error* e) {
          return klens_decoder_new(tokenizer.get(), skip_special ? 1 : 0, decoder, e);
        })) {}

  klens_decoder* get() const { return handle_.get(); }

  std::string push(int32_t id) {
    const char* text = "";
    check([&](klens_error* e) { return klens_decoder_push(get(), id, &text, e); });
    return text;
  }
  std::string finish() {
    const char* text = "";
    check([&](klens_error* e) { return klens_decoder_finish(get(), &text, e); });
    return text;
  }

 private:
  std::unique_ptr<klens_decoder, Freer<klens_decoder, klens_decoder_free>> handle_;
};

// Copies are the same model; any number of threads may use it.
class Model {
 public:
  // notice: in place of that of the options; lives as long as the model.
  explicit Model(const std::string& path,
                 klens_model_options options = sized<klens_model_options>(), Notice notice = {})
      : opened_(std::make_shared<Opened>()) {
    if (notice) {
      opened_->notice = std::move(notice);
      options.notice = [](void* user, const char* line) noexcept {
        (*static_cast<const Notice*>(user))(line);
      };
      options.notice_user = &opened_->notice;
    }
    opened_->handle.reset(made<klens_model>([&](klens_model** model, klens_error* e) {
      return klens_model_open(path.c_str(), &options, model, e);
    }));
  }

  klens_model* get() const { return opened_->handle.get(); }

  int32_t vocab() const { return klens_model_vocab(get()); }
  int32_t hidden_size() const { return klens_model_hidden_size(get()); }
  std::string quantised() const { return klens_model_quantised(get()); }
  std::string left_out() const { return klens_model_left_out(get()); }
  int64_t context_length() const { return klens_model_context_length(get()); }
  int32_t threads() const { return klens_model_threads(get()); }
  std::string device() const { return klens_model_device(get()); }
  bool is_eos(int32_t id) const { return klens_model_is_eos(get(), id) != 0; }
  std::optional<int32_t> bos() const {
    const int32_t id = klens_model_bos(get());
    return id < 0 ? std::nullopt : std::optional(id);
  }
  std::optional<Tokenizer> tokenizer() const {
    const klens_tokenizer* own = klens_model_tokenizer(get());
    if (own == nullptr) return std::nullopt;
    return Tokenizer(std::shared_ptr<const klens_tokenizer>(opened_, own));
  }
  // "" where it can be read, or there is none.
  std::string tokenizer_error() const {
    const char* error = klens_model_tokenizer_error(get());
    return error == nullptr ? "" : error;
  }
  bool has_chat_template() const { return klens_model_has_chat_template(get()) != 0; }
  std::string chat_prompt(const std::string& messages_json,
                          bool add_generation_prompt = true) const {
    return text_of([&](char** text, klens_error* e) {
      return klens_chat_prompt(get(), messages_json.c_str(), add_generation_prompt ? 1 : 0, text,
                               e);
    });
  }

 private:
  struct Opened {
    Notice notice;
    std::unique_ptr<klens_model, Freer<klens_model, klens_model_free>> handle;
  };
  std::shared_ptr<Opened> opened_;
};

// ---- sessions -----------------------------------------------------------------------------------

class Session {
 public:
  explicit Session(const Model& model,
                   const klens_session_options& options = sized<klens_session_options>())
      : Session(model, made<klens_session>([&](klens_session** session, klens_error* e) {
                  return klens_session_new(model.get(), &options, session, e);
                })) {}

  klens_session* get() const { return handle_.get(); }
  const Model& model() const { return model_; }

  Session fork() const {
    return Session(model_, made<klens_session>([&](klens_session** copy, klens_error* e) {
                     return klens_session_fork(get(), copy, e);
                   }));
  }
  void reset() {
    check([&](klens_error* e) { return klens_session_reset(get(), e); });
  }
  int64_t position() const { return klens_session_position(get()); }
  // All tokens fed. Valid, as logits() is, until the session is next fed, moved back or destroyed.
  std::span<const int32_t> ids() const {
    return {klens_session_ids(get()), static_cast<size_t>(position())};
  }
  size_t bytes() const { return klens_session_bytes(get()); }
  int32_t wide_caches() const { return klens_session_wide_caches(get()); }

  void save(const std::string& path) const {
    check([&](klens_error* e) { return klens_session_save(get(), path.c_str(), e); });
  }
  void load(const std::string& path) {
    check([&](klens_error* e) { return klens_session_load(get(), path.c_str(), e); });
  }

  // A progress that is given to a call holds for that call, as klens_session_set_progress says.
  void eval(std::span<const int32_t> ids, const Progress& progress = {}) {
    feed(progress,
         [&](klens_error* e) { return klens_session_eval(get(), ids.data(), ids.size(), e); });
  }
  // [ids][vocab]
  std::vector<float> eval_all(std::span<const int32_t> ids, const Progress& progress = {}) {
    std::vector<float> logits(ids.size() * static_cast<size_t>(model_.vocab()));
    feed(progress, [&](klens_error* e) {
      return klens_session_eval_all(get(), ids.data(), ids.size(), logits.data(), e);
    });
    return logits;
  }
  // How many tokens were not fed again.
  int64_t prompt(std::span<const int32_t> ids, const Progress& progress = {}) {
    int64_t reused = 0;
    feed(progress, [&](klens_error* e) {
      return klens_session_prompt(get(), ids.data(), ids.size(), &reused, e);
    });
    return reused;
  }
  // At most so many tokens that may follow `next`, which is not fed yet; often none.
  std::vector<int32_t> draft(int32_t next, size_t most) const {
    std::vector<int32_t> ids(most);
    size_t count = 0;
    check([&](klens_error* e) {
      return klens_session_draft(get(), next, most, ids.data(), &count, e);
    });
    ids.resize(count);
    return ids;
  }
  // How many tokens were fed; logits: [ids][vocab] floats of the caller.
  size_t eval_drafts(std::span<const int32_t> ids, std::span<float> logits) {
    if (logits.size() < ids.size() * static_cast<size_t>(model_.vocab()))
      throw std::invalid_argument("eval_drafts: no room for the logits of all tokens");
    size_t fed = 0;
    check([&](klens_error* e) {
      return klens_session_eval_drafts(get(), ids.data(), ids.size(), logits.data(), &fed, e);
    });
    return fed;
  }
  // [vocab]; empty where they are not known.
  std::span<const float> logits() const {
    const float* logits = klens_session_logits(get());
    if (logits == nullptr) return {};
    return {logits, static_cast<size_t>(model_.vocab())};
  }

  void checkpoint() {
    check([&](klens_error* e) { return klens_session_checkpoint(get(), e); });
  }
  int64_t reachable(int64_t position) const { return klens_session_reachable(get(), position); }
  int64_t rewind(int64_t position) {
    int64_t reached = 0;
    check([&](klens_error* e) { return klens_session_rewind(get(), position, &reached, e); });
    return reached;
  }

  // Runs a call that feeds this session.
  template <class Call>
  void feed(const Progress& progress, Call&& call) {
    if (!progress) return check(call);
    WithProgress with(progress);
    klens_session_set_progress(get(), with.function(), &with);
    const std::unique_ptr<klens_session, void (*)(klens_session*)> end(
        get(),
        [](klens_session* session) { klens_session_set_progress(session, nullptr, nullptr); });
    with.check(call);
  }

 private:
  Session(const Model& model, klens_session* handle) : model_(model), handle_(handle) {}

  Model model_;
  std::unique_ptr<klens_session, Freer<klens_session, klens_session_free>> handle_;
};

// What one of several sessions is to be fed.
struct Feed {
  Session* session = nullptr;
  std::span<const int32_t> ids;
};
// What a round did for one of them.
struct Fed {
  size_t tokens = 0;
  klens_status status = KLENS_OK;
};

// Calls call(sessions, ids, counts) with the feeds as klens.h takes them.
template <class Call>
void with_feeds(std::span<const Feed> feeds, Call&& call) {
  std::vector<klens_session*> sessions;
  std::vector<const int32_t*> ids;
  std::vector<size_t> counts;
  static const int32_t none = 0;
  sessions.reserve(feeds.size() + 1);  // not null where there are none, as klens.h asks
  ids.reserve(feeds.size() + 1);
  counts.reserve(feeds.size() + 1);
  for (const Feed& feed : feeds) {
    sessions.push_back(feed.session == nullptr ? nullptr : feed.session->get());
    ids.push_back(feed.ids.empty() ? &none : feed.ids.data());
    counts.push_back(feed.ids.size());
  }
  call(sessions.data(), ids.data(), counts.data());
}

inline void sessions_eval(std::span<const Feed> feeds) {
  with_feeds(feeds, [&](auto* sessions, auto* ids, auto* counts) {
    check([&](klens_error* e) {
      return klens_sessions_eval(sessions, ids, counts, feeds.size(), e);
    });
  });
}
inline std::vector<Fed> sessions_round(std::span<const Feed> feeds) {
  std::vector<size_t> fed(feeds.size() + 1);
  std::vector<klens_status> statuses(feeds.size() + 1);
  with_feeds(feeds, [&](auto* sessions, auto* ids, auto* counts) {
    check([&](klens_error* e) {
      return klens_sessions_round(sessions, ids, counts, feeds.size(), fed.data(), statuses.data(),
                                  e);
    });
  });
  std::vector<Fed> result;
  for (size_t i = 0; i < feeds.size(); ++i) result.push_back({fed[i], statuses[i]});
  return result;
}

// May be used by many threads at once.
class PrefixCache {
 public:
  explicit PrefixCache(const Model& model, size_t max_bytes = 0)
      : model_(model),
        handle_(made<klens_prefix_cache>([&](klens_prefix_cache** cache, klens_error* e) {
          return klens_prefix_cache_new(model.get(), max_bytes, cache, e);
        })) {}

  klens_prefix_cache* get() const { return handle_.get(); }

  int64_t prompt(Session& session, std::span<const int32_t> ids, const Progress& progress = {}) {
    int64_t reused = 0;
    session.feed(progress, [&](klens_error* e) {
      return klens_prefix_cache_prompt(get(), session.get(), ids.data(), ids.size(), &reused, e);
    });
    return reused;
  }
  struct Taken {
    int64_t reused = 0, shared = 0;
  };
  // See klens_prefix_cache_take.
  Taken take(Session& session, std::span<const int32_t> ids) {
    Taken taken;
    check([&](klens_error* e) {
      return klens_prefix_cache_take(get(), session.get(), ids.data(), ids.size(), &taken.reused,
                                     &taken.shared, e);
    });
    return taken;
  }
  void keep(const Session& session) {
    check([&](klens_error* e) { return klens_prefix_cache_keep(get(), session.get(), e); });
  }
  size_t bytes() const { return klens_prefix_cache_bytes(get()); }

 private:
  Model model_;
  std::unique_ptr<klens_prefix_cache, Freer<klens_prefix_cache, klens_prefix_cache_free>> handle_;
};

class Grammar {
 public:
  // name: what messages call the text; "": "grammar" or "schema".
  Grammar(const Model& model, klens_grammar_kind kind, std::string_view text,
          const std::string& name = {})
      : handle_(made<klens_grammar>([&](klens_grammar** grammar, klens_error* e) {
          return klens_grammar_new(model.get(), kind, text.data(), text.size(),
                                   name.empty() ? nullptr : name.c_str(), grammar, e);
        })),
        vocab_(model.vocab()) {}

  const klens_grammar* get() const { return handle_.get(); }
  int32_t vocab() const { return vocab_; }

 private:
  std::unique_ptr<klens_grammar, Freer<klens_grammar, klens_grammar_free>> handle_;
  int32_t vocab_;
};

class GrammarState {
 public:
  explicit GrammarState(const Grammar& grammar)
      : GrammarState(made<klens_grammar_state>([&](klens_grammar_state** state, klens_error* e) {
                       return klens_grammar_state_new(grammar.get(), state, e);
                     }),
                     grammar.vocab()) {}

  klens_grammar_state* get() const { return handle_.get(); }

  GrammarState fork() const {
    return {made<klens_grammar_state>([&](klens_grammar_state** copy, klens_error* e) {
              return klens_grammar_state_fork(get(), copy, e);
            }),
            vocab_};
  }
  void reset() {
    check([&](klens_error* e) { return klens_grammar_state_reset(get(), e); });
  }
  void accept(int32_t id) {
    check([&](klens_error* e) { return klens_grammar_state_accept(get(), id, e); });
  }
  // A bit for each id.
  std::vector<uint64_t> mask() {
    std::vector<uint64_t> bits((static_cast<size_t>(vocab_) + 63) / 64);
    check([&](klens_error* e) {
      return klens_grammar_state_mask(get(), bits.data(), bits.size(), e);
    });
    return bits;
  }
  klens_grammar_progress progress() const { return klens_grammar_state_progress(get()); }

 private:
  GrammarState(klens_grammar_state* handle, int32_t vocab) : handle_(handle), vocab_(vocab) {}
  std::unique_ptr<klens_grammar_state, Freer<klens_grammar_state, klens_grammar_state_free>>
      handle_;
  int32_t vocab_;
};

class Sampler {
 public:
  explicit Sampler(const klens_sampler_options& options = sized<klens_sampler_options>())
      : handle_(made<klens_sampler>([&](klens_sampler** sampler, klens_error* e) {
          return klens_sampler_new(&options, sampler, e);
        })) {}
  // Chooses none of the ids that the model's tokenizer, if it has one, has no token for.
  Sampler(const Model& model, const klens_sampler_options& options) : Sampler(options) {
    use_tokenizer(model.tokenizer());
  }

  klens_sampler* get() const { return handle_.get(); }

  void use_tokenizer(const std::optional<Tokenizer>& tokenizer) {
    check([&](klens_error* e) {
      return klens_sampler_use_tokenizer(get(), tokenizer ? tokenizer->get() : nullptr, e);
    });
  }
  void accept(int32_t id) { klens_sampler_accept(get(), id); }
  int32_t sample(const Session& session) {
    int32_t id = 0;
    check([&](klens_error* e) { return klens_sampler_sample(get(), session.get(), &id, e); });
    return id;
  }
  // logits: [vocab], as eval_drafts gives them.
  int32_t sample(std::span<const float> logits) {
    int32_t id = 0;
    check([&](klens_error* e) {
      return klens_sampler_sample_logits(get(), logits.data(), logits.size(), &id, e);
    });
    return id;
  }
  // null: from now on any text may be.
  void use_grammar(const Grammar* grammar) {
    check([&](klens_error* e) {
      return klens_sampler_use_grammar(get(), grammar ? grammar->get() : nullptr, e);
    });
  }
  klens_grammar_progress grammar_progress() const { return klens_sampler_grammar_progress(get()); }

 private:
  std::unique_ptr<klens_sampler, Freer<klens_sampler, klens_sampler_free>> handle_;
};

// A vector of hidden_size() floats for each text, which is ids.
inline std::vector<std::vector<float>> embed(
    const Model& model, std::span<const std::vector<int32_t>> texts,
    klens_embed_options options = sized<klens_embed_options>(), const Progress& progress = {}) {
  const auto width = static_cast<size_t>(model.hidden_size());
  std::vector<const int32_t*> ids;
  std::vector<size_t> counts;
  for (const std::vector<int32_t>& text : texts) {
    ids.push_back(text.data());
    counts.push_back(text.size());
  }
  std::vector<float> all(texts.size() * width);
  WithProgress with(progress);
  with.put_into(options);
  with.check([&](klens_error* e) {
    return klens_embed(model.get(), ids.data(), counts.data(), texts.size(), &options, all.data(),
                       e);
  });
  std::vector<std::vector<float>> vectors;
  for (auto from = all.begin(); from != all.end(); from += static_cast<std::ptrdiff_t>(width))
    vectors.emplace_back(from, from + static_cast<std::ptrdiff_t>(width));
  return vectors;
}

// ---- jobs: their reports are JSON texts ---------------------------------------------------------

// A job whose options, or options within them, have fields for a progress.
template <class Options, class Call>
std::string job(Options& with_fields, const Progress& progress, Call&& call) {
  WithProgress with(progress);
  with.put_into(with_fields);
  char* json = nullptr;
  with.check([&](klens_error* e) { return call(&json, e); });
  const std::unique_ptr<char, void (*)(char*)> owner(json, klens_string_free);
  return json;
}

inline std::string perplexity(const Model& model, klens_text_options options,
                              const Progress& progress = {}) {
  return job(options, progress, [&](char** json, klens_error* e) {
    return klens_perplexity(model.get(), &options, json, e);
  });
}
inline std::string compare(const Model& a, const Model& b, klens_text_options options,
                           const Progress& progress = {}) {
  return job(options, progress, [&](char** json, klens_error* e) {
    return klens_compare(a.get(), b.get(), &options, json, e);
  });
}
inline void export_logits(const Model& model, std::span<const int32_t> ids,
                          const std::string& path) {
  check([&](klens_error* e) {
    return klens_export_logits(model.get(), ids.data(), ids.size(), path.c_str(), e);
  });
}
inline std::string profile(const Model& model,
                           klens_profile_options options = sized<klens_profile_options>(),
                           const Progress& progress = {}) {
  return job(options, progress, [&](char** json, klens_error* e) {
    return klens_profile(model.get(), &options, json, e);
  });
}
inline std::string plan(const std::string& profile_json, const klens_plan_options& options) {
  return text_of([&](char** json, klens_error* e) {
    return klens_plan(profile_json.c_str(), &options, json, e);
  });
}
inline std::string outliers(const std::string& scores,
                            const klens_outlier_options& options = sized<klens_outlier_options>()) {
  return text_of([&](char** json, klens_error* e) {
    return klens_outliers(scores.c_str(), &options, json, e);
  });
}
inline std::string rank_agreement(const std::string& profile_json) {
  return text_of([&](char** json, klens_error* e) {
    return klens_rank_agreement(profile_json.c_str(), json, e);
  });
}
// Of a job whose options point to those of a profile, which have the fields.
template <class Options, class Call>
std::string job_with_profile(Options& options, const Progress& progress, Call&& call) {
  klens_profile_options profile =
      options.profile != nullptr ? *options.profile : sized<klens_profile_options>();
  options.profile = &profile;
  return job(profile, progress, call);
}
inline std::string quantize(const Model& model, const std::string& out_path,
                            klens_quantize_options options, const Progress& progress = {}) {
  return job_with_profile(options, progress, [&](char** json, klens_error* e) {
    return klens_quantize(model.get(), out_path.c_str(), &options, json, e);
  });
}
inline std::string sweep(const Model& model,
                         klens_sweep_options options = sized<klens_sweep_options>(),
                         const Progress& progress = {}) {
  return job_with_profile(options, progress, [&](char** json, klens_error* e) {
    return klens_sweep(model.get(), &options, json, e);
  });
}
inline std::string bench(const Model& model,
                         klens_bench_options options = sized<klens_bench_options>(),
                         const Progress& progress = {}) {
  return job(options, progress, [&](char** json, klens_error* e) {
    return klens_bench(model.get(), &options, json, e);
  });
}

// ---- output files -------------------------------------------------------------------------------

inline void check_output(const std::string& path,
                         const klens_output_options& options = sized<klens_output_options>()) {
  check([&](klens_error* e) { return klens_check_output(path.c_str(), &options, e); });
}
inline void write_file(const std::string& path, std::string_view bytes) {
  check([&](klens_error* e) {
    return klens_write_file(path.c_str(), bytes.data(), bytes.size(), e);
  });
}

}  // namespace api
}  // namespace klens
