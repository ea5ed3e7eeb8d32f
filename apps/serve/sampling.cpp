#include "apps/serve/sampling.h"

#include <algorithm>
#include <random>

namespace klens::apps {
namespace {

constexpr size_t kMostStops = 16, kLongestStop = 256;

void read_stops(const Fields& fields, Ask& ask) {
  ask.stops = fields.texts("stop");
  std::erase(ask.stops, "");
  if (ask.stops.size() > kMostStops)
    fields.refuse("stop", "may have " + std::to_string(kMostStops) + " strings at most");
  for (const std::string& stop : ask.stops)
    if (stop.size() > kLongestStop)
      fields.refuse("stop", "has a string of more than " + std::to_string(kLongestStop) + " bytes");
}

uint64_t seed_of(const Fields& fields, const Service& service) {
  if (const Json* seed = fields.find("seed")) {
    if (!seed->is_number_integer()) fields.refuse("seed", "must be a whole number");
    return seed->is_number_unsigned() ? seed->get<uint64_t>()
                                      : static_cast<uint64_t>(seed->get<int64_t>());
  }
  if (service.options.fixed_seed) return service.options.sampler.seed;
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

}  // namespace

void read_sampling(const Fields& fields, const Service& service, Ask& ask) {
  ask.sampler = service.options.sampler;
  const auto set = [&](const char* name, double least, double most, float& value) {
    if (const auto given = fields.number(name, least, most)) value = static_cast<float>(*given);
  };
  set("temperature", 0, 1000, ask.sampler.temperature);
  set("top_p", 0, 1, ask.sampler.top_p);
  set("min_p", 0, 1, ask.sampler.min_p);
  set("repeat_penalty", 0.01, 100, ask.sampler.repeat_penalty);
  if (const auto top_k = fields.count("top_k", -1, INT32_MAX))
    ask.sampler.top_k = static_cast<int32_t>(std::max<int64_t>(*top_k, 0));
  ask.sampler.seed = seed_of(fields, service);
  ask.choices = static_cast<size_t>(
      fields.count("n", 1, static_cast<int64_t>(service.options.scheduler.batch)).value_or(1));
  ask.ignore_end = fields.flag("ignore_eos", false);
  read_stops(fields, ask);
  fields.only("frequency_penalty", {0});
  fields.only("presence_penalty", {0});
  fields.only("logit_bias", {Json::object()});
}

void limit_answer(const Service& service, std::optional<int64_t> asked, const char* name,
                  Ask& ask) {
  const auto prompt = static_cast<int64_t>(ask.ids.size());
  const int64_t most = service.options.context_tokens, left = most - prompt;
  if (left < 1)
    throw ApiError(400,
                   "the prompt has " + std::to_string(prompt) + " tokens; with an answer, " +
                       std::to_string(most) + " are allowed (--ctx)",
                   "", "context_length_exceeded");
  if (asked && *asked > service.options.answer_tokens)
    throw ApiError(400,
                   std::string(name) + " may be " + std::to_string(service.options.answer_tokens) +
                       " at most (--max-tokens)",
                   name);
  ask.most = std::min(asked.value_or(service.options.answer_tokens), left);
}

}  // namespace klens::apps
