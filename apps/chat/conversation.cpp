#include "apps/chat/conversation.h"

#include <algorithm>

#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/stop_text.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

// How many of the first `count` of `old` `ids` begins with.
int64_t common(const std::vector<int32_t>& ids, const std::vector<int32_t>& old, size_t count) {
  const auto end = old.begin() + static_cast<ptrdiff_t>(count);
  return std::mismatch(ids.begin(), ids.end(), old.begin(), end).first - ids.begin();
}

std::string sidecar(const std::string& path) { return path + ".json"; }

bool is_message(const ordered_json& message) {
  return message.is_object() && message.contains("role") && message["role"].is_string() &&
         message.contains("content") && message["content"].is_string();
}

}  // namespace

Conversation::Conversation(klens_model* model, const klens_tokenizer* tokenizer,
                           const ChatOptions& options)
    : model_(model),
      tokenizer_(tokenizer),
      options_(options),
      has_template_(klens_model_has_chat_template(model) != 0),
      session_(new_session(model, options.session)),
      sampler_(new_sampler(options.sampler, tokenizer)),
      messages_(opening()) {}

ordered_json Conversation::opening() const {
  ordered_json messages = ordered_json::array();
  if (!options_.system.empty())
    messages.push_back({{"role", "system"}, {"content", options_.system}});
  return messages;
}

void Conversation::reset() {
  check([&](klens_error* e) { return klens_session_reset(session_.get(), e); });
  sampler_ = new_sampler(options_.sampler, tokenizer_);
  messages_ = opening();
  context_.clear();
  fed_ = 0;
  turn_begin_ = 0;
  again_ = 0;
}

void Conversation::set_system(const std::string& text) {
  if (!has_template_ && !context_.empty())
    throw Error("this model has no chat template: /reset first, as its text has begun");
  options_.system = text;
  ordered_json messages = opening();
  for (const ordered_json& message : messages_)
    if (message["role"] != "system") messages.push_back(message);
  messages_ = std::move(messages);
}

std::string Conversation::last_message() const {
  if (messages_.size() < 2 || messages_.back()["role"] != "assistant") return "";
  const ordered_json& message = messages_[messages_.size() - 2];
  return message["role"] == "user" ? message["content"].get<std::string>() : "";
}

void Conversation::renew_sampler(uint64_t seed) {
  klens_sampler_options sampling = options_.sampler;
  sampling.seed = seed;
  sampler_ = new_sampler(sampling, tokenizer_);
  for (size_t i = 0; i < fed_; ++i) klens_sampler_accept(sampler_.get(), context_[i]);
}

std::string Conversation::answer_again(const std::string& message,
                                       const std::function<void(std::string_view)>& on_text) {
  if (last_message().empty()) throw Error("there is no answered message yet");
  if (!has_template_ && !turn_begin_)
    throw Error("an earlier klens saved this chat: where its last turn begins is not known");
  const ordered_json before = messages_;
  messages_.erase(messages_.end() - 2, messages_.end());
  try {
    return answer_after(turn_begin_.value_or(0), message, on_text, true);
  } catch (...) {
    // What failed before the message was taken changes nothing.
    if (messages_.size() + 2 == before.size()) messages_ = before;
    throw;
  }
}

void Conversation::go_back_to(const std::vector<int32_t>& prompt) {
  const int64_t agreed = common(prompt, context_, fed_);
  int64_t reached = apps::rewind(session_.get(), agreed);
  // The logits after the last token are wanted: it is fed again where they are not known.
  const auto count = static_cast<int64_t>(prompt.size());
  if (reached == count && klens_session_logits(session_.get()) == nullptr)
    reached = apps::rewind(session_.get(), count - 1);
  fed_ = static_cast<size_t>(reached);
}

std::vector<int32_t> Conversation::rendered(const ordered_json& messages, bool for_answer) const {
  const std::string json = messages.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  const std::string prompt = text_of([&](char** text, klens_error* e) {
    return klens_chat_prompt(model_, json.c_str(), for_answer ? 1 : 0, text, e);
  });
  return tokenize(tokenizer_, prompt, false);  // templates write the special tokens out
}

