/* Structs of options grow at their end. Every one of klens.h is passed as an older caller has it, smaller, and as
   a newer one does, larger. Compiled as C99 against the installed library and header. usage: c_api_options_test
   MODEL_FOLDER */
#include <klens/klens.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;
static const char* folder;
static klens_model* model;
static char* profile_json;
static const char text[] = "The river runs past the town and on to the sea. In the spring the boats go out before the sun "
                           "is up, and the men come back in the evening with their nets full.";

static const char scores[] = "layer,module,sensitivity\n0,a,1\n1,a,2\n";

typedef klens_status (*call_fn)(const void* options, klens_error* error);

static klens_status open_model(const void* options, klens_error* e) {
  klens_model* opened = NULL;
  const klens_status status = klens_model_open(folder, options, &opened, e);
  klens_model_free(opened);
  return status;
}
static klens_status new_session(const void* options, klens_error* e) {
  klens_session* session = NULL;
  const klens_status status = klens_session_new(model, options, &session, e);
  klens_session_free(session);
  return status;
}
static klens_status new_sampler(const void* options, klens_error* e) {
  klens_sampler* sampler = NULL;
  const klens_status status = klens_sampler_new(options, &sampler, e);
  klens_sampler_free(sampler);
  return status;
}
static klens_status embed(const void* options, klens_error* e) {
  const int32_t ids[] = {0, 17};
  const int32_t* texts[] = {ids};
  const size_t counts[] = {2};
  float* vectors = malloc((size_t)klens_model_hidden_size(model) * sizeof(float));
  const klens_status status = klens_embed(model, texts, counts, 1, options, vectors, e);
  free(vectors);
  return status;
}
static klens_status perplexity(const void* options, klens_error* e) {
  char* json = NULL;
  const klens_status status = klens_perplexity(model, options, &json, e);
  klens_string_free(json);
  return status;
}
static klens_status compare(const void* options, klens_error* e) {
  char* json = NULL;
  const klens_status status = klens_compare(model, model, options, &json, e);
  klens_string_free(json);
  return status;
}
static klens_status profile(const void* options, klens_error* e) {
  char* json = NULL;
  const klens_status status = klens_profile(model, options, &json, e);
  klens_string_free(json);
  return status;
}
static int gather_alone(void* user, const void* own, size_t bytes, void* all) {
  (void)user;
  memcpy(all, own, bytes);
  return 0;
}
static klens_status profile_with_ranks(const void* ranks, klens_error* e) {
  klens_profile_options options = {0};
  options.size = sizeof options;
  options.ctx = 2;
  options.windows = 1;
  options.formats = "int8";
  options.quantizer = "rtn";
  options.metrics = "kl";
  options.ranks = ranks;
  return profile(&options, e);
}
static klens_status plan(const void* options, klens_error* e) {
  char* json = NULL;
  const klens_status status = klens_plan(profile_json, options, &json, e);
  klens_string_free(json);
  return status;
}
static klens_status outliers(const void* options, klens_error* e) {
  char* json = NULL;
  const klens_status status = klens_outliers(scores, options, &json, e);
  klens_string_free(json);
  return status;
}
static klens_status quantize(const void* options, klens_error* e) {
  char* json = NULL;
  const klens_status status = klens_quantize(model, NULL, options, &json, e);
  klens_string_free(json);
  return status;
}
static klens_status sweep(const void* options, klens_error* e) {
  char* json = NULL;
  const klens_status status = klens_sweep(model, options, &json, e);
  klens_string_free(json);
  return status;
}
static klens_status bench(const void* options, klens_error* e) {
  char* json = NULL;
  const klens_status status = klens_bench(model, options, &json, e);
  klens_string_free(json);
  return status;
}
static klens_status check_output(const void* options, klens_error* e) {
  return klens_check_output("not-written.json", options, e);
}

/* Options within options. */
static klens_quantize_options dry(const klens_plan_options* aim, const klens_profile_options* measuring) {
  klens_quantize_options options = {0};
  options.size = sizeof options;
  options.dry_run = 1;
  options.no_measure = 1;
  options.plan = aim;
  options.profile = measuring;
  return options;
}
static klens_status quantize_by_plan(const void* aim, klens_error* e) {
  const klens_quantize_options options = dry(aim, NULL);
  return quantize(&options, e);
}
static klens_status quantize_by_profile(const void* measuring, klens_error* e) {
  klens_plan_options aim = {0};
  klens_quantize_options options;
  aim.size = sizeof aim;
  aim.method = "uniform";
  aim.uniform_format = "int8";
  options = dry(&aim, measuring);
  return quantize(&options, e);
}

static void expect(const char* what, const char* how, call_fn call, const void* options, klens_status status,
                   const char* says) {
  klens_error error = {KLENS_OK, ""};
  const klens_status got = call(options, &error);
  if (got == status && strstr(error.message, says) != NULL && strchr(error.message, '\n') == NULL) return;
  printf("%s, %s: status %d: %s\n", what, how, (int)got, error.message);
  ++failures;
}

