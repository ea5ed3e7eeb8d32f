// The scheduler of klens serve, without HTTP: what an answer says depends on its ask alone.
#include "apps/serve/scheduler.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <thread>

using namespace klens;
using namespace klens::apps;
using namespace std::chrono_literals;

namespace {

ModelHandle demo_model() {
  klens_model_options options{};
  options.size = sizeof options;
  options.threads = 2;
  return open_model(KLENS_DEMO_MODEL, options);
}

Ask ask_for(std::vector<int32_t> ids, int64_t most, uint64_t seed) {
  Ask ask;
  ask.ids = std::move(ids);
  ask.sampler.size = sizeof ask.sampler;
  ask.sampler.temperature = 1;
  ask.sampler.top_k = 40;
  ask.sampler.seed = seed;
  ask.most = most;
  ask.ignore_end = true;
  return ask;
}

std::vector<int32_t> some_ids(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(4 + random() % 2000));
  return ids;
}

struct Said {
  std::string text;
  std::vector<double> logprobs;
  Finish finish = Finish::kFailed;
  Usage usage;

  bool same(const Said& other) const { return text == other.text && logprobs == other.logprobs; }
};

// All choices of a mailbox, by name.
std::map<size_t, Said> listen(Mailbox& mail, size_t choices) {
  std::map<size_t, Said> said;
  for (size_t ended = 0, waited = 0; ended < choices && waited < 600; ++waited)
    for (const Piece& piece : mail.take(100ms)) {
      Said& one = said[piece.choice];
      one.text += piece.text;
      for (const Scored& token : piece.tokens) one.logprobs.push_back(token.logprob);
      if (!piece.ended) continue;
      ++ended;
      one.finish = piece.finish;
      one.usage = piece.usage;
    }
  return said;
}

Said alone(Scheduler& scheduler, const Ask& ask) {
  const auto mail = std::make_shared<Mailbox>();
  scheduler.submit({ask}, mail);
  return listen(*mail, 1)[0];
}

}  // namespace

TEST_CASE("many answers at once are each as alone", "[scheduler]") {
  const ModelHandle model = demo_model();
  Metrics metrics;
  // Prompts of all lengths, some of which begin alike.
  std::vector<Ask> asks;
  const std::vector<int32_t> shared = some_ids(300, 1);
  for (uint64_t i = 0; i < 24; ++i) {
    std::vector<int32_t> ids = i % 3 == 0 ? shared : std::vector<int32_t>();
    const std::vector<int32_t> own = some_ids(1 + i * 17 % 200, 100 + i);
    ids.insert(ids.end(), own.begin(), own.end());
    asks.push_back(ask_for(ids, static_cast<int64_t>(1 + i * 7 % 30), i));
    asks.back().top_logprobs = i % 2 == 0 ? 0 : -1;
  }
  std::vector<Said> want;
  {
    Scheduler one(model.get(), {.batch = 1, .queue = 8, .part = 512, .cache_bytes = 0}, metrics);
    for (const Ask& ask : asks) want.push_back(alone(one, ask));
  }
#ifdef KLENS_SANITIZED  // takes forty seconds each
  const size_t cache = size_t{1} << 20;
  const int32_t part = 64;
#else
  const size_t cache = GENERATE(size_t{0}, size_t{1} << 20, size_t{1} << 28);
  const int32_t part = GENERATE(64, 512);
#endif
  CAPTURE(cache, part);
  Scheduler many(model.get(), {.batch = 6, .queue = 100, .part = part, .cache_bytes = cache},
                 metrics);
  std::atomic<int> wrong{0};
  for (int repeat = 0; repeat < 2; ++repeat) {
    std::vector<std::thread> clients;
    for (size_t i = 0; i < asks.size(); ++i)
      clients.emplace_back([&, i] {
        const Said said = alone(many, asks[i]);
        if (!said.same(want[i]) || said.finish != Finish::kLength) ++wrong;
      });
    for (std::thread& client : clients) client.join();
  }
  CHECK(wrong == 0);
  CHECK(many.cache_bytes() <= cache);
}

