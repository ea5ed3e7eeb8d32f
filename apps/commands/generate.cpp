#include <unistd.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "apps/constraint.h"
#include "apps/generation.h"
#include "apps/input.h"
#include "apps/logprobs.h"
#include "apps/stop_text.h"
#include "apps/terminal/interrupt.h"
#include "apps/terminal/style.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

struct GenerateOptions {
  std::string path, form;  // form: "json", "jsonl" or ""
  int64_t predict = 0, ctx = 0;
  size_t samples = 1;
  std::optional<size_t> logprobs;  // the likeliest beside each token
  std::vector<std::string> stops;
  bool ignore_end = false, show_prompt = true, quiet = false;
  int64_t drafts = 0;
  klens_sampler_options sampler{};
  klens_session_options session{};

  explicit GenerateOptions(const Arguments& arguments)
      : path(model_path(arguments)),
        form(output_form(arguments)),
        predict(arguments.count("predict", 128, 0)),
        ctx(arguments.count("ctx", 0, 0)),
        samples(static_cast<size_t>(arguments.count("samples", 1, 1, 1024))),
        stops(read_stops(arguments)),
        ignore_end(arguments.flag("ignore-eos")),
        show_prompt(!arguments.flag("no-display-prompt")),
        quiet(arguments.flag("quiet")),
        drafts(samples > 1 && arguments.silenced("draft", "samples") ? 0 : read_drafts(arguments)),
        sampler(read_sampler_options(arguments)),
        session(read_session_options(arguments)) {
    if (arguments.given("logprobs"))
      logprobs = static_cast<size_t>(arguments.count("logprobs", 0, 0, 1000));
    if (drafts > 0 && samples > 1)
      throw UsageError("--draft goes with one sample; leave out --samples");
    if (logprobs && form == "") throw UsageError("--logprobs needs --json or --jsonl");
  }
};

// The text of ids as it grows; for a model without a tokenizer, the ids themselves.
class TextStream {
 public:
  TextStream(const klens_tokenizer* tokenizer, bool stream, std::vector<std::string> stops)
      : decoder_(tokenizer != nullptr ? new_decoder(tokenizer, true) : nullptr),
        stream_(stream),
        stop_(std::move(stops)) {}

  // Everything goes through one decoder: some give the first token's leading space special
  // treatment.
  void push_prompt(const std::vector<int32_t>& ids, bool show) {
    for (const int32_t id : ids) add(text_of(id), show);
    prompt_bytes_ = text_.size();
  }
  // False once a stop string was found.
  bool push(int32_t id) {
    add(stop_.push(text_of(id)), true);
    return !stop_.found();
  }
  void finish() {
    if (stop_.found()) return;
    add(stop_.push(decoder_ ? apps::finish(decoder_.get()) : ""), true);
    add(stop_.finish(), true);
  }
  const std::string& text() const { return text_; }
  std::string continuation() const { return text_.substr(prompt_bytes_); }

 private:
  std::string text_of(int32_t id) {
    return decoder_ ? apps::push(decoder_.get(), id) : std::to_string(id) + " ";
  }
  void add(const std::string& piece, bool show) {
    text_ += piece;
    if (!stream_ || !show || piece.empty()) return;
    print(piece);
    flush_output();
  }

  DecoderHandle decoder_;
  bool stream_;
  StopText stop_;
  std::string text_;
  size_t prompt_bytes_ = 0;
};

ordered_json logprob_json(const klens_tokenizer* tokenizer, const Logprob& logprob) {
  ordered_json json = {{"id", logprob.id}};
  if (tokenizer != nullptr) json["text"] = detokenize(tokenizer, {logprob.id}, false);
  json["logprob"] = logprob.value;
  return json;
}

// One continuation of the prompt, with a session and a seed of its own.
class Sample {
 public:
  Sample(const klens_model* model, const GenerateOptions& options, SessionHandle session,
         const klens_tokenizer* chosen_from, const klens_grammar* grammar,
         const std::vector<int32_t>& prompt, size_t index)
      : session_(std::move(session)),
        tokenizer_(klens_model_tokenizer(model)),
        vocab_(static_cast<size_t>(klens_model_vocab(model))),
        top_(options.logprobs),
        stream_(tokenizer_, options.form == "" && options.samples == 1, options.stops),
        index_(index),
        seed_(options.sampler.seed + index) {
    klens_sampler_options sampling = options.sampler;
    sampling.seed = seed_;
    sampler_ = new_sampler(sampling, chosen_from);
    use_grammar(sampler_.get(), grammar);
    for (const int32_t id : prompt) klens_sampler_accept(sampler_.get(), id);
    stream_.push_prompt(prompt, options.show_prompt);
  }

  Voice voice() {
    return {session_.get(), sampler_.get(), [this](int32_t id, bool end, const float* logits) {
              if (top_) note_logprobs(id, logits);
              return end || stream_.push(id);
            }};
  }
  void end(const Continuation& made) {
    made_ = made;
    stream_.finish();
  }

