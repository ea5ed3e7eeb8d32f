/* The public header is C: this program is compiled as C99 against the installed library and header, and uses
   every function of klens.h. usage: c_api_test MODEL_FOLDER WORK_FOLDER */
#include <klens/klens.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);        \
      ++failures;                                                           \
    }                                                                       \
  } while (0)
#define OK(call)                                                            \
  do {                                                                      \
    klens_error error_ = {KLENS_OK, ""};                                    \
    klens_error* e = &error_;                                               \
    const klens_status status_ = (call);                                    \
    if (status_ != KLENS_OK) {                                              \
      printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, error_.message); \
      ++failures;                                                           \
    }                                                                       \
  } while (0)

/* A wrong call: KLENS_BAD_ARGUMENT, and a line that says what is wrong. */
#define BAD(call, says)                                                            \
  do {                                                                             \
    klens_error error_ = {KLENS_OK, ""};                                           \
    klens_error* e = &error_;                                                      \
    const klens_status status_ = (call);                                           \
    if (status_ != KLENS_BAD_ARGUMENT || strstr(error_.message, (says)) == NULL) { \
      printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, error_.message);        \
      ++failures;                                                                  \
    }                                                                              \
  } while (0)

static char work[4096];

static const char* in_work(const char* name) {
  static char path[8192];
  snprintf(path, sizeof path, "%s/%s", work, name);
  return path;
}

static int count_progress(void* user, const klens_progress* progress) {
  CHECK(progress->fraction >= 0 && progress->fraction <= 1 && progress->stage != NULL);
  ++*(int*)user;
  return 0;
}

static int stop_at_once(void* user, const klens_progress* progress) {
  (void)user;
  (void)progress;
  return 1;
}

static void text_and_tokens(const klens_model* model, const char* folder) {
  const klens_tokenizer* tokenizer = klens_model_tokenizer(model);
  klens_tokenizer* own = NULL;
  klens_decoder* decoder = NULL;
  const char text[] = "The caf\xc3\xa9 is \xf0\x9f\x99\x82 open.";
  char streamed[256] = "";
  char* decoded = NULL;
  const char* piece = NULL;
  int32_t* ids = NULL;
  size_t count = 0, i;
  CHECK(tokenizer != NULL);
  OK(klens_tokenize(tokenizer, text, strlen(text), 0, &ids, &count, e));
  CHECK(count > 3);
  OK(klens_detokenize(tokenizer, ids, count, 1, &decoded, e));
  CHECK(decoded != NULL && strcmp(decoded, text) == 0);
  OK(klens_decoder_new(tokenizer, 1, &decoder, e));
  for (i = 0; i < count; ++i) {
    OK(klens_decoder_push(decoder, ids[i], &piece, e));
    strcat(streamed, piece);
  }
  OK(klens_decoder_finish(decoder, &piece, e));
  strcat(streamed, piece);
  CHECK(strcmp(streamed, text) == 0);
  klens_decoder_free(decoder);
  klens_string_free(decoded);
  klens_ids_free(ids);
  OK(klens_tokenizer_open(folder, &own, e));
  klens_tokenizer_free(own);
  CHECK(klens_model_has_chat_template(model) == 0);
  CHECK(klens_chat_prompt(model, "[]", 1, &decoded, NULL) == KLENS_UNSUPPORTED);
}

