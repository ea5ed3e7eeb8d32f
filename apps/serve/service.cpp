#include "apps/serve/service.h"

#include <chrono>
#include <random>

#include "apps/serve/answer_parser.h"

namespace klens::apps {

Service::Service(klens_model* of, const ServiceOptions& given, Metrics& counted)
    : model(of),
      tokenizer(klens_model_tokenizer(of)),
      options(given),
      metrics(counted),
      facts(Json::parse(text_of([&](char** json, klens_error* e) {
        return klens_inspect(given.path.c_str(), 0, json, e);
      }))),
      created(std::chrono::duration_cast<std::chrono::seconds>(
                  std::chrono::system_clock::now().time_since_epoch())
                  .count()),
      markers(special_markers(tokenizer)),
      grammars(of),
      scheduler(of, given.scheduler, counted) {}

std::vector<int32_t> tokens_of(const Service& service, const std::string& text, bool special) {
  return tokenize(service.tokenizer, text, special);
}

std::string new_id(const std::string& prefix, size_t letters) {
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  thread_local std::mt19937_64 random{(uint64_t{std::random_device{}()} << 32) |
                                      std::random_device{}()};
  std::string id = prefix;
  for (size_t i = 0; i < letters; ++i) id += kLetters[random() % (sizeof kLetters - 1)];
  return id;
}

std::string new_call_id() { return new_id("", 9); }  // Mistral's templates take no others

}  // namespace klens::apps