  const Continuation& made() const { return made_; }
  const klens_session* session() const { return session_.get(); }
  const TextStream& stream() const { return stream_; }
  size_t index() const { return index_; }
  uint64_t seed() const { return seed_; }
  const ordered_json& logprobs() const { return logprobs_; }

 private:
  void note_logprobs(int32_t id, const float* logits) {
    const std::vector<Logprob> all = apps::logprobs({logits, vocab_}, id, *top_);
    ordered_json token = logprob_json(tokenizer_, all[0]);
    token["top"] = ordered_json::array();
    for (size_t i = 1; i < all.size(); ++i)
      token["top"].push_back(logprob_json(tokenizer_, all[i]));
    logprobs_.push_back(std::move(token));
  }

  SessionHandle session_;
  SamplerHandle sampler_;
  const klens_tokenizer* tokenizer_;
  size_t vocab_;
  std::optional<size_t> top_;
  TextStream stream_;
  ordered_json logprobs_ = ordered_json::array();
  Continuation made_{.ids = {}, .reason = StopReason::kInterrupt, .decode = {}};
  size_t index_;
  uint64_t seed_;
};

// What was made, and how fast.
struct Result {
  const GenerateOptions& options;
  const std::vector<int32_t>& prompt;
  const std::vector<std::unique_ptr<Sample>>& samples;
  Speed prefill;
  TokenLimit limit;

  // Of all samples, which were decoded together.
  Speed decode() const {
    Speed all;
    for (const auto& sample : samples) {
      all.tokens += sample->made().decode.tokens;
      all.seconds = std::max(all.seconds, sample->made().decode.seconds);
    }
    return all;
  }
  size_t generated() const {
    size_t tokens = 0;
    for (const auto& sample : samples) tokens += sample->made().ids.size();
    return tokens;
  }
};

ordered_json sample_json(const Result& result, const Sample& sample) {
  std::vector<int32_t> ids = result.prompt;
  ids.insert(ids.end(), sample.made().ids.begin(), sample.made().ids.end());
  ordered_json json;
  if (result.samples.size() > 1 || result.options.form == "jsonl") json["sample"] = sample.index();
  json["seed"] = sample.seed();
  json["ids"] = ids;
  json["text"] = sample.stream().text();
  json["continuation"] = sample.stream().continuation();
  json["prompt_tokens"] = result.prompt.size();
  json["generated_tokens"] = sample.made().ids.size();
  json["prefill_tok_s"] = result.prefill.per_second();
  json["decode_tok_s"] = sample.made().decode.per_second();
  json["stop"] = name_of(sample.made().reason);
  if (result.options.drafts > 0) {
    json["drafted"] = sample.made().drafted;
    json["accepted"] = sample.made().accepted;
  }
  if (result.options.logprobs) json["logprobs"] = sample.logprobs();
  return json;
}

void print_result(const Result& result) {
  const bool several = result.samples.size() > 1;
  if (result.options.form == "jsonl") {
    for (const auto& sample : result.samples) print_json_line(sample_json(result, *sample));
  } else if (result.options.form == "json" && several) {
    ordered_json samples = ordered_json::array();
    for (const auto& sample : result.samples) samples.push_back(sample_json(result, *sample));
    print_json({{"prompt_tokens", result.prompt.size()},
                {"generated_tokens", result.generated()},
                {"prefill_tok_s", result.prefill.per_second()},
                {"decode_tok_s", result.decode().per_second()},
                {"samples", samples}});
  } else if (result.options.form == "json") {
    print_json(sample_json(result, *result.samples.front()));
  } else if (several) {
    for (const auto& sample : result.samples)
      print(
          formatted("--- sample %zu, seed %llu\n", sample->index() + 1,
                    static_cast<unsigned long long>(sample->seed())) +
          (result.options.show_prompt ? sample->stream().text() : sample->stream().continuation()) +
          "\n");
  } else {
    print("\n");  // the text was streamed
  }
  flush_output();
}

void print_speeds(const Result& result) {
  std::string reasons;
  for (const auto& sample : result.samples) {
    const std::string reason = name_of(sample->made().reason);
    const bool limited = sample->made().reason == StopReason::kLimit;
    const std::string said = limited ? reason + ": " + result.limit.reason : reason;
    if (reasons.find(said) == std::string::npos) reasons += (reasons.empty() ? "" : ", ") + said;
  }
  if (result.options.drafts > 0) reasons += "; " + draft_report(result.samples.front()->made());
  std::fprintf(stderr, "prompt %zu tokens, %.1f tok/s; generated %zu tokens, %.1f tok/s (%s)\n",
               result.prompt.size(), result.prefill.per_second(), result.generated(),
               result.decode().per_second(), reasons.c_str());
}