static void sessions(klens_model* model) {
  const int32_t ids[] = {0, 17, 300, 999, 5};
  const int32_t vocab = klens_model_vocab(model);
  klens_session_options options = {0};
  klens_sampler_options sampling = {0};
  klens_session *session = NULL, *fork = NULL, *loaded = NULL;
  klens_sampler* sampler = NULL;
  klens_error error;
  float* all = malloc(5 * (size_t)vocab * sizeof(float));
  int32_t a = -1, b = -1;
  options.size = sizeof options;
  options.batch = 2;
  OK(klens_session_new(model, &options, &session, e));
  CHECK(klens_session_logits(session) == NULL);
  CHECK(klens_session_eval(session, ids, 0, &error) == KLENS_BAD_ARGUMENT);
  OK(klens_session_eval(session, ids, 3, e));
  OK(klens_session_fork(session, &fork, e));
  OK(klens_session_eval_all(fork, ids + 3, 2, all, e));
  OK(klens_session_eval(session, ids + 3, 2, e));
  CHECK(klens_session_position(session) == 5 && klens_session_position(fork) == 5);
  CHECK(memcmp(klens_session_logits(session), all + vocab, (size_t)vocab * sizeof(float)) == 0);
  CHECK(klens_session_bytes(session) > 0);
  CHECK(memcmp(klens_session_ids(session), ids, 5 * sizeof(int32_t)) == 0);
  OK(klens_session_save(session, in_work("session"), e));
  OK(klens_session_new(model, NULL, &loaded, e));
  OK(klens_session_load(loaded, in_work("session"), e));
  CHECK(memcmp(klens_session_logits(session), klens_session_logits(loaded), (size_t)vocab * sizeof(float)) == 0);
  CHECK(klens_session_load(loaded, in_work("absent"), &error) == KLENS_IO);
  CHECK(klens_session_position(loaded) == 5);

  sampling.size = sizeof sampling;
  sampling.temperature = 0.8f;
  sampling.top_k = 40;
  sampling.seed = 7;
  OK(klens_sampler_new(&sampling, &sampler, e));
  klens_sampler_accept(sampler, ids[0]);
  OK(klens_sampler_sample(sampler, session, &a, e));
  klens_sampler_free(sampler);
  OK(klens_sampler_new(&sampling, &sampler, e));
  klens_sampler_accept(sampler, ids[0]);
  OK(klens_sampler_sample(sampler, fork, &b, e));
  klens_sampler_free(sampler);
  CHECK(a == b && a >= 0 && a < vocab);
  sampling.top_p = 2;
  CHECK(klens_sampler_new(&sampling, &sampler, &error) == KLENS_BAD_ARGUMENT);
  OK(klens_session_reset(session, e));
  CHECK(klens_session_position(session) == 0);
  free(all);
  klens_session_free(session);
  klens_session_free(fork);
  klens_session_free(loaded);
}

static int same_logits(const klens_model* model, const klens_session* a, const klens_session* b) {
  const float *x = klens_session_logits(a), *y = klens_session_logits(b);
  return x != NULL && y != NULL && memcmp(x, y, (size_t)klens_model_vocab(model) * sizeof(float)) == 0;
}

static int stop_when_told(void* user, const klens_progress* progress) {
  CHECK(strcmp(progress->stage, "prompt") == 0 && progress->fraction > 0 && progress->fraction < 1);
  return *(int*)user;
}

/* A call that feeds is stopped between passes; what was fed is kept. */
static void interrupted_sessions(klens_model* model) {
  int32_t ids[130];
  const int32_t* both[2];
  const size_t counts[] = {130, 1};
  klens_session_options options = {0};
  klens_session *session = NULL, *whole = NULL, *pair[2];
  klens_prefix_cache* cache = NULL;
  klens_error error;
  int64_t reused = -7;
  int i, stop = 1;
  for (i = 0; i < 130; ++i) ids[i] = 31 * i % 4001;
  options.size = sizeof options;
  options.batch = 64;
  OK(klens_session_new(model, NULL, &whole, e));
  OK(klens_session_eval(whole, ids, 130, e));
  OK(klens_session_new(model, &options, &session, e));
  klens_session_set_progress(session, stop_when_told, &stop);
  CHECK(klens_session_eval(session, ids, 130, &error) == KLENS_INTERRUPTED);
  CHECK(klens_session_position(session) == 64 && klens_session_logits(session) == NULL);
  CHECK(klens_session_prompt(session, ids, 130, &reused, NULL) == KLENS_INTERRUPTED);
  CHECK(klens_session_position(session) == 128 && reused == -7);
  stop = 0;
  OK(klens_session_prompt(session, ids, 130, &reused, e));
  CHECK(reused == 128 && same_logits(model, session, whole));

  stop = 1;
  OK(klens_prefix_cache_new(model, 0, &cache, e));
  OK(klens_session_reset(session, e));
  CHECK(klens_prefix_cache_prompt(cache, session, ids, 130, NULL, NULL) == KLENS_INTERRUPTED);
  CHECK(klens_prefix_cache_bytes(cache) == 0 && klens_session_position(session) == 64);
  klens_prefix_cache_free(cache);

  /* One of two is enough. A copy has no progress function. */
  OK(klens_session_reset(session, e));
  OK(klens_session_fork(session, &pair[1], e));
  pair[0] = session;
  both[0] = both[1] = ids;
  CHECK(klens_sessions_eval(pair, both, counts, 2, NULL) == KLENS_INTERRUPTED);
  CHECK(klens_session_position(pair[0]) == 64 && klens_session_position(pair[1]) == 1);
  OK(klens_session_eval(pair[1], ids + 1, 129, e));
  CHECK(klens_session_position(pair[1]) == 130);
  klens_session_free(pair[1]);
  klens_session_set_progress(session, NULL, NULL);
  OK(klens_session_eval(session, ids + 64, 66, e));
  CHECK(same_logits(model, session, whole));
  klens_session_free(session);
  klens_session_free(whole);
}

