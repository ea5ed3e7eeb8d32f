#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/chat/conversation.h"
#include "apps/chat/line_reader.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "apps/terminal/interrupt.h"

namespace klens::apps {
namespace {

constexpr const char* kHelp =
    "/reset       forget the conversation\n"
    "/save FILE   keep it in FILE and FILE.json\n"
    "/load FILE   go on with a kept one\n"
    "/stats       tokens, memory and speed\n"
    "/help        this list\n"
    "/quit        leave (or Ctrl-D)\n"
    "Ctrl-C stops an answer; a line that ends in \\ goes on in the next.\n";

void say(const std::string& text) { std::fputs(text.c_str(), stderr); }

// True if the chat goes on.
bool run_slash_command(const std::string& line, Conversation& conversation) {
  const size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const size_t begin = space == std::string::npos ? space : line.find_first_not_of(' ', space);
  const std::string rest = begin == std::string::npos ? "" : line.substr(begin);
  if (name == "/quit" || name == "/exit") return false;
  if ((name == "/save" || name == "/load") && rest.empty()) {
    say(name + " needs a file name\n");
  } else if (name == "/save") {
    conversation.save(rest);
    say("saved\n");
  } else if (name == "/load") {
    conversation.load(rest);
    say(formatted("loaded, %zu messages\n", conversation.messages().size()));
  } else if (name == "/reset") {
    conversation.reset();
    say("the conversation starts anew\n");
  } else if (name == "/stats") {
    say(conversation.stats());
  } else if (name == "/help") {
    say(kHelp);
  } else {
    say("there is no " + name + "; /help lists what there is\n");
  }
  return true;
}

void talk(LineReader& reader, Conversation& conversation, bool json) {
  for (std::string line;;) {
    const LineReader::Result result = reader.read(line);
    if (result == LineReader::Result::kEnd) return;
    if (result == LineReader::Result::kInterrupted) {
      say("(Ctrl-D or /quit leaves)\n");
      continue;
    }
    if (line.empty()) continue;
    const InterruptScope interrupts;
    const auto on_text = [&](std::string_view text) {
      if (json) return;
      print(text);
      flush_output();
    };
    // In an interactive chat a mistake must not end the conversation; a script needs the exit code.
    try {
      if (line[0] == '/') {
        if (!run_slash_command(line, conversation)) return;
        continue;
      }
      conversation.answer(line, on_text);
    } catch (const std::runtime_error& e) {
      if (!reader.interactive() || std::ferror(stdout) != 0) throw Error(e.what());
      say(std::string("klens: ") + e.what() + "\n");
      continue;
    }
    on_text("\n");
  }
}

// 0: the default; negative: none.
int64_t checkpoint_bytes(const Arguments& arguments) {
  if (arguments.text("checkpoint-memory") == "0") return -1;
  return arguments.bytes("checkpoint-memory").value_or(0);
}

void run(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  ChatOptions options;
  options.sampler = read_sampler_options(arguments);
  options.session = read_session_options(arguments);
  options.model_path = path;
  options.session.checkpoint_bytes = checkpoint_bytes(arguments);
  options.system = arguments.text_or("system", "");
  options.answer_tokens = arguments.count("predict", 256, 1);
  options.context_tokens = arguments.count("ctx", 0, 0);
  options.ignore_end = arguments.flag("ignore-eos");
  const bool json = arguments.flag("json"), quiet = arguments.flag("quiet");
  const ModelHandle model = open_model(arguments, path);
  Conversation conversation(model.get(), tokenizer_of(model.get(), path), options);
  LineReader reader;
  if (reader.interactive() && !quiet) {
    say(std::string("klens ") + klens_version() + ", " + path + "; /help lists what there is\n");
    if (!conversation.has_template())
      say("This model has no chat template: it continues the running text of both of you.\n");
  }
  talk(reader, conversation, json);
  if (json) print_json({{"messages", conversation.messages()}});
}

}  // namespace

Command chat_command() {
  OptionGroup output = general_options();
  output.options.push_back({"q,quiet", "", "no greeting"});
  return {"chat",
          "MODEL [options]",
          "talk with a model",
          "Reads your messages line by line, from a terminal with line editing and history, and "
          "streams the answers. Uses the model's chat template; a model without one continues the "
          "running text of both sides. Only what is new is fed to the model. Ctrl-C stops an "
          "answer, Ctrl-D ends the chat; /help lists commands such as /save and /load. With --json "
          "the messages are printed at the end, in one object.",
          "  klens chat MODEL\n"
          "  klens chat model.klens --system \"You answer briefly.\" --temp 0.5\n"
          "  printf 'Once upon a time\\n' | klens chat MODEL -n 50 --seed 3\n",
          {{"Conversation",
            {{"system", "TEXT", "the system message"},
             {"n,predict,n-predict", "N", "at most N tokens per answer (default 256)"},
             {"c,ctx,ctx-size", "N", "at most N tokens in all; 0: no limit (default)"},
             {"b,batch-size", "N", "prompt tokens processed at once, in 64s (default 512)"},
             {"checkpoint-memory", "SIZE",
              "keep at most SIZE of earlier states to go back to (default 512M; 0: none)"},
             {"ignore-eos", "", "go on after an end-of-text token"}}},
           sampling_options(),
           model_options(),
           output},
          run};
}

}  // namespace klens::apps
