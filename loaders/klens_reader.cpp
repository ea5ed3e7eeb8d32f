#include <tbb/parallel_for.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "loaders/architectures/architecture.h"
#include "loaders/checksum.h"
#include "loaders/choice_json.h"
#include "loaders/json.h"
#include "loaders/klens_file.h"
#include "loaders/klens_schema.h"
#include "loaders/profile_json.h"
#include "quant/unit_name.h"

namespace klens {
namespace {

using nlohmann::json;

constexpr const char* kQuantizeAgain =
    ": the file is damaged, quantise the model again or get the file again";

// One .klens file while it is read.
class Reader {
 public:
  Reader(const std::string& path, bool verify) : path_(path), file_(SafetensorsFile::open(path)) {
    check_version();
    for (const char* key : klens_key::kRequired) required(key);
    if (file_.header_bytes() % 64 != 0)
      fail("its data does not start at a multiple of 64 bytes" + std::string(kQuantizeAgain));
    units_ = object(klens_key::kUnits);
    if (verify) check_checksums();
  }

  Checkpoint read() {
    Checkpoint result;
    result.path = path_;
    result.name = text(klens_key::kName);
    result.texts = {.config = required(klens_key::kConfig),
                    .generation_config = text(klens_key::kGenerationConfig),
                    .tokenizer = text(klens_key::kTokenizer),
                    .tokenizer_config = text(klens_key::kTokenizerConfig),
                    .chat_template = text(klens_key::kChatTemplate),
                    .tokenizer_problem = ""};
    const Config config(result.texts.config, path_ + " (klens.config)");
    result.spec = read_spec(config);
    result.stop_tokens = read_stop_tokens(result.texts, config);
    if (text(klens_key::kArchitecture) != result.spec.architecture)
      fail(std::string(klens_key::kArchitecture) + " is \"" +
           brief(text(klens_key::kArchitecture)) + "\", its config says " +
           result.spec.architecture + kQuantizeAgain);
    for (const LinearSpec& unit : result.spec.units) {
      const StoredUnit stored = read_unit(unit);
      result.tensor_bytes += stored.bytes;
      result.units[unit.name] = stored;
    }
    for (const SmallSpec& small : result.spec.smalls) {
      result.tensor_bytes += tensor(small.tensor).bytes.size();
      result.small[small.tensor] = read_small(small);
    }
    refuse_bad_numbers();
    refuse_leftovers(result);
    result.plan = plan_from_json(required(klens_key::kPlan), path_ + " (" + klens_key::kPlan + ")");
    check_plan(*result.plan, result);
    const JsonDocument provenance = object(klens_key::kProvenance);
    for (const auto& [key, value] : provenance->items())
      if (value.is_string()) result.provenance[key] = value.get<std::string>();
    const std::string sums = result.texts.config + "\n" + required(klens_key::kChecksums);
    result.checksums = xxh3_hex(std::as_bytes(std::span(sums)));
    result.file_bytes = file_.file_bytes();
    result.files.push_back(file_.mapping());
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kBadFile, path_ + ": " + what);
  }

  std::string text(const char* key) const {
    const auto found = file_.metadata().find(key);
    return found == file_.metadata().end() ? "" : found->second;
  }
  std::string required(const char* key) const {
    if (file_.metadata().count(key) == 0) fail(std::string("lacks ") + key + kQuantizeAgain);
    return text(key);
  }
  JsonDocument object(const char* key) const {
    JsonDocument value = parse_json(required(key), path_ + " (" + key + ")");
    if (!value->is_object()) fail(std::string(key) + " is not a JSON object" + kQuantizeAgain);
    return value;
  }

  void check_version() const {
    if (file_.metadata().count(klens_key::kVersion) == 0)
      fail("is a safetensors file, but no klens model file; give the checkpoint's folder instead");
    const std::string version = text(klens_key::kVersion);
    const std::string major = version.substr(0, version.find('.'));
    if (major != "1" && major != "2")
      throw Error(ErrorKind::kUnsupported, path_ + ": has format version " + brief(version) +
                                               ", this klens reads versions 1 and 2; update klens");
  }

