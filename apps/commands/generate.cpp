#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/generation.h"
#include "apps/terminal/interrupt.h"
#include "apps/terminal/style.h"

namespace klens::apps {
namespace {

std::vector<int32_t> read_prompt(const Arguments& arguments, const klens_model* model,
                                 const std::string& path) {
  const std::string source = arguments.one_of({"prompt", "file", "ids"});
  if (source == "ids") return read_ids(*arguments.text("ids"), klens_model_vocab(model));
  const std::string given = *arguments.text(source);
  const std::string text = source == "file" || given == "-" ? read_file(given) : given;
  std::vector<int32_t> ids = tokenize(tokenizer_of(model, path), text, true);
  if (!ids.empty()) return ids;
  // Not every tokenizer adds the token that texts begin with.
  if (const int32_t bos = klens_model_bos(model); bos >= 0) return {bos};
  throw Error("the prompt is empty, and this model has no token to start from");
}

// The text of ids as it grows; for a model without a tokenizer, the ids themselves.
class TextStream {
 public:
  TextStream(const klens_tokenizer* tokenizer, bool stream)
      : decoder_(tokenizer != nullptr ? new_decoder(tokenizer, true) : nullptr), stream_(stream) {}

  // Everything goes through one decoder: some give the first token's leading space special
  // treatment.
  void push(int32_t id, bool show) {
    add(decoder_ ? klens::push(decoder_.get(), id) : std::to_string(id) + " ", show);
  }
  void finish(bool show) { add(decoder_ ? klens::finish(decoder_.get()) : "", show); }
  const std::string& text() const { return text_; }

 private:
  void add(const std::string& piece, bool show) {
    text_ += piece;
    if (!stream_ || !show || piece.empty()) return;
    print(piece);
    flush_output();
  }

  DecoderHandle decoder_;
  bool stream_;
  std::string text_;
};

void run(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  if (arguments.one_of({"prompt", "file", "ids"}).empty())
    throw UsageError("there is no prompt: give one with -p, -f or --ids");
  const int64_t predict = arguments.count("predict", 128, 0);
  const int64_t most = arguments.count("ctx", 0, 0);
  const klens_sampler_options sampler_options = read_sampler_options(arguments);
  const bool json = arguments.flag("json"), ignore_end = arguments.flag("ignore-eos");
  const bool show_prompt = !arguments.flag("no-display-prompt");
  const bool quiet = arguments.flag("quiet");
  const klens_session_options session_options = read_session_options(arguments);

  const ModelHandle model = open_model(arguments, path);
  const std::vector<int32_t> prompt = read_prompt(arguments, model.get(), path);
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  if (most > 0 && prompt_tokens > most)
    throw Error("the prompt has " + std::to_string(prompt_tokens) + " tokens, more than --ctx " +
                std::to_string(most));
  const TokenLimit limit = token_limit(predict, most, prompt_tokens);
  const SessionHandle session = new_session(model.get(), session_options);
  // With --ids whatever the model chooses is shown.
  const SamplerHandle sampler =
      new_sampler(sampler_options, arguments.one_of({"prompt", "file", "ids"}) == "ids"
                                       ? nullptr
                                       : klens_model_tokenizer(model.get()));

  const InterruptScope interrupts;
  const Speed prefill = feed(session.get(), prompt, 0, prompt.size(), session_options.batch, quiet);
  TextStream stream(klens_model_tokenizer(model.get()), !json);
  for (const int32_t id : prompt) {
    klens_sampler_accept(sampler.get(), id);
    stream.push(id, show_prompt);
  }
  const size_t prompt_bytes = stream.text().size();
  Continuation made;
  made.reason = StopReason::kInterrupt;
  if (prefill.tokens == prompt_tokens)
    made = continue_session(model.get(), session.get(), sampler.get(), limit.tokens, ignore_end,
                            quiet || (!json && is_terminal(STDOUT_FILENO)),
                            [&](int32_t id) { stream.push(id, true); });
  stream.finish(true);

  std::vector<int32_t> ids = prompt;
  ids.insert(ids.end(), made.ids.begin(), made.ids.end());
  const auto warn = [&] {
    if (!quiet) notice_wide_caches(session.get());
    warn_beyond_context(model.get(), static_cast<int64_t>(ids.size()),
                        "the prompt and its continuation", quiet);
  };
  if (json) {
    nlohmann::ordered_json result = {{"ids", ids},
                                     {"text", stream.text()},
                                     {"continuation", stream.text().substr(prompt_bytes)},
                                     {"prompt_tokens", prompt_tokens},
                                     {"generated_tokens", made.ids.size()},
                                     {"prefill_tok_s", prefill.per_second()},
                                     {"decode_tok_s", made.decode.per_second()},
                                     {"stop", name_of(made.reason)}};
    print_json(result);
    warn();
    return;
  }
  print("\n");
  flush_output();
  if (!quiet) {
    const std::string limited = made.reason == StopReason::kLimit ? ": " + limit.reason : "";
    std::fprintf(stderr,
                 "prompt %lld tokens, %.1f tok/s; generated %zu tokens, %.1f tok/s (%s%s)\n",
                 static_cast<long long>(prompt_tokens), prefill.per_second(), made.ids.size(),
                 made.decode.per_second(), name_of(made.reason), limited.c_str());
  }
  warn();
}

}  // namespace

Command generate_command() {
  return {
      "generate",
      "MODEL -p TEXT [options]",
      "continue a text",
      "Prints the prompt and its continuation as it is produced. Stops after -n tokens, at the end "
      "of the text, or at Ctrl-C.\nJSON: ids and text are those of prompt and continuation "
      "together; decode_tok_s counts the tokens after the first.",
      "  klens generate MODEL -p \"The river\" -n 64\n"
      "  klens generate MODEL -p \"The river\" --greedy --json\n"
      "  echo \"The river\" | klens generate MODEL -f - --seed 7 --temp 1.1\n",
      {{"Prompt",
        {{"p,prompt", "TEXT",
          "the text to continue, from its beginning if it is \"\"; - reads standard input"},
         {"f,file", "FILE", "the text is in FILE; - reads standard input"},
         {"ids", "FILE", "token ids instead, decimal, between white space; needs no tokenizer"},
         {"n,predict,n-predict", "N",
          "at most N new tokens (default 128); 0: the prompt is only read"},
         {"ignore-eos", "", "go on after an end-of-text token"},
         {"c,ctx,ctx-size", "N", "at most N tokens, prompt included; 0: no limit (default)"},
         {"b,batch-size", "N", "prompt tokens processed at once, in 64s (default 512)"},
         {"no-display-prompt", "", "print the continuation only"}}},
       sampling_options(),
       model_options(),
       [] {
         OptionGroup group = general_options();
         group.options.insert(group.options.begin() + 1,
                              {"q,quiet", "", "no progress, speeds or notices on standard error"});
         return group;
       }()},
      run};
}

}  // namespace klens::apps