TEST_CASE("a cached answer is a cold one, and a prompt that is read is read once", "[scheduler]") {
  const ModelHandle model = demo_model();
  Metrics metrics;
  Scheduler scheduler(model.get(), {.batch = 8, .queue = 64, .part = 128, .cache_bytes = 1 << 28},
                      metrics);
  Scheduler cold(model.get(), {.batch = 8, .queue = 64, .part = 512, .cache_bytes = 0}, metrics);
  std::vector<int32_t> ids = some_ids(700, 5);
  Ask ask = ask_for(ids, 20, 3);
  ask.top_logprobs = 0;
  const Said first = alone(scheduler, ask), second = alone(scheduler, ask);
  CHECK(first.usage.cached == 0);
  CHECK(second.usage.cached == 640);
  CHECK(first.same(second));
  CHECK(first.same(alone(cold, ask)));
  // Where another parts from it a state is kept: for the third that does so.
  for (const int64_t cached : {0, 256}) {
    ids[300] = ids[300] == 7 ? 8 : 7;
    ids[301] = static_cast<int32_t>(9 + cached);
    ask = ask_for(ids, 5, 3);
    ask.top_logprobs = 0;
    const Said other = alone(scheduler, ask);
    CHECK(other.usage.cached == cached);
    CHECK(other.same(alone(cold, ask)));
  }
  // Several at once that begin alike, with nothing kept: the others wait for the first.
  std::vector<Ask> together;
  for (uint64_t i = 0; i < 4; ++i) {
    std::vector<int32_t> begin = some_ids(520, 77);
    const std::vector<int32_t> end = some_ids(20, 200 + i);
    begin.insert(begin.end(), end.begin(), end.end());
    together.push_back(ask_for(begin, 3, i));
    together.back().first_choice = i;
  }
  const auto mail = std::make_shared<Mailbox>();
  scheduler.submit(together, mail);
  std::map<size_t, Said> said = listen(*mail, 4);
  CHECK(said[0].usage.cached == 0);
  for (size_t i = 1; i < 4; ++i) CHECK(said[i].usage.cached == 512);
}

TEST_CASE("choices of one prompt are answers with seeds of their own", "[scheduler]") {
  const ModelHandle model = demo_model();
  Metrics metrics;
  Scheduler scheduler(model.get(), {.batch = 4, .queue = 16, .part = 128, .cache_bytes = 1 << 28},
                      metrics);
  Ask ask = ask_for(some_ids(128, 9), 10, 40);
  ask.choices = 4;
  ask.first_choice = 2;
  for (int repeat = 0; repeat < 2; ++repeat) {  // the second time all of the prompt is kept
    const auto mail = std::make_shared<Mailbox>();
    scheduler.submit({ask}, mail);
    std::map<size_t, Said> said = listen(*mail, 4);
    REQUIRE(said.size() == 4);
    for (size_t i = 0; i < 4; ++i) {
      const Said one = alone(scheduler, ask_for(ask.ids, 10, 40 + i));
      CHECK(said[2 + i].text == one.text);
      CHECK(said[2 + i].usage.made == 10);
    }
  }
}

