#include "engine/jobs/inspect.h"

#include <algorithm>

#include "loaders/context_length.h"
#include "loaders/tokenizer/model_tokenizer.h"
#include "quant/layer.h"

namespace klens {
namespace {

Choice choice_of(const StoredUnit& unit) {
  return unit.choice ? *unit.choice : Choice{unit.stored_type, ""};
}

std::map<std::string, int64_t> stored_types(const Checkpoint& checkpoint) {
  std::map<std::string, int64_t> types;
  for (const auto& [name, unit] : checkpoint.units) ++types[unit.stored_type];
  for (const auto& [name, view] : checkpoint.small) {
    std::string type = dtype_name(view.dtype);
    for (char& c : type) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    ++types[type];
  }
  return types;
}

}  // namespace

UnitReport unit_report(const LinearSpec& unit, Choice choice, size_t bytes) {
  return {.name = unit.name,
          .kind = unit.kind,
          .layer = layer_of(unit.name),
          .block = unit.block,
          .rows = unit.rows,
          .cols = unit.cols,
          .choice = std::move(choice),
          .bytes = bytes,
          .kl = std::nullopt};
}

InspectReport inspect(const std::string& path, bool verify) {
  Checkpoint checkpoint = open_checkpoint(path, verify);
  const ModelSpec& spec = checkpoint.spec;
  InspectReport report;
  double unit_bytes = 0, weights = 0;
  for (const LinearSpec& unit : spec.units) {
    const StoredUnit& stored = checkpoint.units.at(unit.name);
    report.units.push_back(unit_report(unit, choice_of(stored), stored.stored_bytes));
    report.layers = std::max(report.layers, report.units.back().layer.value_or(-1) + 1);
    unit_bytes += static_cast<double>(stored.stored_bytes);
    weights += static_cast<double>(unit.rows) * static_cast<double>(unit.cols);
  }
  report.stored_types = stored_types(checkpoint);
  report.path = path;
  report.name = checkpoint.name;
  report.architecture = spec.architecture;
  report.parameters = spec.parameters();
  report.bytes = checkpoint.tensor_bytes;
  report.file_bytes = checkpoint.file_bytes;
  report.bpw = 8 * unit_bytes / weights;
  report.vocab = spec.vocab;
  report.d_model = spec.d_model;
  report.context_length = context_length(checkpoint);
  report.blocks = spec.blocks.size();
  report.tied_head = spec.tied();
  const ModelTokenizer read = read_tokenizer(checkpoint.texts, path);
  report.tokenizer = read.tokenizer.has_value() || !read.problem.empty();
  report.tokenizer_problem = read.problem;
  report.chat_template = !checkpoint.texts.chat_template.empty();
  report.stop_tokens = checkpoint.stop_tokens;
  report.missing_stops = find_missing_stops(checkpoint.texts, checkpoint.stop_tokens, spec.vocab,
                                            read.tokenizer ? &*read.tokenizer : nullptr, path);
  report.left_out = checkpoint.left_out;
  report.plan = std::move(checkpoint.plan);
  report.provenance = std::move(checkpoint.provenance);
  report.verified = verify;
  return report;
}

}  // namespace klens
