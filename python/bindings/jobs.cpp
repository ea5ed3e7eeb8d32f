#include "python/bindings/module.h"

namespace klens::python {
namespace {

using Text = std::optional<std::string>;

klens_text_options text_options(const std::string& text, int32_t ctx, int32_t windows,
                                int32_t stride, bool llama_protocol) {
  auto options = sized<klens_text_options>();
  options.text = text.data();
  options.text_bytes = text.size();
  options.ctx = ctx;
  options.windows = windows;
  options.stride = stride;
  options.llama_protocol = llama_protocol ? 1 : 0;
  return options;
}

// The arguments that measuring takes, in a struct of their own: profile and quantize have them all.
struct Measuring {
  Text text, source_name, formats, metrics, quantizer, suffix, state_path;
  int32_t ctx = 0, windows = 0, measured = 0;
  uint64_t seed = 0;
  bool resume = false, times = false;
  int64_t memory = 0;

  klens_profile_options options() const {
    auto options = sized<klens_profile_options>();
    options.text = text_or_null(text);
    options.text_bytes = text ? text->size() : 0;
    options.source_name = text_or_null(source_name);
    options.ctx = ctx;
    options.windows = windows;
    options.seed = seed;
    options.formats = text_or_null(formats);
    options.metrics = text_or_null(metrics);
    options.state_path = text_or_null(state_path);
    options.resume = resume ? 1 : 0;
    options.quantizer = text_or_null(quantizer);
    options.measured = measured;
    options.times = times ? 1 : 0;
    options.suffix = text_or_null(suffix);
    options.memory = memory;
    return options;
  }
};

Report profile(const Model& model, Text text, Text source_name, int32_t ctx, int32_t windows,
               uint64_t seed, Text formats, Text metrics, Text quantizer, int32_t measured,
               Text suffix, bool times, int64_t memory, Text state_path, bool resume,
               const ProgressCallable& progress) {
  const Measuring measuring{std::move(text),
                            std::move(source_name),
                            std::move(formats),
                            std::move(metrics),
                            std::move(quantizer),
                            std::move(suffix),
                            std::move(state_path),
                            ctx,
                            windows,
                            measured,
                            seed,
                            resume,
                            times,
                            memory};
  return report_of(
      released([&] { return klens::profile(model, measuring.options(), progress_of(progress)); }));
}

// One budget, or a format for every unit, as klens_plan takes it.
klens_plan_options plan_options(const Text& method, double bpw, int64_t file_bytes, double max_kl,
                                double min_tok_s, const Text& uniform_format,
                                const Text& tensor_types) {
  auto options = sized<klens_plan_options>();
  options.method = text_or_null(method);
  options.bpw = bpw;
  options.file_bytes = file_bytes;
  options.max_kl = max_kl;
  options.min_tok_s = min_tok_s;
  options.uniform_format = text_or_null(uniform_format);
  options.tensor_types = text_or_null(tensor_types);
  return options;
}

Report plan(const nb::object& of, const Text& method, double bpw, int64_t file_bytes, double max_kl,
            double min_tok_s, const Text& uniform_format, const Text& tensor_types) {
  const std::string json = to_json(of);
  const klens_plan_options options =
      plan_options(method, bpw, file_bytes, max_kl, min_tok_s, uniform_format, tensor_types);
  return report_of(released([&] { return klens::plan(json, options); }));
}

Report quantize(const Model& model, const std::string& path, const nb::object& ready,
                const Text& method, double bpw, int64_t file_bytes, double max_kl, double min_tok_s,
                const Text& uniform_format, const Text& tensor_types, bool keep, bool measure,
                Text text, Text source_name, int32_t ctx, int32_t windows, uint64_t seed,
                Text formats, Text metrics, Text quantizer, Text suffix, int64_t memory,
                const ProgressCallable& progress) {
  Measuring measuring;
  measuring.text = std::move(text);
  measuring.source_name = std::move(source_name);
  measuring.ctx = ctx;
  measuring.windows = windows;
  measuring.seed = seed;
  measuring.formats = std::move(formats);
  measuring.metrics = std::move(metrics);
  measuring.quantizer = std::move(quantizer);
  measuring.suffix = std::move(suffix);
  measuring.memory = memory;
  const std::string plan_json = ready.is_none() ? "" : to_json(ready);
  const klens_plan_options planning =
      plan_options(method, bpw, file_bytes, max_kl, min_tok_s, uniform_format, tensor_types);
  const klens_profile_options profiling = measuring.options();
  auto options = sized<klens_quantize_options>();
  options.plan_json = ready.is_none() ? nullptr : plan_json.c_str();
  options.plan = &planning;
  options.profile = &profiling;
  options.no_measure = measure ? 0 : 1;
  options.keep = keep ? 1 : 0;
  return report_of(
      released([&] { return klens::quantize(model, path, options, progress_of(progress)); }));
}

// What a sweep judges by is its own; how its profile is measured, if none is given, comes with it.
Report sweep(const Model& model, const nb::object& of, const Text& methods,
             const std::vector<double>& bpw, const std::vector<int64_t>& file_bytes, int32_t points,
             const Text& test, const Text& test_name, int32_t test_windows, int32_t generate,
             int32_t repetitions, int64_t packed_bytes, bool refine, Text text, Text source_name,
             int32_t ctx, int32_t windows, uint64_t seed, Text formats, Text metrics,
             Text quantizer, int32_t measured, Text suffix, int64_t memory, Text state_path,
             bool resume, const ProgressCallable& progress) {
  Measuring measuring;
  measuring.text = std::move(text);
  measuring.source_name = std::move(source_name);
  measuring.ctx = ctx;
  measuring.windows = windows;
  measuring.seed = seed;
  measuring.formats = std::move(formats);
  measuring.metrics = std::move(metrics);
  measuring.quantizer = std::move(quantizer);
  measuring.measured = measured;
  measuring.suffix = std::move(suffix);
  measuring.memory = memory;
  measuring.state_path = std::move(state_path);
  measuring.resume = resume;
  const std::string profile_json = of.is_none() ? "" : to_json(of);
  const klens_profile_options profiling = measuring.options();
  auto options = sized<klens_sweep_options>();
  options.profile_json = of.is_none() ? nullptr : profile_json.c_str();
  options.profile = &profiling;
  options.methods = text_or_null(methods);
  options.bpw = bpw.data();
  options.bpw_count = bpw.size();
  options.file_bytes = file_bytes.data();
  options.file_bytes_count = file_bytes.size();
  options.points = points;
  options.text = text_or_null(test);
  options.text_bytes = test ? test->size() : 0;
  options.text_name = text_or_null(test_name);
  options.windows = test_windows;
  options.generate = generate == 0 ? -1 : generate;
  options.repetitions = repetitions;
  options.packed_bytes = packed_bytes;
  options.refine = refine ? 1 : 0;
  return report_of(released([&] { return klens::sweep(model, options, progress_of(progress)); }));
}

Report outliers(const nb::object& scores, const Text& method, int32_t most) {
  const std::string text = to_json(scores);
  auto options = sized<klens_outlier_options>();
  options.method = text_or_null(method);
  options.most = most;
  return report_of(released([&] { return klens::outliers(text, options); }));
}

Rows embed(const Model& model, const std::vector<Ids>& texts, const std::string& pooling,
           bool normalise, int32_t batch, const ProgressCallable& progress) {
  constexpr Choice<klens_pooling> kPoolings[] = {{"last", KLENS_POOLING_LAST},
                                                 {"mean", KLENS_POOLING_MEAN}};
  auto options = sized<klens_embed_options>();
  options.pooling = choice(pooling, kPoolings, "pooling");
  options.normalise = normalise ? 1 : 0;
  options.batch = batch;
  std::vector<std::vector<int32_t>> ids;
  for (const Ids& text : texts) ids.emplace_back(span_of(text).begin(), span_of(text).end());
  std::vector<float> numbers;
  released([&] {
    for (const std::vector<float>& vector :
         klens::embed(model, ids, options, progress_of(progress)))
      numbers.insert(numbers.end(), vector.begin(), vector.end());
  });
  return rows_of(std::move(numbers), ids.size());
}

Report bench(const Model& model, int32_t prompt, int32_t generate, int32_t depth, int32_t batch,
             int32_t repetitions, const ProgressCallable& progress) {
  auto options = sized<klens_bench_options>();
  options.prompt = prompt;
  options.generate = generate;
  options.depth = depth;
  options.batch = batch;
  options.repetitions = repetitions;
  return report_of(released([&] { return klens::bench(model, options, progress_of(progress)); }));
}

void bind_tables(nb::module_& m) {
  m.def("isa", &isa, "The instruction set in use.");
  m.def("version", &version, "Of the library.");
  m.def(
      "formats", [] { return table_of(formats()); }, "Number formats, most precise first.");
  m.def(
      "quantizers", [] { return table_of(quantizers()); }, "How units are made.");
  m.def(
      "metrics", [] { return table_of(metrics()); }, "What candidates are judged by.");
  m.def(
      "plan_methods", [] { return table_of(plan_methods()); }, "How plans are made.");
  m.def(
      "devices", [] { return table_of(released([] { return devices(); })); },
      "Where models can run on this machine.");
  m.def(
      "device_notes", [] { return released([] { return device_notes(); }); },
      "What devices of this process do otherwise than `devices` says: a line each, \"\" if "
      "nothing.");
  m.def(
      "inspect",
      [](const std::string& path, bool verify) {
        return report_of(released([&] { return inspect(path, verify); }));
      },
      "path"_a, "verify"_a = false,
      "What a file holds, without running it. verify: also every tensor's checksum.");
}

void bind_scoring(nb::module_& m) {
  m.def(
      "perplexity",
      [](const Model& model, const std::string& text, int32_t ctx, int32_t windows, int32_t stride,
         bool llama_protocol, const ProgressCallable& progress) {
        const auto options = text_options(text, ctx, windows, stride, llama_protocol);
        return report_of(
            released([&] { return perplexity(model, options, progress_of(progress)); }));
      },
      "model"_a, "text"_a, nb::kw_only(), "ctx"_a = 0, "windows"_a = 0, "stride"_a = 0,
      "llama_protocol"_a = false, "progress"_a = nb::none(),
      "Of a model on a text, in windows of ctx (512) tokens, at most `windows` of them.");
  m.def(
      "compare",
      [](const Model& a, const Model& b, const std::string& text, int32_t ctx, int32_t windows,
         const ProgressCallable& progress) {
        const auto options = text_options(text, ctx, windows, 0, false);
        return report_of(released([&] { return compare(a, b, options, progress_of(progress)); }));
      },
      "a"_a, "b"_a, "text"_a, nb::kw_only(), "ctx"_a = 0, "windows"_a = 0,
      "progress"_a = nb::none(), "KL divergence of b from a, nats per token, and more.");
  m.def(
      "export_logits",
      [](const Model& model, const Ids& ids, const std::string& path) {
        released([&] { export_logits(model, span_of(ids), path); });
      },
      "model"_a, "ids"_a, "path"_a, "Writes the logits of a fresh session as safetensors.");
  m.def("embed_ids", &embed, "model"_a, "texts"_a, "pooling"_a, "normalise"_a, "batch"_a,
        "progress"_a, "klens.embed, of ids.");
  m.def("bench", &bench, "model"_a, nb::kw_only(), "prompt"_a = 0, "generate"_a = 0, "depth"_a = 0,
        "batch"_a = 0, "repetitions"_a = 0, "progress"_a = nb::none(),
        "Tokens per second of prompts (512 tokens) and of decoding (128).");
}

}  // namespace

void bind_jobs(nb::module_& m) {
  bind_tables(m);
  bind_scoring(m);
  m.def("profile", &profile, "model"_a, nb::kw_only(), "text"_a = nb::none(),
        "source_name"_a = nb::none(), "ctx"_a = 0, "windows"_a = 0, "seed"_a = 0,
        "formats"_a = nb::none(), "metrics"_a = nb::none(), "quantizer"_a = nb::none(),
        "measured"_a = 0, "suffix"_a = nb::none(), "times"_a = false, "memory"_a = 0,
        "state_path"_a = nb::none(), "resume"_a = false, "progress"_a = nb::none(),
        "How much each matrix suffers in each format: profile.json. text: to calibrate on, else "
        "sampled from the model; windows (32) of ctx (256) tokens; the rest as "
        "klens_profile_options.");
  m.def("plan", &plan, "profile"_a, nb::kw_only(), "method"_a = nb::none(), "bpw"_a = 0.0,
        "file_bytes"_a = 0, "max_kl"_a = 0.0, "min_tok_s"_a = 0.0, "uniform_format"_a = nb::none(),
        "tensor_types"_a = nb::none(),
        "The best mix of formats for one budget, bpw, file_bytes, max_kl or min_tok_s: plan.json.");
  m.def("quantize", &quantize, "model"_a, "path"_a, "plan"_a = nb::none(), nb::kw_only(),
        "method"_a = nb::none(), "bpw"_a = 0.0, "file_bytes"_a = 0, "max_kl"_a = 0.0,
        "min_tok_s"_a = 0.0, "uniform_format"_a = nb::none(), "tensor_types"_a = nb::none(),
        "keep"_a = false, "measure"_a = true, "text"_a = nb::none(), "source_name"_a = nb::none(),
        "ctx"_a = 0, "windows"_a = 0, "seed"_a = 0, "formats"_a = nb::none(),
        "metrics"_a = nb::none(), "quantizer"_a = nb::none(), "suffix"_a = nb::none(),
        "memory"_a = 0, "progress"_a = nb::none(),
        "Writes a .klens file by a plan, or measures and plans first; reports what it lost.");
  m.def("sweep", &sweep, "model"_a, "profile"_a = nb::none(), nb::kw_only(),
        "methods"_a = nb::none(), "bpw"_a = std::vector<double>(),
        "file_bytes"_a = std::vector<int64_t>(), "points"_a = 0, "test"_a = nb::none(),
        "test_name"_a = nb::none(), "test_windows"_a = 0, "generate"_a = 32, "repetitions"_a = 0,
        "packed_bytes"_a = 0, "refine"_a = false, "text"_a = nb::none(),
        "source_name"_a = nb::none(), "ctx"_a = 0, "windows"_a = 0, "seed"_a = 0,
        "formats"_a = nb::none(), "metrics"_a = nb::none(), "quantizer"_a = nb::none(),
        "measured"_a = -1, "suffix"_a = nb::none(), "memory"_a = 0, "state_path"_a = nb::none(),
        "resume"_a = false, "progress"_a = nb::none(),
        "KL, perplexity, bytes and speed over budgets and planning methods: sweep.json. bpw, "
        "file_bytes: budgets, else `points` (12) of them; test: text to judge plans by, "
        "test_windows (16) of it, else windows that the profile did not use; generate: tokens "
        "decoded to time a plan, 0: it is not timed; the rest as profile, which is measured here "
        "where none is given and then is \"profile\" of the result.");
  m.def(
      "outliers", &outliers, "scores"_a, nb::kw_only(), "method"_a = nb::none(), "most"_a = 0,
      "Layers that stand out by a planning method's rule. scores: a profile, or a table of scores "
      "by layers in CSV; most: of a module, 0 is all.");
  m.def(
      "rank_agreement",
      [](const nb::object& of) {
        const std::string json = to_json(of);
        return report_of(released([&] { return rank_agreement(json); }));
      },
      "profile"_a, "What orders units are put into by the metrics of a profile.");
}

}  // namespace klens::python
