#pragma once
#include <httplib.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "apps/serve/constraint.h"
#include "apps/serve/fields.h"
#include "apps/serve/http_server.h"
#include "apps/serve/metrics.h"
#include "apps/serve/options.h"
#include "apps/serve/scheduler.h"
#include "klens/klens.hpp"

namespace klens::apps {

// The model and what every route needs of it.
struct Service {
  Service(klens_model* of, const ServiceOptions& given, Metrics& counted);

  klens_model* model;
  const klens_tokenizer* tokenizer;
  ServiceOptions options;
  Metrics& metrics;
  Json facts;                    // what klens_inspect says of the model
  int64_t created;               // seconds since 1970
  std::vector<int32_t> markers;  // special tokens that answers of chats keep: see answer_parser.h
  Grammars grammars;
  std::mutex embedding;  // held while vectors are made
  Scheduler scheduler;
};

// The routes by concern, each in a file of its name.
void add_model_routes(HttpServer& server, Service& service);  // models, health, metrics
void add_text_routes(HttpServer& server, Service& service);   // tokenize, apply-template
void add_page(HttpServer& server);                            // the page to chat with
void add_completions(HttpServer& server, Service& service);
void add_chat(HttpServer& server, Service& service);
void add_responses(HttpServer& server, Service& service);
void add_embeddings(HttpServer& server, Service& service);

// Tokens of a text that a client sent; special: with those that texts begin with.
std::vector<int32_t> tokens_of(const Service& service, const std::string& text, bool special);

// A name that is not given twice: "chatcmpl-" and letters and digits by chance.
std::string new_id(const std::string& prefix, size_t letters = 24);
std::string new_call_id();  // of a tool's call

}  // namespace klens::apps