static void several_sessions(klens_model* model, klens_model* other_model) {
  const int32_t ids[] = {0, 17, 300, 999, 5}, outside[] = {0, 4096};
  const int32_t* some[2];
  const size_t counts[] = {1, 1}, none[] = {1, 0};
  size_t fed[2] = {9, 9};
  klens_status statuses[2] = {KLENS_IO, KLENS_IO};
  klens_session *session[2] = {NULL, NULL}, *alone[2] = {NULL, NULL}, *mixed[2];
  int i;
  for (i = 0; i < 2; ++i) {
    OK(klens_session_new(model, NULL, &session[i], e));
    OK(klens_session_eval(session[i], ids, (size_t)(1 + 2 * i), e));
    OK(klens_session_fork(session[i], &alone[i], e));
    some[i] = ids + 1 + i;
    OK(klens_session_eval(alone[i], some[i], 1, e));
  }
  BAD(klens_sessions_eval(NULL, some, counts, 2, e), "sessions is NULL");
  BAD(klens_sessions_eval(session, NULL, counts, 2, e), "ids is NULL");
  BAD(klens_sessions_eval(session, some, NULL, 2, e), "counts is NULL");
  BAD(klens_sessions_eval(session, some, none, 2, e), "no token");
  mixed[0] = mixed[1] = session[0];
  BAD(klens_sessions_eval(mixed, some, counts, 2, e), "twice");
  mixed[1] = NULL;
  BAD(klens_sessions_eval(mixed, some, counts, 2, e), "session is NULL");
  OK(klens_session_new(other_model, NULL, &mixed[1], e));
  BAD(klens_sessions_eval(mixed, some, counts, 2, e), "different models");
  klens_session_free(mixed[1]);
  some[1] = outside + 1;
  BAD(klens_sessions_eval(session, some, counts, 2, e), "outside the vocabulary");
  some[1] = ids + 2;
  CHECK(klens_session_position(session[0]) == 1 && klens_session_position(session[1]) == 3);
  BAD(klens_sessions_round(session, some, counts, 2, NULL, statuses, e), "fed is NULL");
  BAD(klens_sessions_round(session, some, counts, 2, fed, NULL, e), "statuses is NULL");
  OK(klens_sessions_round(session, some, none, 2, fed, statuses, e));
  CHECK(fed[0] == 1 && fed[1] == 0 && statuses[0] == KLENS_OK && statuses[1] == KLENS_OK);
  OK(klens_sessions_eval(session + 1, some + 1, counts, 1, e));
  for (i = 0; i < 2; ++i) {
    CHECK(same_logits(model, session[i], alone[i]));
    klens_session_free(session[i]);
    klens_session_free(alone[i]);
  }
}