  void check_checksums() const {
    const JsonDocument checksums = object(klens_key::kChecksums);
    for (const auto& [name, view] : file_.tensors()) {
      const auto found = checksums->find(name);
      if (found == checksums->end() || !found->is_string())
        fail("tensor " + brief(name) + " has no checksum" + kQuantizeAgain);
      if (found->get<std::string>() != xxh3_hex(view.bytes))
        fail("tensor " + brief(name) + " has a wrong checksum" + kQuantizeAgain);
    }
  }

  ModelSpec read_spec(const Config& config) const {
    std::set<std::string> held;  // tensors of the checkpoint that the units were made of
    for (const auto& [name, unit] : units_->items())
      if (unit.is_object() && unit.contains("tensor") && unit["tensor"].is_string())
        held.insert(unit["tensor"].get<std::string>());
    ModelSpec spec = build_spec(config, [&](const std::string& name) {
      return held.count(name) != 0 || file_.tensors().count(name) != 0;
    });
    cut_as_stored(spec);
    return spec;
  }

  // Where units begin is what the file says, whatever klens would cut today.
  void cut_as_stored(ModelSpec& spec) const {
    std::map<std::string, std::set<int64_t>> begins;
    for (const auto& [name, unit] : units_->items()) {
      const std::optional<UnitName> parsed = parse_unit_name(name);
      if (parsed && parsed->rows) begins[parsed->matrix].insert(parsed->rows->first);
    }
    for (MatrixSpec& matrix : spec.matrices) {
      std::set<int64_t>& rows = begins[matrix.name];
      rows.erase(0);
      matrix.cuts.assign(rows.begin(), rows.end());
      for (const int64_t row : matrix.cuts)
        if (row >= matrix.rows || row % kTileOutputs != 0)
          fail("klens.units cuts " + matrix.name + " at row " + std::to_string(row) +
               ", where no unit can begin" + kQuantizeAgain);
    }
    make_units(spec);
  }

  // Files from before 1.1 leave them to the texts.
  std::vector<StopToken> read_stop_tokens(const ModelTexts& texts, const Config& config) const {
    const Config generation(texts.generation_config.empty() ? "{}" : texts.generation_config,
                            path_ + " (klens.generation_config)");
    if (file_.metadata().count(klens_key::kStopTokens) != 0)
      return parse_stop_tokens(text(klens_key::kStopTokens),
                               path_ + " (" + klens_key::kStopTokens + ")");
    return find_stop_tokens(texts, config, generation, path_);
  }

  const TensorView& tensor(const std::string& name) {
    const auto found = file_.tensors().find(name);
    if (found == file_.tensors().end()) fail("tensor " + name + " is missing" + kQuantizeAgain);
    seen_.insert(name);
    return found->second;
  }

  std::span<const std::byte> part(const std::string& name, size_t bytes) {
    if (bytes == 0) return {};
    const TensorView& view = tensor(name);
    if (view.dtype != DType::kU8 || view.bytes.size() != bytes)
      fail("tensor " + name + " has " + std::to_string(view.bytes.size()) + " bytes of " +
           dtype_name(view.dtype) + ", its format needs " + std::to_string(bytes) + " of U8" +
           kQuantizeAgain);
    if (reinterpret_cast<uintptr_t>(view.bytes.data()) % 64 != 0)
      fail("tensor " + name + " does not start at a multiple of 64 bytes" + kQuantizeAgain);
    return view.bytes;
  }

  // Halves that the kernels take to be finite; refuse_bad_numbers() looks.
  void expect_finite(const std::string& name, std::span<const std::byte> halves) {
    numbers_.emplace_back(name, TensorView{.dtype = DType::kF16, .shape = {}, .bytes = halves});
  }

  // All tensors at once, as most are too small to be worth several threads.
  void refuse_bad_numbers() const {
    tbb::parallel_for(size_t{0}, numbers_.size(), [&](size_t i) {
      const auto& [name, view] = numbers_[i];
      refuse_non_finite(view, path_ + ": tensor " + name);
    });
  }