void run_generate(const Arguments& arguments) {
  const GenerateOptions options(arguments);
  const Input input(arguments);
  const ModelHandle model = open_model(arguments, options.path);
  if (options.drafts > 0) check_drafts(model.get());
  const std::vector<int32_t> prompt = input.tokens(model.get(), options.path);
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  if (options.ctx > 0 && prompt_tokens > options.ctx)
    throw Error("the prompt has " + std::to_string(prompt_tokens) + " tokens, more than --ctx " +
                std::to_string(options.ctx));
  // With --ids whatever the model chooses is shown.
  const klens_tokenizer* chosen_from =
      input.is_ids() ? nullptr : klens_model_tokenizer(model.get());

  const GrammarHandle grammar = read_constraint(arguments, model.get());

  const InterruptScope interrupts;
  SessionHandle session = new_session(model.get(), options.session);
  const Speed prefill =
      feed(session.get(), prompt, 0, prompt.size(), options.session.batch, options.quiet);
  std::vector<std::unique_ptr<Sample>> samples;
  std::vector<Voice> voices;
  for (size_t i = 0; i < options.samples; ++i) {
    const bool last = i + 1 == options.samples;
    samples.push_back(std::make_unique<Sample>(model.get(), options,
                                               last ? std::move(session) : fork(session.get()),
                                               chosen_from, grammar.get(), prompt, i));
    voices.push_back(samples.back()->voice());
  }
  const TokenLimit limit = token_limit(options.predict, options.ctx, prompt_tokens);
  std::vector<Continuation> made(samples.size(), samples.front()->made());
  const bool silent =
      options.quiet || (options.form == "" && is_terminal(STDOUT_FILENO) && samples.size() == 1);
  if (prefill.tokens == prompt_tokens && options.drafts > 0)
    made = {continue_with_drafts(model.get(), voices.front(), limit.tokens, options.drafts,
                                 options.ignore_end, silent)};
  else if (prefill.tokens == prompt_tokens)
    made = continue_sessions(model.get(), voices, limit.tokens, options.ignore_end, silent);
  size_t longest = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    samples[i]->end(made[i]);
    longest = std::max(longest, prompt.size() + made[i].ids.size());
  }
  const Result result{options, prompt, samples, prefill, limit};
  print_result(result);
  if (!options.quiet && options.form == "") print_speeds(result);
  for (const auto& sample : samples)
    if (!options.quiet) notice_wide_caches(sample->session());
  warn_beyond_context(model.get(), static_cast<int64_t>(longest), "the prompt and its continuation",
                      options.quiet);
}

}  // namespace

Command generate_command() {
  return {
      "generate",
      "MODEL -p TEXT [options]",
      "continue a text",
      "Prints the prompt and its continuation as it is produced. Stops after -n tokens, at the end "
      "of the text, before a --stop, or at Ctrl-C. Several samples are decoded together and "
      "printed at the end.\nJSON: ids and text are those of prompt and continuation together; "
      "decode_tok_s counts the tokens after the first. With several samples there is a list, "
      "samples, or a line for each with --jsonl.",
      "  klens generate MODEL -p \"The river\" -n 64\n"
      "  klens generate MODEL -p \"The river\" --greedy --json\n"
      "  klens generate MODEL -p \"The river\" --samples 4 --stop . --jsonl\n"
      "  klens generate MODEL -p \"A person:\" --json-schema person.json --draft ngram\n"
      "  echo \"The river\" | klens generate MODEL --seed 7 --temp 1.1\n",
      {{"Prompt",
        {{"p,prompt", "TEXT",
          "the text to continue, from its beginning if it is \"\"; - reads standard input, as a "
          "pipe does"},
         {"f,file", "FILE", "the text is in FILE; - reads standard input"},
         {"ids", "FILE", "token ids instead, decimal, between white space; needs no tokenizer"},
         {"n,predict,n-predict", "N",
          "at most N new tokens (default 128); 0: the prompt is only read"},
         stop_option(),
         {"samples", "N", "N continuations, with the seeds from --seed on (default 1)"},
         {"logprobs", "K",
          "with JSON: each token's log probability, before temperature and the like, and those of "
          "the K likeliest"},
         {"ignore-eos", "", "go on after an end-of-text token"},
         {"c,ctx,ctx-size", "N", "at most N tokens, prompt included; 0: no limit (default)"},
         {"b,batch-size", "N", "prompt tokens processed at once, in 64s (default 512)"},
         {"no-display-prompt", "", "print the continuation only"}}},
       [] {
         OptionGroup group = sampling_options();
         for (const OptionSpec& option : draft_options()) group.options.push_back(option);
         return group;
       }(),
       constraint_options(),
       model_options(),
       [] {
         OptionGroup group = general_options();
         group.options.insert(group.options.begin() + 1,
                              {"q,quiet", "", "no progress, speeds or notices on standard error"});
         group.options.insert(group.options.begin() + 1, jsonl_option("sample"));
         return group;
       }()},
      run_generate};
}

}  // namespace klens::apps