static void going_back(klens_model* model) {
  const int32_t ids[] = {0, 17, 300, 999, 5, 8}, others[] = {0, 17, 300, 4, 4}, outside[] = {0, -1};
  klens_session_options options = {0};
  klens_session *session = NULL, *fresh = NULL, *kept = NULL;
  int64_t reached = -7;
  options.size = sizeof options;
  options.batch = -1;
  BAD(klens_session_new(model, &options, &session, e), "-b must be");
  options.batch = 0;
  options.checkpoints = -1;
  BAD(klens_session_new(model, &options, &session, e), "checkpoints");
  options.checkpoints = 2;
  options.checkpoint_every = -1;
  BAD(klens_session_new(model, &options, &session, e), "checkpoint_every");
  CHECK(session == NULL);
  options.checkpoint_every = 2;
  OK(klens_session_new(model, &options, &session, e));

  /* This model recurs: it goes back to checkpoints and to the beginning only. */
  OK(klens_session_eval(session, ids, 2, e));
  OK(klens_session_checkpoint(session, e));
  OK(klens_session_fork(session, &kept, e));
  OK(klens_session_eval(session, ids + 2, 3, e));
  CHECK(klens_session_reachable(session, 1) == 0 && klens_session_reachable(session, -1) == 0);
  CHECK(klens_session_reachable(session, 4) == 2 && klens_session_reachable(session, 99) == 5);
  BAD(klens_session_rewind(session, -1, &reached, e), "from 0");
  BAD(klens_session_rewind(NULL, 0, &reached, e), "session is NULL");
  BAD(klens_session_checkpoint(NULL, e), "session is NULL");
  CHECK(reached == -7 && klens_session_position(session) == 5);
  OK(klens_session_rewind(session, 4, &reached, e));
  CHECK(reached == 2 && klens_session_position(session) == 2 && same_logits(model, session, kept));
  OK(klens_session_rewind(session, 1, NULL, e));
  CHECK(klens_session_position(session) == 0 && klens_session_logits(session) == NULL);

  /* A prompt leaves checkpoints at 2, 4 and 6; the two latest are kept. */
  OK(klens_session_prompt(session, ids, 6, &reached, e));
  CHECK(reached == 0 && klens_session_position(session) == 6);
  CHECK(klens_session_reachable(session, 5) == 4 && klens_session_reachable(session, 3) == 0);
  BAD(klens_session_prompt(session, ids, 0, &reached, e), "no token");
  BAD(klens_session_prompt(session, NULL, 1, &reached, e), "ids is NULL");
  BAD(klens_session_prompt(session, outside, 2, &reached, e), "outside the vocabulary");
  CHECK(klens_session_position(session) == 6);
  OK(klens_session_prompt(session, ids, 5, &reached, e));
  OK(klens_session_new(model, &options, &fresh, e));
  OK(klens_session_prompt(fresh, ids, 5, NULL, e));
  CHECK(reached == 4 && same_logits(model, session, fresh));
  OK(klens_session_prompt(session, others, 5, &reached, e));
  CHECK(reached == 0);
  klens_session_free(session);
  klens_session_free(fresh);
  klens_session_free(kept);
}

static void prefix_cache(klens_model* model, klens_model* other_model) {
  const int32_t ids[] = {0, 17, 300, 999, 5}, outside[] = {4096};
  klens_prefix_cache* cache = NULL;
  klens_session *first = NULL, *second = NULL, *foreign = NULL;
  int64_t reused = -7;
  size_t bytes;
  BAD(klens_prefix_cache_new(NULL, 0, &cache, e), "model is NULL");
  BAD(klens_prefix_cache_new(model, 0, NULL, e), "cache is NULL");
  OK(klens_prefix_cache_new(model, 0, &cache, e));
  CHECK(klens_prefix_cache_bytes(cache) == 0);
  OK(klens_session_new(model, NULL, &first, e));
  OK(klens_session_new(model, NULL, &second, e));
  OK(klens_session_new(other_model, NULL, &foreign, e));
  OK(klens_prefix_cache_prompt(cache, first, ids, 3, &reused, e));
  bytes = klens_prefix_cache_bytes(cache);
  CHECK(reused == 0 && bytes >= klens_session_bytes(second));
  reused = -7;
  BAD(klens_prefix_cache_prompt(NULL, second, ids, 3, &reused, e), "cache is NULL");
  BAD(klens_prefix_cache_prompt(cache, NULL, ids, 3, &reused, e), "session is NULL");
  BAD(klens_prefix_cache_prompt(cache, second, NULL, 3, &reused, e), "ids is NULL");
  BAD(klens_prefix_cache_prompt(cache, second, ids, 0, &reused, e), "no token");
  BAD(klens_prefix_cache_prompt(cache, second, outside, 1, &reused, e), "outside the vocabulary");
  BAD(klens_prefix_cache_prompt(cache, foreign, ids, 3, &reused, e), "another model");
  CHECK(reused == -7 && klens_session_position(second) == 0 && klens_prefix_cache_bytes(cache) == bytes);
  OK(klens_prefix_cache_prompt(cache, second, ids, 5, &reused, e));
  OK(klens_session_prompt(first, ids, 5, NULL, e));
  CHECK(reused == 3 && same_logits(model, first, second));
  klens_prefix_cache_free(cache);

  /* In parts: only whole blocks of 64 are taken. */
  {
    int32_t many[70];
    int64_t shared = -7;
    int i;
    for (i = 0; i < 70; ++i) many[i] = i;
    OK(klens_prefix_cache_new(model, 0, &cache, e));
    reused = -7;
    BAD(klens_prefix_cache_take(NULL, first, many, 70, &reused, &shared, e), "cache is NULL");
    BAD(klens_prefix_cache_take(cache, NULL, many, 70, &reused, &shared, e), "session is NULL");
    BAD(klens_prefix_cache_take(cache, first, NULL, 70, &reused, &shared, e), "ids is NULL");
    BAD(klens_prefix_cache_take(cache, first, many, 0, &reused, &shared, e), "no token");
    BAD(klens_prefix_cache_take(cache, first, outside, 1, &reused, &shared, e), "outside the vocabulary");
    BAD(klens_prefix_cache_take(cache, foreign, many, 70, &reused, &shared, e), "another model");
    BAD(klens_prefix_cache_keep(NULL, first, e), "cache is NULL");
    BAD(klens_prefix_cache_keep(cache, NULL, e), "session is NULL");
    BAD(klens_prefix_cache_keep(cache, foreign, e), "another model");
    CHECK(reused == -7 && shared == -7 && klens_session_position(first) == 5);
    OK(klens_prefix_cache_take(cache, first, many, 70, &reused, &shared, e));
    CHECK(reused == 0 && shared == 0 && klens_session_position(first) == 0);
    OK(klens_session_eval(first, many, 64, e));
    OK(klens_prefix_cache_keep(cache, first, e));
    OK(klens_prefix_cache_take(cache, second, many, 70, &reused, &shared, e));
    CHECK(reused == 64 && shared == 64 && same_logits(model, first, second));
    OK(klens_prefix_cache_take(cache, second, many, 70, NULL, NULL, e));
    klens_prefix_cache_free(cache);
  }

  /* Less memory than one prompt takes: nothing is kept, and all is read. */
  OK(klens_prefix_cache_new(model, 1, &cache, e));
  OK(klens_prefix_cache_prompt(cache, second, ids, 4, NULL, e));
  CHECK(klens_prefix_cache_bytes(cache) == 0 && klens_session_position(second) == 4);
  klens_prefix_cache_free(cache);
  klens_prefix_cache_free(NULL);
  klens_session_free(first);
  klens_session_free(second);
  klens_session_free(foreign);
}

