// klens.hpp from outside: compiled as C++20 against the installed library and headers.
// usage: cpp_api_test MODEL_FOLDER WORK_FOLDER
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <klens/klens.hpp>
#include <thread>

namespace {

int failures = 0;

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                         \
    }                                                                     \
  } while (0)

// The call throws a Failure of this status, whose line says this.
template <class Call>
void check_fails(int line, klens_status status, const char* says, const Call& call) {
  try {
    call();
    std::printf("%s:%d: did not fail\n", __FILE__, line);
    ++failures;
  } catch (const klens::Failure& failure) {
    if (failure.status == status && std::strstr(failure.what(), says) != nullptr) return;
    std::printf("%s:%d: %d: %s\n", __FILE__, line, static_cast<int>(failure.status),
                failure.what());
    ++failures;
  }
}
#define FAILS(status, says, call) check_fails(__LINE__, status, says, [&] { call; })

struct OwnError {};

const std::string kText =
    "The river runs past the town and on to the sea. In the spring the boats go out before the sun "
    "is up, and the "
    "men come back in the evening with their nets full.";

bool holds(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

std::vector<float> logits_of(const klens::Session& session) {
  return {session.logits().begin(), session.logits().end()};
}

std::vector<int32_t> some_ids(size_t count) {
  std::vector<int32_t> ids(count);
  for (size_t i = 0; i < count; ++i) ids[i] = static_cast<int32_t>(37 * i % 4001);
  return ids;
}

klens_text_options scoring() {
  auto options = klens::sized<klens_text_options>();
  options.text = kText.data();
  options.text_bytes = kText.size();
  options.ctx = 16;
  options.windows = 2;
  return options;
}

void tables() {
  CHECK(klens::version() == std::to_string(KLENS_VERSION_MAJOR) + "." +
                                std::to_string(KLENS_VERSION_MINOR) + "." +
                                std::to_string(KLENS_VERSION_PATCH));
  CHECK(!klens::isa().empty());
  for (const std::string& table :
       {klens::formats(), klens::quantizers(), klens::metrics(), klens::plan_methods()})
    CHECK(table.starts_with("[{\"name\":"));
  CHECK(holds(klens::devices(), "\"backend\":\"cpu\""));
  CHECK(klens::device_notes().empty());
}

void models_and_text(const std::string& folder, const std::string& work) {
  FAILS(KLENS_IO, "/no/such/model", klens::Model("/no/such/model"));
  FAILS(KLENS_IO, "/no/such/model", klens::Tokenizer("/no/such/model"));
  auto wrong = klens::sized<klens_model_options>();
  wrong.threads = -1;
  FAILS(KLENS_BAD_ARGUMENT, "-t must be", klens::Model(folder, wrong));
  const klens::Model model(folder);
  CHECK(model.vocab() == 4096 && model.threads() >= 1 && model.device().starts_with("cpu "));
  CHECK(model.quantised().empty() && model.left_out().empty() && model.tokenizer_error().empty());
  CHECK(model.context_length() == 0 && model.is_eos(0) && !model.is_eos(5) && model.bos() == 0);
  CHECK(!model.has_chat_template());
  FAILS(KLENS_UNSUPPORTED, "chat template", model.chat_prompt("[]"));
  CHECK(holds(klens::inspect(folder), "\"architecture\""));
  FAILS(KLENS_IO, "/no/such/model", klens::inspect("/no/such/model", true));

  // A model's tokenizer and what is made of it outlive the model.
  std::optional<klens::Tokenizer> tokenizer;
  std::optional<klens::Decoder> decoder;
  {
    const klens::Model gone(folder);
    tokenizer = gone.tokenizer();
    decoder.emplace(klens::Tokenizer(folder));
  }
  const std::string text = "The caf\xc3\xa9 is \xf0\x9f\x99\x82 open.";
  const std::vector<int32_t> ids = tokenizer->tokenize(text, false);
  CHECK(tokenizer->detokenize(ids) == text && tokenizer->tokenize("", false).empty());
  CHECK(tokenizer->tokenize(std::string_view("a\0b", 3), false) != tokenizer->tokenize("a", false));
  std::string streamed;
  for (const int32_t id : ids) streamed += decoder->push(id);
  CHECK(streamed + decoder->finish() == text);

  klens::export_logits(model, ids, work + "/logits.safetensors");
  auto output = klens::sized<klens_output_options>();
  output.ending = ".json";
  FAILS(KLENS_BAD_ARGUMENT, "another format",
        klens::check_output(work + "/logits.safetensors", output));
  klens::write_file(work + "/note.json", "{}");
  klens::check_output(work + "/note.json", output);
  FAILS(KLENS_IO, "/no/such", klens::write_file("/no/such/folder/file", "x"));
}

void sessions(const klens::Model& model, const std::string& work) {
  const std::vector<int32_t> ids = some_ids(200);
  const std::span<const int32_t> all(ids);
  auto options = klens::sized<klens_session_options>();
  options.batch = 64;
  klens::Session session(model, options), whole(model);
  CHECK(session.logits().empty() && session.position() == 0 && session.ids().empty());
  FAILS(KLENS_BAD_ARGUMENT, "no token", session.eval({}));
  whole.eval(ids);
  const std::vector<float> want = logits_of(whole);

  // A call is stopped between passes, and goes on where it was.
  std::vector<double> fractions;
  const auto stop_at_once = [&](const klens_progress& progress) {
    CHECK(std::string(progress.stage) == "prompt" && progress.seconds_left >= 0);
    fractions.push_back(progress.fraction);
    return true;
  };
  FAILS(KLENS_INTERRUPTED, "interrupted", session.eval(ids, stop_at_once));
  CHECK(session.position() == 64 && session.logits().empty() &&
        fractions == std::vector<double>{64.0 / 200});
  session.eval(all.subspan(64));
  CHECK(logits_of(session) == want && std::equal(ids.begin(), ids.end(), session.ids().begin()));

  // What a progress throws comes out of the call; the next call has none.
  session.reset();
  bool thrown = false;
  try {
    session.prompt(ids, [](const klens_progress&) -> bool { throw OwnError(); });
  } catch (const OwnError&) {
    thrown = true;
  }
  CHECK(thrown && session.position() == 64);
  fractions.clear();
  CHECK(session.prompt(ids, [&](const klens_progress& progress) {
    fractions.push_back(progress.fraction);
    return false;
  }) == 64);
  CHECK(logits_of(session) == want && !fractions.empty() &&
        std::is_sorted(fractions.begin(), fractions.end()));
  CHECK(session.prompt(ids) == 200);

  klens::Session fork = session.fork();
  CHECK(logits_of(fork) == want);
  const std::vector<float> rows = fork.eval_all(all.first(2));
  CHECK(rows.size() == 2 * 4096 &&
        std::equal(rows.begin() + 4096, rows.end(), fork.logits().begin()));
  fork.checkpoint();
  fork.eval(all.first(1));
  CHECK(fork.reachable(202) == 202 && fork.rewind(202) == 202 && fork.position() == 202);
  CHECK(fork.bytes() > 0 && fork.wide_caches() == 0 && fork.model().get() == model.get());

  session.save(work + "/session");
  klens::Session loaded(model);
  loaded.load(work + "/session");
  CHECK(logits_of(loaded) == want);
  FAILS(KLENS_IO, "absent", loaded.load(work + "/absent"));
  FAILS(KLENS_BAD_ARGUMENT, "another format", session.save(work + "/session.klens"));

  klens::PrefixCache cache(model);
  klens::Session first(model), second(model);
  CHECK(cache.bytes() == 0 && cache.prompt(first, ids) == 0 && cache.bytes() > 0);
  CHECK(cache.prompt(second, ids) == 200 && logits_of(second) == want);
}

void together(const klens::Model& model) {
  const std::vector<int32_t> ids = some_ids(700);
  const std::span<const int32_t> all(ids);
  klens::Session a(model), b(model), alone_a(model), alone_b(model);
  alone_a.eval(all.first(600));
  alone_b.eval(all.subspan(100, 1));
  const std::vector<klens::Feed> feeds = {{&a, all.first(600)}, {&b, all.subspan(100, 1)}};
  // One pass has room for the token that is decoded, not for the whole prompt.
  const std::vector<klens::Fed> fed = klens::sessions_round(feeds);
  CHECK(fed[1].tokens == 1 && fed[1].status == KLENS_OK && logits_of(b) == logits_of(alone_b));
  CHECK(fed[0].tokens > 0 && fed[0].tokens < 600 && a.logits().empty());
  const std::vector<klens::Feed> rest = {{&a, all.subspan(fed[0].tokens, 600 - fed[0].tokens)},
                                         {&b, {}}};
  FAILS(KLENS_BAD_ARGUMENT, "no token", klens::sessions_eval(rest));
  klens::sessions_eval(std::span(rest).first(1));
  CHECK(logits_of(a) == logits_of(alone_a));
  FAILS(KLENS_BAD_ARGUMENT, "session is NULL",
        klens::sessions_eval(std::vector<klens::Feed>{{nullptr, all}}));
  CHECK(klens::sessions_round({}).empty());
}

std::vector<int32_t> generated(const klens::Model& model, uint64_t seed, size_t count) {
  auto options = klens::sized<klens_sampler_options>();
  options.temperature = 0.8f;
  options.seed = seed;
  klens::Session session(model);
  klens::Sampler sampler(model, options);
  session.prompt(some_ids(100));
  sampler.accept(0);
  std::vector<int32_t> ids;
  while (ids.size() < count) {
    ids.push_back(sampler.sample(session));
    session.eval({&ids.back(), 1});
  }
  return ids;
}

// Models of different options, each with threads of its own, run at once as each does alone.
void several_models(const std::string& folder, const klens::Model& first) {
  auto exact = klens::sized<klens_model_options>();
  exact.activations = KLENS_ACTIVATIONS_F32;
  exact.threads = 1;
  const std::vector<klens::Model> models = {first, klens::Model(folder, exact),
                                            klens::Model(folder)};
  std::vector<std::vector<int32_t>> alone, at_once(models.size());
  for (size_t i = 0; i < models.size(); ++i) alone.push_back(generated(models[i], i, 24));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < models.size(); ++i)
    threads.emplace_back([&, i] { at_once[i] = generated(models[i], i, 24); });
  for (std::thread& thread : threads) thread.join();
  CHECK(at_once == alone);
  FAILS(KLENS_BAD_ARGUMENT, "different models", {
    klens::Session a(models[0]);
    klens::Session b(models[2]);
    const std::vector<int32_t> ids = {1};
    klens::sessions_eval(std::vector<klens::Feed>{{&a, ids}, {&b, ids}});
  });
}

