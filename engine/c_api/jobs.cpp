#include "engine/c_api/guard.h"
#include "engine/c_api/handles.h"
#include "engine/c_api/progress_fn.h"
#include "engine/c_api/reports.h"
#include "engine/jobs/export_logits.h"
#include "engine/jobs/profile_state.h"
#include "loaders/profile_json.h"
#include "loaders/score_table.h"

namespace klens {
namespace {

const Tokenizer& tokenizer_of(const klens_model* model) {
  if (model->tokenizer) return model->tokenizer->tokenizer;
  if (!model->tokenizer_problem.empty())
    throw Error(ErrorKind::kUnsupported, model->tokenizer_problem);
  throw Error(ErrorKind::kBadFile,
              model->model->checkpoint().path + ": holds no tokenizer.json, which a text needs");
}

// Null where no text is given: calibration is then sampled, from ids to ids.
const Tokenizer* tokenizer_for(const klens_model* model, const char* text) {
  return text != nullptr ? &tokenizer_of(model) : nullptr;
}

WindowOptions window_options(const klens_text_options& given) {
  if (given.ctx < 0 || given.windows < 0 || given.stride < 0)
    throw Error(ErrorKind::kBadArgument, "-c, --windows and --stride must not be negative");
  return {.ctx = given.ctx == 0 ? 512 : given.ctx,
          .windows = given.windows,
          .stride = given.stride,
          .llama_protocol = given.llama_protocol != 0};
}

std::string_view text_of(const klens_text_options& given) {
  require(given.text, "text");
  return {given.text, given.text_bytes};
}

ProfileOptions profile_options(const klens_profile_options& given) {
  if (given.ctx < 0 || given.windows < 0)
    throw Error(ErrorKind::kBadArgument, "-c and --windows must not be negative");
  ProfileOptions options;
  if (given.text != nullptr)
    options.texts.push_back({std::string(given.text, given.text_bytes),
                             given.source_name != nullptr ? given.source_name : "text",
                             given.text_weight != 0 ? given.text_weight : 1});
  if (given.more_count > 0) require(given.more_texts, "more_texts");
  for (size_t i = 0; i < given.more_count; ++i) {
    const klens_calibration_text& more = given.more_texts[i];
    require(given.text, "text");
    require(more.text, "text of more_texts");
    options.texts.push_back({std::string(more.text, more.text_bytes),
                             more.name != nullptr ? more.name : "text",
                             more.weight != 0 ? more.weight : 1});
  }
  if (given.ctx != 0) options.ctx = given.ctx;
  if (given.windows != 0) options.windows = given.windows;
  options.seed = given.seed;
  if (given.formats != nullptr) options.formats = given.formats;
  if (given.metrics != nullptr) options.metrics = given.metrics;
  if (given.state_path != nullptr) options.state_path = given.state_path;
  options.resume = given.resume != 0;
  if (given.quantizer != nullptr) options.quantizer = given.quantizer;
  if (given.measured != 0) options.measured = std::max(given.measured, 0);
  options.times = given.times != 0;
  if (given.suffix != nullptr) options.suffix = given.suffix;
  if (given.memory < 0) throw Error(ErrorKind::kBadArgument, "memory must not be negative");
  options.memory = given.memory;
  return options;
}

Ranks read_ranks(const klens_ranks* ranks) {
  if (ranks == nullptr) return {};
  const klens_ranks given = read_options(ranks);
  if (given.count == 0 && given.rank == 0) return {};
  if (given.rank < 0 || given.rank >= given.count || given.all_gather == nullptr)
    throw Error(ErrorKind::kBadArgument,
                "ranks: rank must be 0 to count - 1, and all_gather a function");
  if (given.count == 1) return {};
  return {static_cast<size_t>(given.rank), static_cast<size_t>(given.count),
          [given](const void* own, size_t bytes, void* all) {
            return given.all_gather(given.user, own, bytes, all);
          }};
}

std::string profile(const klens_model* model, const klens_profile_options& given, Ranks& ranks) {
  const ProfileOptions asked = profile_options(given);
  const Tokenizer* tokenizer =
      tokenizer_for(model, given.text != nullptr ? given.text : given.validation_text);
  Progress progress(progress_fn(given.progress, given.user));
  Windows held_out;
  std::string_view judge;
  if (given.validation_text != nullptr) {
    judge = {given.validation_text, given.validation_bytes};
    held_out = validation_windows(*model->model, *tokenizer, judge, asked);
  }
  const std::unique_ptr<Journal> journal = open_journal(*model->model, asked, ranks);
  check_alike(ranks, judge, "text to validate on");
  const ProfileRun run = run_profile(*model->model, tokenizer, asked, progress, go_on, *journal);
  std::string json;
  if (held_out.empty()) {
    json = profile_to_json(run.profile);
  } else {
    const char* name = given.validation_name != nullptr ? given.validation_name : "text";
    json =
        profile_json(run.profile, validate(*model->model, run, held_out, name, progress, *journal));
  }
  journal->bytes()->remove();
  return json;
}

PlanRequest plan_request(const klens_plan_options& given) {
  PlanRequest request;
  if (given.method != nullptr) request.method = given.method;
  if (given.uniform_format != nullptr) request.uniform_format = given.uniform_format;
  if (given.bpw != 0) request.budget.bpw = given.bpw;
  if (given.file_bytes != 0) request.budget.file_bytes = given.file_bytes;
  if (given.max_kl != 0) request.budget.max_kl = given.max_kl;
  if (given.min_tok_s != 0) request.budget.min_tok_s = given.min_tok_s;
  return request;
}

// By name, or the first that does.
const PlanMethod& method_with_outliers(const char* name) {
  const auto finds = [](const PlanMethod& row) { return row.outliers != nullptr; };
  const PlanMethod* method =
      name != nullptr ? find_row(kPlanMethods, name)
                      : std::find_if(std::begin(kPlanMethods), std::end(kPlanMethods), finds);
  if (method == nullptr)
    throw Error(ErrorKind::kBadArgument, not_one_of("planning method", name, kPlanMethods));
  if (!finds(*method))
    throw Error(ErrorKind::kBadArgument, "method " + std::string(method->name) +
                                             " looks for no outliers: use " +
                                             names_where(kPlanMethods, " or ", finds));
  return *method;
}

std::vector<LayerScore> scores_of(std::string_view text, const OutlierRule& rule) {
  if (is_score_table(text)) return scores_from_csv(text, "profile", rule.metric.name);
  auto scores = layer_scores(profile_from_json(text, "profile"), rule);
  if (const auto* missing = std::get_if<Unmeasured>(&scores))
    throw Error(ErrorKind::kBadArgument, "unit " + missing->unit + " has no " + missing->what +
                                             ": profile again with it in --metrics");
  return std::get<0>(std::move(scores));
}

SweepOptions sweep_options(const klens_sweep_options& given, const klens_profile_options& profile) {
  if (given.points < 0 || given.windows < 0 || given.repetitions < 0 || given.packed_bytes < 0)
    throw Error(ErrorKind::kBadArgument, "counts and sizes of a sweep must not be negative");
  SweepOptions options;
  if (given.profile_json != nullptr) {
    options.profile_json = given.profile_json;
    if (options.profile_json.empty())
      throw Error(ErrorKind::kBadArgument,
                  "profile: is empty; give what klens profile has written");
  }
  options.profile = profile_options(profile);
  if (given.methods != nullptr) options.methods = given.methods;
  if (given.bpw_count > 0) require(given.bpw, "bpw");
  for (size_t i = 0; i < given.bpw_count; ++i) options.budgets.emplace_back().bpw = given.bpw[i];
  if (given.file_bytes_count > 0) require(given.file_bytes, "file_bytes");
  for (size_t i = 0; i < given.file_bytes_count; ++i)
    options.budgets.emplace_back().file_bytes = given.file_bytes[i];
  if (given.points != 0) options.points = given.points;
  if (given.text != nullptr) options.text = std::string(given.text, given.text_bytes);
  if (given.text_name != nullptr) options.text_name = given.text_name;
  if (given.windows != 0) options.windows = given.windows;
  if (given.generate != 0) options.generate = std::max(given.generate, 0);
  if (given.repetitions != 0) options.repetitions = given.repetitions;
  if (given.packed_bytes != 0) options.packed_bytes = given.packed_bytes;
  options.refine = given.refine != 0;
  return options;
}

}  // namespace
}  // namespace klens