Conversation::Prompt Conversation::next_prompt(size_t begun, const std::string& message) const {
  Prompt prompt;
  if (!has_template_) {
    std::string text = message;
    if (begun == 0 && !options_.system.empty()) text = options_.system + "\n" + message;
    if (begun > 0) text = "\n" + message;
    prompt.ids.assign(context_.begin(), context_.begin() + static_cast<ptrdiff_t>(begun));
    const std::vector<int32_t> more = tokenize(tokenizer_, text, begun == 0);
    prompt.ids.insert(prompt.ids.end(), more.begin(), more.end());
    return prompt;
  }
  ordered_json messages = messages_;
  messages.push_back({{"role", "user"}, {"content", message}});
  prompt.ids = rendered(messages, true);
  try {
    const std::vector<int32_t> told = rendered(messages, false);
    const auto differs =
        std::mismatch(told.begin(), told.end(), prompt.ids.begin(), prompt.ids.end());
    prompt.settled = static_cast<size_t>(differs.first - told.begin());
  } catch (const std::runtime_error&) {
    // A template may know no conversation that ends with a question.
  }
  return prompt;
}

void Conversation::feed_until(size_t end) {
  if (fed_ >= end) return;
  const Speed speed =
      feed(session_.get(), context_, fed_, end, options_.session.batch, options_.quiet);
  prefill_.tokens += speed.tokens;
  prefill_.seconds += speed.seconds;
  fed_ += static_cast<size_t>(speed.tokens);
  if (fed_ == end) checkpoint(session_.get());
}

std::string Conversation::answer(const std::string& message,
                                 const std::function<void(std::string_view)>& on_text) {
  return answer_after(context_.size(), message, on_text, false);
}

std::string Conversation::answer_after(size_t begun, const std::string& message,
                                       const std::function<void(std::string_view)>& on_text,
                                       bool again) {
  Prompt prompt = next_prompt(begun, message);
  if (prompt.ids.empty()) return "";
  const auto prompt_tokens = static_cast<int64_t>(prompt.ids.size());
  const TokenLimit limit =
      token_limit(options_.answer_tokens, options_.context_tokens, prompt_tokens);
  // An answer has at least one token, unless none is wanted.
  const int64_t least = prompt_tokens + std::min<int64_t>(options_.answer_tokens, 1);
  if (options_.context_tokens > 0 && least > options_.context_tokens)
    throw Error("this would be more than --ctx tokens; /reset starts anew");
  // Templates may write past turns otherwise than they were generated: the session goes back as far
  // as it must, usually to where what was settled of the last prompt ends.
  if (!has_template_) turn_begin_ = begun;
  go_back_to(prompt.ids);
  if (again) renew_sampler(options_.sampler.seed + ++again_);
  for (size_t i = fed_; i < prompt.ids.size(); ++i)
    klens_sampler_accept(sampler_.get(), prompt.ids[i]);
  context_ = std::move(prompt.ids);
  messages_.push_back({{"role", "user"}, {"content", message}});
  const DecoderHandle decoder = new_decoder(tokenizer_, true);
  if (!has_template_) {
    for (const int32_t id : context_) push(decoder.get(), id);  // the answer goes on mid-text
  }

  std::string text;
  StopText stop(options_.stops);
  const auto show = [&](const std::string& piece) {
    text += piece;
    if (!piece.empty()) on_text(piece);
  };
  prefill_ = {};
  feed_until(prompt.settled);
  feed_until(context_.size());
  made_ = {};
  bool cut = false;
  if (fed_ == context_.size()) {
    const auto on_token = [&](int32_t id, bool end, const float*) {
      if (end) return true;
      context_.push_back(id);
      show(stop.push(push(decoder.get(), id)));
      return !stop.found();
    };
    use_grammar(sampler_.get(), options_.grammar);
    const Voice voice{session_.get(), sampler_.get(), on_token};
    const bool silent = options_.quiet || options_.shows_answers;
    made_ =
        options_.drafts > 0
            ? continue_with_drafts(model_, voice, limit.tokens, options_.drafts,
                                   options_.ignore_end, silent)
            : continue_sessions(model_, {voice}, limit.tokens, options_.ignore_end, silent).front();
    cut = made_.reason == StopReason::kLimit && limit.tokens > 0;
    fed_ += static_cast<size_t>(made_.decode.tokens);
  }
  if (!stop.found()) {
    show(stop.push(finish(decoder.get())));
    show(stop.finish());
  }
  notice_wide_caches(session_.get());
  messages_.push_back({{"role", "assistant"}, {"content", text}});
  return cut ? limit.reason : "";
}