void jobs(const klens::Model& model, const std::string& work) {
  int calls = 0;
  const auto count = [&](const klens_progress&) { return ++calls < 0; };
  const auto throws = [](const klens_progress&) -> bool { throw OwnError(); };
  const auto thrown = [](const auto& call) {
    try {
      call();
    } catch (const OwnError&) {
      return true;
    }
    return false;
  };
  CHECK(holds(klens::perplexity(model, scoring(), count), "\"ppl\"") && calls > 0);
  CHECK(holds(klens::compare(model, model, scoring(), count), "\"kl_p99\""));
  CHECK(thrown([&] { klens::perplexity(model, scoring(), throws); }));
  FAILS(KLENS_BAD_ARGUMENT, "text is NULL",
        klens::perplexity(model, klens::sized<klens_text_options>()));

  auto profiling = klens::sized<klens_profile_options>();
  profiling.text = kText.data();
  profiling.text_bytes = kText.size();
  profiling.ctx = 12;
  profiling.windows = 1;
  profiling.formats = "int8";
  profiling.quantizer = "rtn";
  FAILS(KLENS_INTERRUPTED, "interrupted",
        klens::profile(model, profiling, [](const klens_progress&) { return true; }));
  const std::string profile = klens::profile(model, profiling, count);
  CHECK(holds(klens::rank_agreement(profile), "\"tau\""));
  auto planning = klens::sized<klens_plan_options>();
  planning.bpw = 9;
  const std::string plan = klens::plan(profile, planning);
  CHECK(holds(klens::outliers("layer,module,sensitivity\n0,a,1\n1,a,2\n"), "\"modules\""));
  auto quantizing = klens::sized<klens_quantize_options>();
  quantizing.plan_json = plan.c_str();
  quantizing.profile = &profiling;
  calls = 0;
  CHECK(holds(klens::quantize(model, work + "/small.klens", quantizing, count), "\"kl\"") &&
        calls > 0);
  CHECK(thrown([&] { klens::quantize(model, work + "/other.klens", quantizing, throws); }));
  CHECK(!klens::Model(work + "/small.klens").quantised().empty());
  auto sweeping = klens::sized<klens_sweep_options>();
  sweeping.profile_json = profile.c_str();
  sweeping.profile = &profiling;
  sweeping.text = kText.data();
  sweeping.text_bytes = kText.size();
  sweeping.points = 1;
  sweeping.windows = 1;
  sweeping.generate = -1;
  sweeping.methods = "klens";
  CHECK(holds(klens::sweep(model, sweeping, count), "\"points\""));
  auto benching = klens::sized<klens_bench_options>();
  benching.prompt = 8;
  benching.generate = 2;
  benching.repetitions = 1;
  CHECK(holds(klens::bench(model, benching, count), "\"pp8\""));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  tables();
  models_and_text(argv[1], argv[2]);
  const klens::Model model(argv[1]);
  sessions(model, argv[2]);
  together(model);
  several_models(argv[1], model);
  jobs(model, argv[2]);
  std::printf("%d failures\n", failures);
  return failures != 0;
}