using namespace klens;

klens_status klens_perplexity(klens_model* model, const klens_text_options* options, char** json,
                              klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(json, "json");
    const klens_text_options given = read_options(options);
    Progress progress(progress_fn(given.progress, given.user));
    *json = owned_text(report_json(perplexity(*model->model, tokenizer_of(model), text_of(given),
                                              window_options(given), progress)));
  });
}

klens_status klens_compare(klens_model* a, klens_model* b, const klens_text_options* options,
                           char** json, klens_error* error) {
  return guarded(error, [&] {
    require(a, "a");
    require(b, "b");
    require(json, "json");
    const klens_text_options given = read_options(options);
    Progress progress(progress_fn(given.progress, given.user));
    *json = owned_text(report_json(compare(*a->model, *b->model, tokenizer_of(a), text_of(given),
                                           window_options(given), progress)));
  });
}

klens_status klens_export_logits(klens_model* model, const int32_t* ids, size_t count,
                                 const char* path, klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(ids, "ids");
    require(path, "path");
    export_logits(model->model, {ids, count}, path);
  });
}

klens_status klens_profile(klens_model* model, const klens_profile_options* options,
                           char** profile_out, klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    model->model->check_whole("a profile");
    require(profile_out, "profile_json");
    const klens_profile_options given = read_options(options);
    Ranks ranks = read_ranks(given.ranks);
    std::string text;
    together(ranks, [&] { text = profile(model, given, ranks); });
    *profile_out = owned_text(text);
  });
}

