#include "engine/jobs/inspect.h"

#include "loaders/profile_json.h"

namespace klens {
namespace {

const char* precision_name(const StoredUnit& unit) {
  if (unit.format != nullptr) return unit.format->name;
  switch (unit.view.layout) {
    case Layout::kRowsF32:
      return "f32";
    case Layout::kRowsBf16:
      return "bf16";
    default:
      return "f16";
  }
}

}  // namespace

nlohmann::ordered_json unit_row(const LinearSpec& unit, const std::string& format,
                                const std::string& quantizer, size_t bytes) {
  return {{"name", unit.name}, {"kind", unit.kind}, {"block", unit.block},    {"rows", unit.rows},
          {"cols", unit.cols}, {"format", format},  {"quantizer", quantizer}, {"bytes", bytes}};
}

nlohmann::ordered_json inspect(const std::string& path, bool verify) {
  const Checkpoint checkpoint = open_checkpoint(path, verify);
  const ModelSpec& spec = checkpoint.spec;
  nlohmann::ordered_json units = nlohmann::ordered_json::array();
  double unit_bytes = 0, weights = 0;
  for (const LinearSpec& unit : spec.units) {
    const StoredUnit& stored = checkpoint.units.at(unit.name);
    units.push_back(unit_row(unit, precision_name(stored), stored.quantizer, stored.bytes));
    unit_bytes += static_cast<double>(stored.bytes);
    weights += static_cast<double>(unit.rows) * static_cast<double>(unit.cols);
  }
  nlohmann::ordered_json report = {
      {"path", path},
      {"name", checkpoint.name},
      {"architecture", spec.architecture},
      {"parameters", spec.parameters()},
      {"bytes", checkpoint.tensor_bytes},
      {"bpw", 8 * unit_bytes / weights},
      {"file_bytes", checkpoint.file_bytes},
      {"vocab", spec.vocab},
      {"d_model", spec.d_model},
      {"blocks", spec.blocks.size()},
      {"tied_head", spec.tied()},
      {"tokenizer", !checkpoint.texts.tokenizer.empty()},
      {"chat_template", !checkpoint.texts.chat_template.empty()},
      {"units", std::move(units)},
      {"plan", checkpoint.plan ? nlohmann::ordered_json::parse(plan_to_json(*checkpoint.plan))
                               : nlohmann::ordered_json()},
      {"provenance", checkpoint.provenance}};
  // Reading refuses what fails these, so a report exists only for a sound file.
  report["checks"] = {{"structure", "ok"},
                      {"shapes", "ok"},
                      {"checksums", !checkpoint.plan ? "none in a checkpoint"
                                    : verify         ? "ok"
                                                     : "not checked (--verify)"}};
  return report;
}

}  // namespace klens
