#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/chat/conversation.h"
#include "apps/chat/dialogue.h"
#include "apps/chat/line_reader.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/constraint.h"
#include "apps/terminal/style.h"

namespace klens::apps {
namespace {

// 0: the default; negative: none.
int64_t checkpoint_bytes(const Arguments& arguments) {
  if (arguments.text("checkpoint-memory") == "0") return -1;
  return arguments.bytes("checkpoint-memory").value_or(0);
}

ChatOptions read_chat_options(const Arguments& arguments) {
  ChatOptions options;
  options.model_path = model_path(arguments);
  options.sampler = read_sampler_options(arguments);
  options.session = read_session_options(arguments);
  options.session.checkpoint_bytes = checkpoint_bytes(arguments);
  options.system = arguments.text_or("system", "");
  options.stops = read_stops(arguments);
  options.answer_tokens = arguments.count("predict", 256, 0);
  options.context_tokens = arguments.count("ctx", 0, 0);
  options.drafts = read_drafts(arguments);
  options.ignore_end = arguments.flag("ignore-eos");
  options.quiet = arguments.flag("quiet");
  options.shows_answers = !arguments.flag("json") && is_terminal(STDOUT_FILENO);
  return options;
}

// Without the line's end that a shell's echo adds.
std::string piped_message() {
  std::string message = read_file("-");
  if (message.ends_with('\n')) message.pop_back();
  return message;
}

void greet(const Conversation& conversation, const std::string& path) {
  std::fprintf(stderr, "klens %s, %s; /help lists what there is\n", klens_version(), path.c_str());
  if (!conversation.has_template())
    std::fputs("This model has no chat template: it continues the running text of both of you.\n",
               stderr);
}

// Messages that are typed or piped, until their end. False where a command of a script failed: who
// types has seen it.
bool talk(Dialogue& dialogue, const Conversation& conversation, const ChatOptions& options) {
  LineReader reader;
  if (reader.interactive() && !options.quiet) greet(conversation, options.model_path);
  dialogue.run(reader);
  return reader.interactive() || !dialogue.command_failed();
}

void run_chat(const Arguments& arguments) {
  ChatOptions options = read_chat_options(arguments);
  const bool json = arguments.flag("json");
  const auto message = arguments.text("prompt"), saved = arguments.text("save"),
             kept = arguments.text("load"), file = arguments.text("chat-template");
  if (saved) check_output(*saved, ".safetensors", {options.model_path}, false);
  const std::string chat_template = file ? read_file(*file) : "";
  klens_model_options opening = read_model_options(arguments);
  if (file) opening.chat_template = chat_template.c_str();
  const ModelHandle model = open_model(arguments, options.model_path, opening);
  if (options.drafts > 0) check_drafts(model.get());
  const GrammarHandle grammar = read_constraint(arguments, model.get());
  options.grammar = grammar.get();
  Conversation conversation(model.get(), tokenizer_of(model.get(), options.model_path), options);
  Dialogue dialogue(model.get(), conversation, {json, options.quiet});
  if (kept) dialogue.load(*kept);
  bool all_done = true;
  if (message)
    dialogue.say(*message == "-" ? piped_message() : *message);
  else
    all_done = talk(dialogue, conversation, options);
  if (json) print_json({{"messages", conversation.messages()}});
  if (saved) dialogue.save(*saved);
  if (!all_done) throw Error("a command of the chat failed, as said above");
}

}  // namespace

Command chat_command() {
  OptionGroup output = general_options();
  output.options.push_back({"q,quiet", "", "no greeting, progress or notices"});
  return {"chat",
          "MODEL [options]",
          "talk with a model",
          "Reads your messages line by line, from a terminal with line editing and history, and "
          "streams the answers. Uses the model's chat template; a model without one continues the "
          "running text of both sides. Only what is new is fed to the model. Ctrl-C stops an "
          "answer, Ctrl-D ends the chat; /help lists commands such as /regenerate and /save. One "
          "that fails says why, and the chat goes on; where nobody types, the exit code is 1 at "
          "its end. A message that begins with / is written with two: //. What is pasted into a "
          "terminal stays one message, line breaks and all. With --json the messages are printed "
          "at the end, in one object.",
          "  klens chat MODEL\n"
          "  klens chat model.klens --system \"You answer briefly.\" --temp 0.5\n"
          "  klens chat MODEL -p \"Name a river.\" --save talk\n"
          "  klens chat MODEL --load talk\n"
          "  printf 'Once upon a time\\n' | klens chat MODEL -n 50 --seed 3\n",
          {{"Conversation",
            {{"system", "TEXT", "the system message"},
             {"p,prompt", "TEXT", "one message, its answer, and no more; - reads standard input"},
             {"load", "FILE", "go on with the chat that --save or /save kept in FILE"},
             {"save", "FILE", "keep the chat in FILE and FILE.json when it ends"},
             {"chat-template", "FILE", "Jinja in FILE in place of the model's chat template"},
             stop_option(),
             {"n,predict,n-predict", "N",
              "at most N tokens per answer (default 256); 0: messages are only read"},
             {"c,ctx,ctx-size", "N", "at most N tokens in all; 0: no limit (default)"},
             {"b,batch-size", "N", "prompt tokens processed at once, in 64s (default 512)"},
             {"checkpoint-memory", "SIZE",
              "keep at most SIZE of earlier states to go back to (default 512M; 0: none)"},
             {"ignore-eos", "", "go on after an end-of-text token"}}},
           [] {
             OptionGroup group = sampling_options();
             for (const OptionSpec& option : draft_options()) group.options.push_back(option);
             return group;
           }(),
           constraint_options(),
           model_options(),
           output},
          run_chat};
}

}  // namespace klens::apps