klens_status klens_plan(const char* profile_json, const klens_plan_options* options,
                        char** plan_json, klens_error* error) {
  return guarded(error, [&] {
    require(profile_json, "profile_json");
    require(plan_json, "plan_json");
    const klens_plan_options given = read_options(options);
    const Profile profile = profile_from_json(profile_json, "profile");
    PlanRequest request = plan_request(given);
    if (given.tensor_types != nullptr) request.pinned = pinned_choices(given.tensor_types, profile);
    *plan_json = owned_text(plan_to_json(plan_or_throw(profile, request)));
  });
}

klens_status klens_outliers(const char* scores, const klens_outlier_options* options, char** json,
                            klens_error* error) {
  return guarded(error, [&] {
    require(scores, "scores");
    require(json, "json");
    const klens_outlier_options given = read_options(options);
    if (given.most < 0) throw Error(ErrorKind::kBadArgument, "most must not be negative");
    const PlanMethod& method = method_with_outliers(given.method);
    *json = owned_text(report_json(
        method, find_outliers(scores_of(scores, *method.outliers), method.outliers->change,
                              static_cast<size_t>(given.most))));
  });
}

klens_status klens_quantize(klens_model* model, const char* out_path,
                            const klens_quantize_options* options, char** json,
                            klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    model->model->check_whole("quantize");
    require(json, "json");
    const klens_quantize_options given = read_options(options);
    if (given.dry_run == 0) require(out_path, "out_path");
    QuantizeOptions run;
    if (given.plan_json != nullptr) {
      run.plan_json = given.plan_json;
      if (run.plan_json.empty())
        throw Error(ErrorKind::kBadArgument, "plan: is empty; give what klens plan has written");
    }
    const klens_plan_options plan = read_options(given.plan);
    const klens_profile_options profile = read_options(given.profile);
    run.request = plan_request(plan);
    if (plan.tensor_types != nullptr) run.tensor_types = plan.tensor_types;
    run.profile = profile_options(profile);
    if (profile.ranks != nullptr)
      throw Error(
          ErrorKind::kBadArgument,
          "quantize is one process's: profile with ranks, plan, and quantize with the plan");
    run.dry_run = given.dry_run != 0;
    run.measure = given.no_measure == 0;
    run.keep = given.keep != 0;
    Progress progress(progress_fn(profile.progress, profile.user));
    *json = owned_text(report_json(quantize(*model->model, tokenizer_for(model, profile.text),
                                            out_path == nullptr ? "" : out_path, run, progress)));
  });
}

klens_status klens_rank_agreement(const char* profile_json, char** json, klens_error* error) {
  return guarded(error, [&] {
    require(profile_json, "profile_json");
    require(json, "json");
    *json = owned_text(agreement_json(profile_from_json(profile_json, "profile")));
  });
}

klens_status klens_sweep(klens_model* model, const klens_sweep_options* options, char** json,
                         klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    model->model->check_whole("a sweep");
    require(json, "json");
    const klens_sweep_options given = read_options(options);
    const klens_profile_options profile = read_options(given.profile);
    const bool text = profile.text != nullptr || given.text != nullptr;
    Progress progress(progress_fn(profile.progress, profile.user));
    *json = owned_text(report_json(sweep(*model->model, text ? &tokenizer_of(model) : nullptr,
                                         sweep_options(given, profile), progress)));
  });
}

klens_status klens_bench(klens_model* model, const klens_bench_options* options, char** json,
                         klens_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(json, "json");
    const klens_bench_options given = read_options(options);
    if (given.depth < 0 || given.repetitions < 0 || given.batch < 0)
      throw Error(ErrorKind::kBadArgument, "-d, -r and --parallel must not be negative");
    const auto or_default = [](int32_t value, int64_t fallback) {
      return value == 0 ? fallback : std::max<int64_t>(value, 0);
    };
    Progress progress(progress_fn(given.progress, given.user));
    *json = owned_text(report_json(bench(model->model,
                                         {.prompt = or_default(given.prompt, 512),
                                          .generate = or_default(given.generate, 128),
                                          .depth = given.depth,
                                          .repetitions = or_default(given.repetitions, 5),
                                          .batch = or_default(given.batch, 1)},
                                         progress)));
  });
}