void Conversation::save(const std::string& path) const {
  if (fed_ == 0) throw Error("there is nothing to save yet");
  check_output(sidecar(path), ".json", {options_.model_path});  // both files, or neither
  check([&](klens_error* e) { return klens_session_save(session_.get(), path.c_str(), e); });
  ordered_json json = {
      {"klens_chat", 1}, {"messages", messages_}, {"ids", context_}, {"fed", fed_}};
  if (turn_begin_) json["turn"] = *turn_begin_;
  write_file(sidecar(path),
             json.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

void Conversation::load(const std::string& path) {
  const std::string name = sidecar(path);
  const ordered_json json = ordered_json::parse(read_file(name), nullptr, false);
  const auto bad = [&](const char* why) { return Error(name + " is not a saved chat: " + why); };
  if (!json.is_object() || json.value("klens_chat", ordered_json()) != 1)
    throw bad("no klens_chat 1");
  const ordered_json messages = json.value("messages", ordered_json());
  const ordered_json ids = json.value("ids", ordered_json());
  const ordered_json fed = json.value("fed", ordered_json());
  if (!messages.is_array() || !std::all_of(messages.begin(), messages.end(), is_message))
    throw bad("bad messages");
  const int32_t vocab = klens_model_vocab(model_);
  if (!ids.is_array() || !std::all_of(ids.begin(), ids.end(), [](const ordered_json& id) {
        return id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX;
      }))
    throw bad("bad ids");
  if (std::any_of(ids.begin(), ids.end(),
                  [&](const ordered_json& id) { return id.get<int32_t>() >= vocab; }))
    throw Error(name + ": was saved from another model: it has ids beyond this one's vocabulary");
  if (!fed.is_number_unsigned() || fed.get<uint64_t>() > ids.size()) throw bad("bad fed");
  const ordered_json turn = json.value("turn", ordered_json());
  if (!turn.is_null() && (!turn.is_number_unsigned() || turn.get<uint64_t>() > ids.size()))
    throw bad("bad turn");
  // Into a session of its own: a failure leaves this conversation as it is.
  SessionHandle session = new_session(model_, options_.session);
  check([&](klens_error* e) { return klens_session_load(session.get(), path.c_str(), e); });
  std::vector<int32_t> context = ids.get<std::vector<int32_t>>();
  const auto read = static_cast<size_t>(klens_session_position(session.get()));
  if (read != fed.get<size_t>() ||
      !std::equal(context.begin(), context.begin() + static_cast<ptrdiff_t>(read),
                  klens_session_ids(session.get())))
    throw bad("it belongs to another session file");
  session_ = std::move(session);
  messages_ = messages;
  context_ = std::move(context);
  fed_ = read;
  turn_begin_ = turn.is_null() ? std::nullopt : std::optional(turn.get<size_t>());
  renew_sampler(options_.sampler.seed);
}

std::string Conversation::stats() const {
  return formatted(
             "%zu tokens, session %s; last answer: prompt %lld tokens at %.1f tok/s, "
             "generated at %.1f tok/s",
             context_.size(),
             human_bytes(static_cast<double>(klens_session_bytes(session_.get()))).c_str(),
             static_cast<long long>(prefill_.tokens), prefill_.per_second(),
             made_.decode.per_second()) +
         (options_.drafts > 0 ? ", " + draft_report(made_) : "");
}

}  // namespace klens::apps
