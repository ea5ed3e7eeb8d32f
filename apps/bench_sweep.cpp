#include "apps/bench_sweep.h"

#include <algorithm>

#include "apps/cli/common.h"
#include "apps/cli/output.h"
#include "apps/svg_chart.h"
#include "apps/terminal/progress.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;

constexpr int32_t kLargestBatch = 32, kShortest = 1024, kLongest = 65536;

// A report per thread count: a model keeps the one it was opened with, and has no more threads than
// there are cores.
ordered_json over_threads(const std::string& path, const Arguments& arguments,
                          const klens_bench_options& options) {
  ordered_json points = ordered_json::array();
  ordered_json most =
      bench_once(open_model(arguments, path, read_model_options(arguments)), options, arguments);
  for (int32_t threads = 1; threads < most["threads"].get<int32_t>(); threads *= 2) {
    klens_model_options fewer = read_model_options(arguments);
    fewer.threads = threads;
    points.push_back(bench_once(open_model(arguments, path, fewer), options, arguments));
  }
  points.push_back(std::move(most));
  return points;
}

ordered_json points_of(const std::string& kind, const std::string& path, const Arguments& arguments,
                       klens_bench_options options) {
  if (kind == "threads") return over_threads(path, arguments, options);
  const ModelHandle model = open_model(arguments, path);
  ordered_json points = ordered_json::array();
  if (kind == "size") {
    points.push_back(bench_once(model, options, arguments));
  } else if (kind == "batch") {
    options.prompt = -1;
    for (options.batch = 1; options.batch <= kLargestBatch; options.batch *= 2)
      points.push_back(bench_once(model, options, arguments));
  } else {
    options.prompt = -1;
    const int32_t longest = options.depth > 0 ? options.depth : kLongest;
    warn_of_length(model, longest, options, arguments);
    for (options.depth = std::min(kShortest, longest); options.depth <= longest; options.depth *= 2)
      points.push_back(bench_once(model, options, arguments));
  }
  return points;
}

// What a sweep goes over, and what it shows: the key of its quantity, and how one point's is read.
struct Quantity {
  const char* key;
  const char* label;
  double scale;
};

Quantity quantity_of(const std::string& kind) {
  if (kind == "batch") return {"batch", "sequences together", 1};
  if (kind == "length") return {"depth", "tokens before", 1};
  if (kind == "threads") return {"threads", "threads", 1};
  return {"weight_bytes", "weights read per token, GB", 1e-9};
}

double tokens_per_second(const ordered_json& point, const char* test) {
  for (const ordered_json& t : point.at("tests"))
    if (t.value("name", "").starts_with(test)) return t.value("tok_s", 0.0);
  return 0;
}

struct SweepColumn {
  const char* title;
  const char* csv;
  int decimals;
  double (*value)(const ordered_json&);
};

constexpr SweepColumn kSweepColumns[] = {
    {"prefill tok/s", "prefill_tok_s", 1,
     [](const ordered_json& p) { return tokens_per_second(p, "pp"); }},
    {"decode tok/s", "decode_tok_s", 2,
     [](const ordered_json& p) { return tokens_per_second(p, "tg"); }},
    {"ms per step", "token_ms", 3, [](const ordered_json& p) { return p.value("token_ms", 0.0); }},
    {"weights GB/s", "decode_gb_s", 2,
     [](const ordered_json& p) { return p.value("decode_gb_s", 0.0); }},
    {"memory GB/s", "read_gb_s", 2,
     [](const ordered_json& p) { return p.value("read_gb_s", 0.0); }},
};

Chart chart_of(const ordered_json& sweep, const char* title, const char* y_label,
               const SweepColumn& column) {
  const std::string kind = sweep["sweep"];
  const Quantity quantity = quantity_of(kind);
  Chart chart{title, quantity.label, y_label, kind != "size", {}};
  for (const ordered_json& model : sweep["models"]) {
    ChartSeries series{file_name(model["model"]), {}};
    for (const ordered_json& point : model["points"])
      series.points.emplace_back(point.value(quantity.key, 0.0) * quantity.scale,
                                 column.value(point));
    chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace

void warn_of_length(const ModelHandle& model, int32_t depth, const klens_bench_options& options,
                    const Arguments& arguments) {
  const int64_t tokens = int64_t{depth} + std::max({options.prompt, options.generate, 0});
  warn_beyond_context(model.get(), tokens, "tests", arguments.flag("quiet"));
}

ordered_json bench_once(const ModelHandle& model, klens_bench_options options,
                        const Arguments& arguments) {
  Progress progress(arguments.flag("quiet"), "bench");
  options.progress = Progress::callback;
  options.user = &progress;
  return report_of(
      [&](char** text, klens_error* e) { return klens_bench(model.get(), &options, text, e); });
}

std::string csv_field(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

ordered_json run_sweep(const std::string& kind, const std::vector<std::string>& models,
                       const Arguments& arguments, const klens_bench_options& options) {
  ordered_json sweep = {{"sweep", kind}, {"models", ordered_json::array()}};
  for (const std::string& model : models)
    sweep["models"].push_back(
        {{"model", model}, {"points", points_of(kind, model, arguments, options)}});
  return sweep;
}

std::string sweep_markdown(const ordered_json& sweep) {
  const Quantity quantity = quantity_of(sweep["sweep"]);
  std::string out = std::string("| model | ") + quantity.label + " |", rule = "| --- | ---: |";
  for (const SweepColumn& column : kSweepColumns) {
    out += std::string(" ") + column.title + " |";
    rule += " ---: |";
  }
  out += "\n" + rule + "\n";
  for (const ordered_json& model : sweep["models"]) {
    for (const ordered_json& point : model["points"]) {
      out += "| " + file_name(model["model"]) +
             formatted(" | %g |", point.value(quantity.key, 0.0) * quantity.scale);
      for (const SweepColumn& column : kSweepColumns) {
        const double value = column.value(point);
        out += value > 0 ? formatted(" %.*f |", column.decimals, value) : " - |";
      }
      out += "\n";
    }
  }
  return out;
}

std::string sweep_csv(const ordered_json& sweep) {
  const Quantity quantity = quantity_of(sweep["sweep"]);
  std::string out = std::string("model,") + quantity.key;
  for (const SweepColumn& column : kSweepColumns) out += std::string(",") + column.csv;
  out += "\n";
  for (const ordered_json& model : sweep["models"]) {
    for (const ordered_json& point : model["points"]) {
      out += csv_field(model["model"]) + formatted(",%.0f", point.value(quantity.key, 0.0));
      for (const SweepColumn& column : kSweepColumns) {
        const double value = column.value(point);
        out += value > 0 ? formatted(",%.4f", value) : ",-";
      }
      out += "\n";
    }
  }
  return out;
}

std::string sweep_svg(const ordered_json& sweep) {
  const std::string kind = sweep["sweep"];
  const SweepColumn &prefill = kSweepColumns[0], &decode = kSweepColumns[1],
                    &step = kSweepColumns[2];
  if (kind == "batch")
    return svg_of(
        {chart_of(sweep, "Decoding several sequences", "tokens/s, all together", decode)});
  if (kind == "length")
    return svg_of({chart_of(sweep, "Decoding after a long text", "ms per token", step)});
  return svg_of({chart_of(sweep, "Prefill", "tokens/s", prefill),
                 chart_of(sweep, "Decoding", "tokens/s", decode)});
}

}  // namespace klens::apps
