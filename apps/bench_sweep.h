#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/cli/arguments.h"
#include "apps/cli/handles.h"

namespace klens::apps {

// The report of klens_bench, with progress shown as the call asks.
nlohmann::ordered_json bench_once(const ModelHandle& model, klens_bench_options options,
                                  const Arguments& arguments);

// warn_beyond_context for a test after `depth` tokens.
void warn_of_length(const ModelHandle& model, int32_t depth, const klens_bench_options& options,
                    const Arguments& arguments);

// `klens bench --sweep KIND`: the same tests over one quantity, for one or several models.
//   batch    sequences that decode together: 1, 2, 4, ..., 32
//   length   tokens in the session beforehand: 1024, 2048, ..., up to -d (65536)
//   threads  1, 2, 4, ..., and as many as there are
//   size     the models themselves, by the bytes of weights a token reads
// {"sweep","models":[{"model","points":[a report of klens_bench each]}]}
nlohmann::ordered_json run_sweep(const std::string& kind, const std::vector<std::string>& models,
                                 const Arguments& arguments, const klens_bench_options& options);

std::string csv_field(const std::string& text);  // quoted

// Its tables and its charts.
std::string sweep_markdown(const nlohmann::ordered_json& sweep);
std::string sweep_csv(const nlohmann::ordered_json& sweep);
std::string sweep_svg(const nlohmann::ordered_json& sweep);

}  // namespace klens::apps