static void jobs(klens_model* model, const char* folder) {
  const char text[] = "The river runs past the town and on to the sea. In the spring the boats go out before the sun is up, "
                      "and the men come back in the evening with their nets full. The town has a church and a market.";
  klens_text_options scoring = {0};
  klens_profile_options profiling = {0};
  klens_plan_options planning = {0};
  klens_quantize_options quantizing = {0};
  klens_bench_options benching = {0};
  klens_model* small = NULL;
  char *json = NULL, *plan = NULL, *report = NULL;
  int calls = 0;
  const int32_t ids[] = {0, 1, 2};
  scoring.size = sizeof scoring;
  scoring.text = text;
  scoring.text_bytes = strlen(text);
  scoring.ctx = 16;
  scoring.progress = count_progress;
  scoring.user = &calls;
  OK(klens_perplexity(model, &scoring, &json, e));
  CHECK(json != NULL && strstr(json, "\"ppl\"") != NULL);
  CHECK(calls > 0);
  klens_string_free(json);

  profiling.size = sizeof profiling;
  profiling.text = text;
  profiling.text_bytes = strlen(text);
  profiling.source_name = "a text";
  profiling.ctx = 12;
  profiling.windows = 2;
  profiling.formats = "int8,int4g64";
  OK(klens_profile(model, &profiling, &json, e));
  planning.size = sizeof planning;
  planning.bpw = 8;
  OK(klens_plan(json, &planning, &plan, e));
  CHECK(plan != NULL && strstr(plan, "\"klens_plan\"") != NULL);
  klens_string_free(json);

  profiling.progress = stop_at_once;
  json = NULL;
  CHECK(klens_profile(model, &profiling, &json, NULL) == KLENS_INTERRUPTED);
  CHECK(json == NULL);
  profiling.progress = NULL;

  quantizing.size = sizeof quantizing;
  quantizing.plan_json = plan;
  quantizing.plan = &planning;
  quantizing.profile = &profiling;
  OK(klens_quantize(model, in_work("small.klens"), &quantizing, &report, e));
  CHECK(report != NULL && strstr(report, "\"kl\"") != NULL);
  klens_string_free(report);
  OK(klens_inspect(in_work("small.klens"), 1, &json, e));
  CHECK(json != NULL && strstr(json, "\"provenance\"") != NULL);
  klens_string_free(json);
  OK(klens_model_open(in_work("small.klens"), NULL, &small, e));
  OK(klens_compare(model, small, &scoring, &json, e));
  CHECK(strstr(json, "\"kl_p99\"") != NULL);
  klens_string_free(json);
  OK(klens_export_logits(small, ids, 3, in_work("logits.safetensors"), e));
  CHECK(strstr(klens_model_quantised(small), " matrices") != NULL && klens_model_quantised(model)[0] == 0);
  BAD(klens_quantize(small, in_work("small.klens"), &quantizing, &json, e), "is the file that is read");
  klens_string_free(plan);
  BAD(klens_export_logits(small, ids, 3, in_work("logits.gguf"), e), "another format");
  benching.size = sizeof benching;
  benching.prompt = 8;
  benching.generate = 2;
  benching.repetitions = 1;
  OK(klens_bench(small, &benching, &json, e));
  CHECK(strstr(json, "\"pp8\"") != NULL);
  klens_string_free(json);
  klens_model_free(small);
  (void)folder;
}