  StoredUnit read_unit(const LinearSpec& unit) {
    const auto found = units_->find(unit.name);
    if (found == units_->end() || !found->is_object())
      fail("klens.units lacks " + unit.name + kQuantizeAgain);
    const Config entry(JsonDocument(*found), path_ + " (klens.units, " + unit.name + ")");
    const Choice choice = choice_from_json(entry);
    const Format* format = find_format(choice.format);
    if (format == nullptr)
      throw Error(ErrorKind::kUnsupported, path_ + ": unit " + unit.name + " has format \"" +
                                               brief(choice.format) + "\", this klens reads " +
                                               names_of(kFormats) + "; update klens");
    if (!knows_activation_bits(choice))
      throw Error(ErrorKind::kUnsupported,
                  path_ + ": unit " + unit.name + " has activations of " +
                      std::to_string(choice.activation_bits) + " bits with " + format->name +
                      ", this klens knows 8, and 16 with integers; update klens");
    const int64_t rows = entry.integer({"rows"}, 1, INT64_MAX),
                  cols = entry.integer({"cols"}, 1, INT64_MAX);
    if (rows != unit.rows || cols != unit.cols)
      fail("unit " + unit.name + " has shape " + shape_text(std::vector<int64_t>{rows, cols}) +
           ", the config asks for " + shape_text(std::vector<int64_t>{unit.rows, unit.cols}) +
           kQuantizeAgain);
    const auto qweight = part(unit.name + ".qweight", weight_bytes(*format, rows, cols));
    const auto scale = part(unit.name + ".scale", scale_bytes(*format, rows, cols));
    if (format->layout == Layout::kTilesF16) expect_finite(unit.name + ".qweight", qweight);
    expect_finite(unit.name + ".scale", scale);
    return {.view = packed_view(*format, rows, cols, qweight.data(), scale.data()),
            .format = format,
            .choice = choice,
            .bytes = qweight.size() + scale.size(),
            .stored_type = format->name,
            .stored_bytes = qweight.size() + scale.size(),
            .quantised = format != &kBaseFormat};
  }

  TensorView read_small(const SmallSpec& small) {
    TensorView view = tensor(small.tensor);
    numbers_.emplace_back(small.tensor, view);
    const int64_t needed = small.elements(), there = view.elements();
    const bool padded = view.shape.size() == 1 && there > needed && there - needed < 64;
    if (view.shape != small.shape && !padded)
      fail("tensor " + small.tensor + " has shape " + shape_text(view.shape) +
           ", the config asks for " + shape_text(small.shape) + kQuantizeAgain);
    view.shape = small.shape;
    view.bytes = view.bytes.first(static_cast<size_t>(needed) * dtype_bytes(view.dtype));
    return view;
  }

  void refuse_leftovers(const Checkpoint& read) const {
    for (const auto& [name, view] : file_.tensors())
      if (seen_.count(name) == 0)
        fail("tensor " + brief(name) + " belongs to no unit of the model" + kQuantizeAgain);
    for (const auto& [name, unit] : units_->items())
      if (read.units.count(name) == 0)
        fail("klens.units names " + brief(name) + ", which the model does not have" +
             kQuantizeAgain);
  }

  // The plan is what made the file: it names the same units and formats.
  void check_plan(const Plan& plan, const Checkpoint& read) const {
    for (const auto& [name, unit] : read.units) {
      const auto found = plan.units.find(name);
      if (found == plan.units.end() || found->second != unit.choice)
        fail("klens.plan has another choice for unit " + name + " than klens.units" +
             kQuantizeAgain);
    }
    for (const auto& [name, choice] : plan.units)
      if (read.units.count(name) == 0)
        fail("klens.plan names " + brief(name) + ", which the model does not have" +
             kQuantizeAgain);
  }

  std::string path_;
  SafetensorsFile file_;
  JsonDocument units_;
  std::set<std::string> seen_;
  std::vector<std::pair<std::string, TensorView>> numbers_;  // must be finite
};

}  // namespace

Checkpoint read_klens_file(const std::string& path, bool verify) {
  return Reader(path, verify).read();
}

}  // namespace klens
