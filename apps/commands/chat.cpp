#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/chat/conversation.h"
#include "apps/chat/line_reader.h"
#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/terminal/interrupt.h"
#include "apps/terminal/progress.h"
#include "apps/terminal/style.h"

namespace klens::apps {
namespace {

constexpr const char* kHelp =
    "/reset       forget the conversation\n"
    "/save FILE   keep it in FILE and FILE.json\n"
    "/load FILE   go on with a kept one\n"
    "/stats       tokens, memory and speed\n"
    "/help        this list\n"
    "/quit        leave (or Ctrl-D)\n"
    "//text       a message that begins with /; so does any of several lines\n"
    "Ctrl-C stops an answer; a line that ends in \\ goes on in the next; what is pasted\n"
    "stays one message.\n";

void say(const std::string& text) { std::fputs(text.c_str(), stderr); }

// "/save FILE" as {"/save", "FILE"}, without the spaces around FILE.
std::pair<std::string, std::string> name_and_rest(const std::string& line) {
  const size_t space = std::min(line.find(' '), line.size());
  const size_t begin = line.find_first_not_of(' ', space);
  if (begin == std::string::npos) return {line.substr(0, space), ""};
  return {line.substr(0, space), line.substr(begin, line.find_last_not_of(' ') + 1 - begin)};
}

// One line that begins with a slash is a command, unless it begins with two.
bool is_command(const std::string& text) {
  return text.starts_with('/') && !text.starts_with("//") && text.find('\n') == std::string::npos;
}

class Chat {
 public:
  Chat(const klens_model* model, Conversation& conversation, bool json, bool quiet)
      : model_(model), conversation_(conversation), json_(json), quiet_(quiet) {}

  void run(LineReader& reader) {
    for (std::string text; !ended_;) {
      const LineReader::Result result = reader.read(text);
      if (result == LineReader::Result::kEnd) return;
      if (result == LineReader::Result::kInterrupted) {
        say("(Ctrl-D or /quit leaves)\n");
        continue;
      }
      if (text.empty()) continue;
      const InterruptScope interrupts;
      const bool command = is_command(text);
      // A mistake must not end a conversation; a script whose message has no answer must not go on
      // as if it had.
      try {
        command ? obey(text) : answer(text.substr(text.starts_with("//") ? 1 : 0));
      } catch (const std::runtime_error& e) {
        if ((!command && !reader.interactive()) || std::ferror(stdout) != 0) throw Error(e.what());
        say(std::string("klens: ") + e.what() + "\n");
        failed_ = failed_ || command;
      }
    }
  }
  bool command_failed() const { return failed_; }

 private:
  void obey(const std::string& line) {
    const auto [name, rest] = name_and_rest(line);
    if (name == "/quit" || name == "/exit") {
      ended_ = true;
    } else if ((name == "/save" || name == "/load") && rest.empty()) {
      say(name + " needs a file name\n");
    } else if (name == "/save") {
      save(expand_home(rest));
    } else if (name == "/load") {
      load(expand_home(rest));
    } else if (name == "/reset") {
      conversation_.reset();
      told_ = false;
      say("the conversation starts anew\n");
    } else if (name == "/stats") {
      say(conversation_.stats());
    } else if (name == "/help") {
      say(kHelp);
    } else {
      say("there is no " + name +
          "; /help lists what there is; a message that begins with / is written with //\n");
    }
  }

  void save(const std::string& path) {
    {
      const StatusLine status(quiet_, "saving");
      conversation_.save(path);
    }
    say("saved\n");
  }

  void load(const std::string& path) {
    {
      const StatusLine status(quiet_, "loading");
      conversation_.load(path);
    }
    told_ = false;
    say(formatted("loaded, %zu messages\n", conversation_.messages().size()));
  }

  void answer(const std::string& message) {
    const auto on_text = [&](std::string_view text) {
      if (json_) return;
      print(text);
      flush_output();
    };
    const std::string cut = conversation_.answer(message, on_text);
    on_text("\n");
    if (quiet_) return;
    if (!cut.empty()) say("klens: the answer was cut short by " + cut + " (tokens)\n");
    const int64_t trained = klens_model_context_length(model_);
    if (told_ || trained == 0 || conversation_.tokens() <= trained) return;
    told_ = true;
    warn_beyond_context(model_, conversation_.tokens(), "a conversation", false);
  }

  const klens_model* model_;
  Conversation& conversation_;
  const bool json_, quiet_;
  bool ended_ = false;
  bool failed_ = false;  // a command
  bool told_ = false;  // that the conversation is longer than what the model was trained on
};

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
  options.answer_tokens = arguments.count("predict", 256, 0);
  options.context_tokens = arguments.count("ctx", 0, 0);
  options.ignore_end = arguments.flag("ignore-eos");
  const bool json = arguments.flag("json"), quiet = arguments.flag("quiet");
  options.quiet = quiet;
  options.shows_answers = !json && is_terminal(STDOUT_FILENO);
  const ModelHandle model = open_model(arguments, path);
  Conversation conversation(model.get(), tokenizer_of(model.get(), path), options);
  LineReader reader;
  if (reader.interactive() && !quiet) {
    say(std::string("klens ") + klens_version() + ", " + path + "; /help lists what there is\n");
    if (!conversation.has_template())
      say("This model has no chat template: it continues the running text of both of you.\n");
  }
  Chat chat(model.get(), conversation, json, quiet);
  chat.run(reader);
  if (json) print_json({{"messages", conversation.messages()}});
  // Who types has seen it; a script reads the exit code.
  if (chat.command_failed() && !reader.interactive())
    throw Error("a command of the chat failed, as said above");
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
          "answer, Ctrl-D ends the chat; /help lists commands such as /save and /load. One that "
          "fails says why, and the chat goes on; where nobody types, the exit code is 1 at its "
          "end. A message that begins with / is written with two: //. What is pasted into a "
          "terminal stays one message, line breaks and all. With --json the messages are printed "
          "at the end, in one object.",
          "  klens chat MODEL\n"
          "  klens chat model.klens --system \"You answer briefly.\" --temp 0.5\n"
          "  printf 'Once upon a time\\n' | klens chat MODEL -n 50 --seed 3\n",
          {{"Conversation",
            {{"system", "TEXT", "the system message"},
             {"n,predict,n-predict", "N",
              "at most N tokens per answer (default 256); 0: messages are only read"},
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