static void tables(void) {
  CHECK(strstr(klens_formats(), "\"name\":\"fp16\"") != NULL && klens_formats() == klens_formats());
  CHECK(strstr(klens_quantizers(), "\"name\":\"rtn\"") != NULL);
  CHECK(strstr(klens_metrics(), "\"name\":\"kl\"") != NULL);
  CHECK(strstr(klens_plan_methods(), "\"name\":\"uniform\"") != NULL);
}

int main(int argc, char** argv) {
  klens_model_options options = {0};
  klens_model *model = NULL, *other = NULL;
  klens_error error;
  if (argc != 3) return 2;
  snprintf(work, sizeof work, "%s", argv[2]);
  printf("klens %s, %s\n", klens_version(), klens_isa());
  {
    char version[64];
    snprintf(version, sizeof version, "%d.%d.%d", KLENS_VERSION_MAJOR, KLENS_VERSION_MINOR, KLENS_VERSION_PATCH);
    CHECK(strcmp(version, klens_version()) == 0);
  }
  tables();

  CHECK(klens_model_open("/no/such/model", NULL, &model, &error) == KLENS_IO);
  CHECK(error.status == KLENS_IO && strstr(error.message, "/no/such/model") != NULL && model == NULL);
  CHECK(klens_model_open(NULL, NULL, &model, NULL) == KLENS_BAD_ARGUMENT);
  CHECK(klens_model_open(argv[1], &options, &model, &error) == KLENS_BAD_ARGUMENT); /* size not set */
  options.size = sizeof options;
  options.backend = "abacus";
  CHECK(klens_model_open(argv[1], &options, &model, &error) == KLENS_UNSUPPORTED);
  CHECK(strstr(error.message, "abacus") != NULL && strstr(error.message, "use cpu") != NULL);
  {
    char* devices = NULL;
    OK(klens_devices(&devices, e));
    CHECK(devices != NULL && strstr(devices, "{\"backend\":\"cpu\"") != NULL);
    klens_string_free(devices);
    BAD(klens_devices(NULL, e), "json");
  }
  options.backend = "cpu";
  options.threads = 2;
  options.activations = KLENS_ACTIVATIONS_F32;
  options.kv = (klens_kv)4;
  BAD(klens_model_open(argv[1], &options, &model, e), "f32, fp16 or int8");
  CHECK(model == NULL);
  options.kv = KLENS_KV_INT8;
  OK(klens_model_open(argv[1], &options, &model, e));
  OK(klens_model_open(argv[1], NULL, &other, e));
  if (model == NULL || other == NULL) return 1;
  CHECK(klens_model_vocab(model) == 4096);
  CHECK(klens_model_threads(model) >= 1);
  CHECK(strncmp(klens_model_device(model), "cpu ", 4) == 0);
  CHECK(klens_model_context_length(model) == 0); /* state spaces alone */
  CHECK(klens_model_is_eos(model, 0) == 1 && klens_model_is_eos(model, 5) == 0);
  CHECK(klens_model_bos(model) == 0);
  text_and_tokens(model, argv[1]);
  sessions(model);
  several_sessions(model, other);
  interrupted_sessions(model);
  going_back(model);
  prefix_cache(model, other);
  klens_model_free(other);
  jobs(model, argv[1]);
  klens_model_free(model);
  klens_model_free(NULL);
  klens_session_free(NULL);
  klens_string_free(NULL);
  printf("%d failures\n", failures);
  return failures != 0;
}