/* valid: a struct of `known` bytes that the call takes. older: where its last field begins. */
static void sizes(const char* what, call_fn call, const void* valid, size_t known, size_t older) {
  const size_t more = 24;
  unsigned char* bytes = malloc(older); /* its end is the older struct's */
  size_t i;
  memcpy(bytes, valid, older);
  memcpy(bytes, &older, sizeof older);
  expect(what, "smaller", call, bytes, KLENS_OK, "");
  free(bytes);

  bytes = malloc(known + more);
  memset(bytes, 0xff, known + more); /* what an older caller has behind its struct */
  memcpy(bytes, valid, older);
  memcpy(bytes, &older, sizeof older);
  expect(what, "smaller, before other bytes", call, bytes, KLENS_OK, "");

  memcpy(bytes, valid, known);
  expect(what, "as long", call, bytes, KLENS_OK, "");
  memset(bytes + known, 0, more);
  i = known + more;
  memcpy(bytes, &i, sizeof i);
  expect(what, "larger, zeros", call, bytes, KLENS_OK, "");
  for (i = known; i < known + more; i += more - 1) {
    bytes[i] = 1;
    expect(what, "larger, not all zeros", call, bytes, KLENS_BAD_ARGUMENT, "lacks: leave it zero");
    bytes[i] = 0;
  }
  for (i = 0; i < sizeof(size_t); i += sizeof(size_t) - 1) {
    memcpy(bytes, &i, sizeof i);
    expect(what, "no size", call, bytes, KLENS_BAD_ARGUMENT, "expected its sizeof");
  }
  i = (size_t)-1;
  memcpy(bytes, &i, sizeof i);
  expect(what, "no sensible size", call, bytes, KLENS_BAD_ARGUMENT, "expected its sizeof");
  free(bytes);
  expect(what, "as it is", call, valid, KLENS_OK, "");
}

#define SIZES(call, options, last) sizes(#call, call, &(options), sizeof(options), offsetof(OPTIONS, last))

static void all_structs(void) {
  klens_session_options session = {0};
  klens_sampler_options sampler = {0};
  klens_embed_options embedding = {0};
  klens_text_options scoring = {0};
  klens_profile_options profiling = {0};
  klens_ranks sharing = {0};
  klens_plan_options planning = {0};
  klens_outlier_options looking = {0};
  klens_quantize_options quantizing;
  klens_bench_options benching = {0};
  klens_sweep_options sweeping = {0};
  klens_model_options opening = {0};
  klens_output_options writing = {0};
#define OPTIONS klens_model_options
  opening.size = sizeof opening;
  SIZES(open_model, opening, gpu_layers);
#undef OPTIONS
#define OPTIONS klens_session_options
  session.size = sizeof session;
  SIZES(new_session, session, checkpoint_every);
#undef OPTIONS
#define OPTIONS klens_sampler_options
  sampler.size = sizeof sampler;
  SIZES(new_sampler, sampler, seed);
#undef OPTIONS
#define OPTIONS klens_embed_options
  embedding.size = sizeof embedding;
  SIZES(embed, embedding, user);
#undef OPTIONS
#define OPTIONS klens_text_options
  scoring.size = sizeof scoring;
  scoring.text = text;
  scoring.text_bytes = strlen(text);
  scoring.ctx = 16;
  scoring.windows = 1;
  SIZES(perplexity, scoring, user);
  SIZES(compare, scoring, user);
#undef OPTIONS
#define OPTIONS klens_profile_options
  profiling.size = sizeof profiling;
  profiling.ctx = 2;
  profiling.windows = 1;
  profiling.formats = "int8";
  profiling.quantizer = "rtn"; /* every size of the options runs the job again */
  profiling.metrics = "kl";
  SIZES(profile, profiling, memory);
  SIZES(quantize_by_profile, profiling, memory);
  profiling.text = text;
  profiling.text_bytes = strlen(text);
  if (klens_profile(model, &profiling, &profile_json, NULL) != KLENS_OK) ++failures;
#undef OPTIONS
#define OPTIONS klens_ranks
  sharing.size = sizeof sharing;
  sharing.count = 1;
  sharing.all_gather = gather_alone;
  SIZES(profile_with_ranks, sharing, user);
  sharing.rank = 1;
  expect("ranks", "rank as large as count", profile_with_ranks, &sharing, KLENS_BAD_ARGUMENT, "0 to count - 1");
#undef OPTIONS
#define OPTIONS klens_plan_options
  planning.size = sizeof planning;
  planning.bpw = 9;
  SIZES(plan, planning, min_tok_s);
  planning.bpw = 0;
  planning.method = "uniform";
  planning.uniform_format = "int8";
  SIZES(quantize_by_plan, planning, min_tok_s);
#undef OPTIONS
#define OPTIONS klens_outlier_options
  looking.size = sizeof looking;
  SIZES(outliers, looking, most);
#undef OPTIONS
#define OPTIONS klens_quantize_options
  quantizing = dry(&planning, NULL);
  profiling.text = NULL;
  profiling.text_bytes = 0;
  quantizing.profile = &profiling;
  SIZES(quantize, quantizing, keep);
#undef OPTIONS
#define OPTIONS klens_bench_options
  benching.size = sizeof benching;
  benching.prompt = 4;
  benching.generate = 1;
  benching.repetitions = 1;
  SIZES(bench, benching, batch);
#undef OPTIONS
#define OPTIONS klens_sweep_options
  sweeping.size = sizeof sweeping;
  sweeping.profile_json = profile_json;
  sweeping.profile = &profiling;
  profiling.text = text;
  profiling.text_bytes = strlen(text);
  sweeping.text = text;
  sweeping.text_bytes = strlen(text);
  sweeping.points = 1;
  sweeping.windows = 1;
  sweeping.generate = -1;
  sweeping.methods = "klens";
  SIZES(sweep, sweeping, refine);
#undef OPTIONS
#define OPTIONS klens_output_options
  writing.size = sizeof writing;
  writing.ending = ".json";
  SIZES(check_output, writing, streams);
#undef OPTIONS
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  folder = argv[1];
  if (klens_model_open(folder, NULL, &model, NULL) != KLENS_OK) return 1;
  all_structs();
  klens_string_free(profile_json);
  klens_model_free(model);
  printf("%d failures\n", failures);
  return failures != 0;
}