TEST_CASE("drafts show in no answer, whoever comes and goes meanwhile", "[scheduler]") {
  const ModelHandle model = demo_model();
  Metrics without, with;
  const SchedulerLimits limits = {.batch = 4, .queue = 64, .part = 64, .cache_bytes = 1 << 26};
  Scheduler plain(model.get(), limits, without);
  std::vector<Ask> asks;
  const std::vector<int32_t> line = some_ids(30, 6);
  std::vector<int32_t> repeats;
  for (int i = 0; i < 5; ++i) repeats.insert(repeats.end(), line.begin(), line.end());
  for (uint64_t i = 0; i < 8; ++i) {
    asks.push_back(ask_for(i % 2 == 0 ? repeats : some_ids(70, i), 60, i));
    asks.back().sampler.temperature = i < 4 ? 0.0f : 0.3f;  // the likeliest text repeats itself
    if (i % 3 == 0) asks.back().sampler.repeat_penalty = 1.2f;
    asks.back().top_logprobs = 2;
  }
  // Texts that end within a pass: at a stop string, at their last token, where a grammar ends.
  asks.push_back(asks[0]);
  asks.back().stops = {alone(plain, asks[0]).text.substr(40, 4)};
  asks.push_back(asks[0]);
  asks.back().most = 37;
  asks.push_back(asks[0]);
  asks.back().grammar = std::shared_ptr<const klens_grammar>(
      new_grammar(model.get(), KLENS_GRAMMAR_GBNF, "root ::= (\"on and \"){8}", "test").release(),
      klens_grammar_free);
  std::vector<Said> want;
  for (const Ask& ask : asks) want.push_back(alone(plain, ask));
  CHECK(without.drafted.value() == 0);

  SchedulerLimits drafting = limits;
#ifdef KLENS_SANITIZED
  drafting.drafts = 4;
#else
  drafting.drafts = GENERATE(size_t{1}, size_t{4}, size_t{63});
#endif
  CAPTURE(drafting.drafts);
  Scheduler drafts(model.get(), drafting, with);
  for (size_t i = 0; i < asks.size(); ++i) {
    CAPTURE(i);
    const Said said = alone(drafts, asks[i]);
    CHECK(said.same(want[i]));
    CHECK(said.finish == want[i].finish);
    CHECK(said.usage.made == want[i].usage.made);
  }
  const uint64_t drafted = with.drafted.value(), accepted = with.accepted.value();
  CHECK(accepted > 30);
  CHECK(drafted >= accepted);
  // Alone and in company by turns.
  std::atomic<int> wrong{0};
  std::vector<std::thread> clients;
  for (size_t i = 0; i < asks.size(); ++i)
    clients.emplace_back([&, i] {
      std::this_thread::sleep_for(i * 20ms);
      if (!alone(drafts, asks[i]).same(want[i])) ++wrong;
    });
  for (std::thread& client : clients) client.join();
  CHECK(wrong == 0);
}

TEST_CASE("a full queue refuses, and what nobody wants is dropped", "[scheduler]") {
  const ModelHandle model = demo_model();
  Metrics metrics;
  Scheduler scheduler(model.get(), {.batch = 2, .queue = 1, .part = 64, .cache_bytes = 1 << 28},
                      metrics);
  std::vector<std::shared_ptr<Mailbox>> mails;
  for (uint64_t i = 0; i < 3; ++i) {
    mails.push_back(std::make_shared<Mailbox>());
    scheduler.submit({ask_for(some_ids(100, i), 1000000, i)}, mails.back());
  }
  const auto late = std::make_shared<Mailbox>();
  CHECK_THROWS_AS(scheduler.submit({ask_for(some_ids(5, 1), 1, 1)}, late), Busy);
  for (const auto& mail : mails) mail->cancel();
  for (int i = 0; scheduler.active() + scheduler.waiting() > 0 && i < 1000; ++i)
    std::this_thread::sleep_for(10ms);
  CHECK(metrics.cancelled.value() == 3);
  CHECK(alone(scheduler, ask_for(some_ids(5, 1), 1, 1)).usage.made == 1);
  // A long prompt that is read does not keep a short answer waiting.
  const auto slow = std::make_shared<Mailbox>();
  scheduler.submit({ask_for(some_ids(6000, 3), 1, 1)}, slow);
  CHECK(alone(scheduler, ask_for(some_ids(5, 2), 3, 1)).finish == Finish::kLength);
  CHECK(slow->take(0ms).empty());
  CHECK(listen(*slow, 1)[0].usage.made == 1);
  // The destructor drops what is under way.
  scheduler.submit({ask_for(some_ids(100, 4), 1000000, 4)}, std::make_shared<Mailbox>());
}
