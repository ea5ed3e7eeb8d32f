#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/files.h"
#include "apps/cli/output.h"
#include "apps/generation.h"
#include "apps/serve/server.h"

namespace klens::apps {
namespace {

constexpr int64_t kUsualContext = 131072;  // of models that know no limit

// SIGTERM and SIGINT, waited for by one thread instead of interrupting any.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    ::sigaddset(&set_, SIGTERM);
    ::sigaddset(&set_, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~Signals() { release(); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  void wait() const {
    int which = 0;
    ::sigwait(&set_, &which);
  }
  // From now on they end the program.
  void release() const { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t set_{}, before_{};
};

HttpOptions read_http_options(const Arguments& arguments) {
  HttpOptions options;
  options.host = arguments.text_or("host", options.host);
  options.port = static_cast<int>(arguments.count("port", options.port, 0, 65535));
  options.connections = static_cast<size_t>(arguments.count("connections", 256, 1, 10000));
  options.limits.body_bytes =
      static_cast<size_t>(arguments.bytes("max-body").value_or(int64_t{4} << 20));
  options.hosts = arguments.texts("allow-host");
  options.origins = arguments.texts("allow-origin");
  options.key = arguments.text_or("api-key", "");
  if (arguments.given("api-key") && options.key.empty()) throw UsageError("--api-key is empty");
  options.log = arguments.text_or("log", arguments.flag("quiet") ? "none" : "");
  return options;
}

ServiceOptions read_service_options(const Arguments& arguments, const std::string& path) {
  ServiceOptions options;
  options.path = path;
  options.name = arguments.text_or("name", file_name(path));
  options.sampler = read_sampler_options(arguments);
  options.fixed_seed = arguments.given("seed");
  options.answer_tokens = arguments.count("max-tokens", 4096, 1);
  options.context_tokens = arguments.count("ctx", 0, 0);
  options.scheduler.batch = static_cast<size_t>(arguments.count("batch", 16, 1, 1024));
  options.scheduler.queue = static_cast<size_t>(arguments.count("queue", 128, 0, 100000));
  options.scheduler.part = read_session_options(arguments).batch;
  options.scheduler.drafts = static_cast<size_t>(read_drafts(arguments));
  const std::string cache = arguments.text_or("cache-memory", "1G");
  options.scheduler.cache_bytes =
      cache == "0"
          ? 0
          : static_cast<size_t>(arguments.bytes("cache-memory").value_or(int64_t{1} << 30));
  return options;
}

std::string url_of(const HttpOptions& http, int port) {
  const bool v6 = http.host.find(':') != std::string::npos;
  return "http://" + (v6 ? "[" + http.host + "]" : http.host) + ":" + std::to_string(port);
}

void run_serve(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  ServiceOptions options = read_service_options(arguments, path);
  const HttpOptions http = read_http_options(arguments);
  const bool quiet = arguments.flag("quiet");

  const Signals signals;  // before any thread begins: they inherit what is blocked
  ModelHandle model;      // outlives the server
  Server server(http);
  const auto file = arguments.text("chat-template");
  const std::string chat_template = file ? read_file(*file) : "";
  klens_model_options opening = read_model_options(arguments);
  if (file) opening.chat_template = chat_template.c_str();
  model = open_model(arguments, path, opening);
  tokenizer_of(model.get(), path);
  if (options.context_tokens == 0) options.context_tokens = klens_model_context_length(model.get());
  if (options.context_tokens == 0) options.context_tokens = kUsualContext;
  server.begin(model.get(), options);
  const std::string url = url_of(http, server.port());
  if (arguments.flag("json"))
    print_json({{"url", url}, {"model", options.name}, {"pid", ::getpid()}});
  else if (!quiet)
    std::fprintf(stderr, "klens: serving %s on %s\n", options.name.c_str(), url.c_str());
  signals.wait();
  if (!quiet)
    std::fprintf(stderr,
                 "klens: stopping when the answers under way are finished; once more ends them\n");
  signals.release();
  server.stop();
}

}  // namespace

Command serve_command() {
  OptionGroup output = general_options();
  output.options[0].help = "print one JSON object with url, model and pid once it listens";
  output.options.push_back({"q,quiet", "", "no log and no notices on standard error"});
  return {"serve",
          "MODEL [options]",
          "answer requests over HTTP, as OpenAI's API does",
          "Listens on this machine alone unless --host says otherwise, and ends at Ctrl-C or "
          "SIGTERM when the answers under way are finished. Requests are logged on standard error, "
          "a line of JSON each. apps/serve/README.md says what it answers.",
          "  klens serve MODEL\n"
          "  klens serve MODEL --host 0.0.0.0 --api-key SECRET --batch 32\n"
          "  curl localhost:8080/v1/completions -d '{\"prompt\": \"The river\"}'\n",
          {{"Server",
            {{"host", "ADDRESS", "listen there (default 127.0.0.1: this machine alone)"},
             {"port", "N", "listen on this port; 0: any that is free (default 8080)"},
             {"api-key", "KEY", "answer only who sends it (Authorization: Bearer KEY)"},
             {"allow-host", "NAME",
              "answer to this name, too, not only to addresses and this machine's names; may be "
              "repeated"},
             {"allow-origin", "URL",
              "answer pages of this origin, as https://chat.example; may be repeated"},
             {"name", "NAME", "what clients call the model (default: its file's name)"},
             {"chat-template", "FILE", "Jinja in FILE in place of the model's chat template"},
             {"log", "FILE", "log requests there; none: nowhere (default: standard error)"}}},
           {"Limits",
            {{"batch", "N", "answers made at once (default 16)"},
             {"queue", "N", "answers that may wait; more are told to come later (default 128)"},
             {"c,ctx,ctx-size", "N",
              "tokens of a prompt with its answer at most (default: what the model was trained "
              "on, or 131072)"},
             {"max-tokens", "N", "tokens of an answer at most (default 4096)"},
             {"b,batch-size", "N", "prompt tokens processed at once, in 64s (default 512)"},
             {"cache-memory", "BYTES",
              "memory for prompts that were read, so that what begins alike is read once; 0: none "
              "(default 1G)"},
             {"connections", "N", "connections at once (default 256)"},
             {"max-body", "BYTES", "of a request at most (default 4M)"}}},
           [] {
             OptionGroup group = sampling_options();
             for (const OptionSpec& option : draft_options()) group.options.push_back(option);
             return group;
           }(),
           model_options(),
           std::move(output)},
          run_serve};
}

}  // namespace klens::apps
