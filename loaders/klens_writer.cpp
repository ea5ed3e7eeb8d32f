#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "kernels/half.h"
#include "loaders/atomic_file.h"
#include "loaders/checksum.h"
#include "loaders/choice_json.h"
#include "loaders/klens_file.h"
#include "loaders/klens_schema.h"
#include "loaders/profile_json.h"
#include "quant/unit_name.h"

namespace klens {
namespace {

using nlohmann::ordered_json;
using Checksums = std::map<std::string, std::string>;

constexpr size_t kAlign = 64;

const Choice& planned(const LinearSpec& unit, const Plan& plan) {
  const auto found = plan.units.find(unit.name);
  KLENS_CHECK(found != plan.units.end() && find_format(found->second.format) != nullptr);
  return found->second;
}

// A small tensor as the file stores it: FP16 where that loses nothing, else FP32; padded with zeros
// to a multiple of 64 bytes, and then one-dimensional.
struct StoredSmall {
  TensorEntry entry;
  std::vector<std::byte> bytes;
};

bool fits_f16(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) {
    return std::bit_cast<uint32_t>(f16_to_f32(f32_to_f16(v))) == std::bit_cast<uint32_t>(v);
  });
}

TensorEntry small_entry(const SmallSpec& small, const std::vector<float>& values) {
  const bool half = fits_f16(values);
  const size_t width = half ? 2 : 4, bytes = values.size() * width;
  const size_t padded = (bytes + kAlign - 1) / kAlign * kAlign;
  return {.name = small.tensor,
          .dtype = half ? DType::kF16 : DType::kF32,
          .shape = padded == bytes ? small.shape
                                   : std::vector<int64_t>{static_cast<int64_t>(padded / width)},
          .bytes = padded};
}

StoredSmall store_small(const SmallSpec& small, const std::vector<float>& values) {
  StoredSmall stored{.entry = small_entry(small, values), .bytes = {}};
  stored.bytes.resize(stored.entry.bytes);
  for (size_t i = 0; i < values.size(); ++i) {
    if (stored.entry.dtype == DType::kF32) {
      std::memcpy(stored.bytes.data() + 4 * i, &values[i], 4);
    } else {
      const uint16_t half = f32_to_f16(values[i]);
      std::memcpy(stored.bytes.data() + 2 * i, &half, 2);
    }
  }
  return stored;
}

std::vector<TensorEntry> tensor_entries(const Checkpoint& source, const Plan& plan) {
  std::vector<TensorEntry> entries;
  const auto add_part = [&](const std::string& name, size_t bytes) {
    if (bytes != 0) entries.push_back({name, DType::kU8, {static_cast<int64_t>(bytes)}, bytes});
  };
  for (const LinearSpec& unit : source.spec.units) {
    const Format& format = *find_format(planned(unit, plan).format);
    add_part(unit.name + ".qweight", weight_bytes(format, unit.rows, unit.cols));
    add_part(unit.name + ".scale", scale_bytes(format, unit.rows, unit.cols));
  }
  for (const SmallSpec& small : source.spec.smalls)
    entries.push_back(small_entry(small, to_f32(source.small.at(small.tensor))));
  return entries;
}

std::string units_json(const ModelSpec& spec, const Plan& plan) {
  ordered_json units = ordered_json::object();
  for (const LinearSpec& unit : spec.units) {
    const Choice& choice = planned(unit, plan);
    ordered_json& entry = units[unit.name] = {{"tensor", unit.tensor}, {"kind", unit.kind}};
    put_choice(choice, entry);
    entry["rows"] = unit.rows;
    entry["cols"] = unit.cols;
  }
  return units.dump();
}

const char* version_of(const Plan& plan) {
  const bool newer = std::any_of(plan.units.begin(), plan.units.end(), [](const auto& unit) {
    const std::optional<UnitName> name = parse_unit_name(unit.first);
    return unit.second.activation_bits != Choice().activation_bits || (name && name->rows);
  });
  return newer ? kKlensFormatVersionNewer : kKlensFormatVersion;
}

std::string header_text(const Checkpoint& source, const KlensHeader& header,
                        const Checksums& checksums) {
  std::map<std::string, std::string> metadata = {
      {klens_key::kVersion, version_of(header.plan)},
      {klens_key::kName, source.name},
      {klens_key::kArchitecture, source.spec.architecture},
      {klens_key::kStopTokens, stop_tokens_json(source.stop_tokens)},
      {klens_key::kUnits, units_json(source.spec, header.plan)},
      {klens_key::kPlan, plan_to_json(header.plan)},
      {klens_key::kProvenance, nlohmann::json(header.provenance).dump()},
      {klens_key::kChecksums, nlohmann::json(checksums).dump()},
  };
  const auto add_text = [&](const char* key, const std::string& text) {
    if (!text.empty()) metadata[key] = text;
  };
  add_text(klens_key::kConfig, source.texts.config);
  add_text(klens_key::kGenerationConfig, source.texts.generation_config);
  add_text(klens_key::kTokenizer, source.texts.tokenizer);
  add_text(klens_key::kTokenizerConfig, source.texts.tokenizer_config);
  add_text(klens_key::kChatTemplate, source.texts.chat_template);
  return safetensors_header(tensor_entries(source, header.plan), metadata);
}

// As long as the real ones, which are known only once the data is written.
Checksums blank_checksums(const Checkpoint& source, const Plan& plan) {
  Checksums checksums;
  for (const TensorEntry& entry : tensor_entries(source, plan))
    checksums[entry.name] = std::string(16, '0');
  return checksums;
}

// A plan made for a size promises the whole file's.
void check_budget(const std::string& path, const Plan& plan, size_t bytes) {
  uint64_t most = 0;
  const char* const end = plan.budget.data() + plan.budget.size();
  const auto [unit, error] = std::from_chars(plan.budget.data(), end, most);
  if (error != std::errc() || std::string_view(unit, end) != " bytes" || bytes <= most) return;
  throw Error(ErrorKind::kBadArgument, path + ": would be " + std::to_string(bytes) +
                                           " bytes, more than the budget of " + plan.budget +
                                           "; allow more, or plan again");
}

}  // namespace

size_t klens_header_bytes(const Checkpoint& source, const KlensHeader& header) {
  return header_text(source, header, blank_checksums(source, header.plan)).size();
}

size_t klens_fixed_bytes(const Checkpoint& source) {
  size_t bytes = 0;
  for (const SmallSpec& small : source.spec.smalls)
    bytes += small_entry(small, to_f32(source.small.at(small.tensor))).bytes;
  return bytes;
}

size_t write_klens_file(const std::string& path, const Checkpoint& source,
                        const KlensHeader& header, const Quantize& quantize) {
  Checksums checksums = blank_checksums(source, header.plan);
  const std::string blank = header_text(source, header, checksums);
  size_t total = blank.size();
  AtomicFile file(path);
  file.write(blank);
  const auto put = [&](const std::string& name, std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    checksums.at(name) = xxh3_hex(bytes);
    file.write(bytes);
    total += bytes.size();
  };
  for (const LinearSpec& unit : source.spec.units) {
    const PackedWeight packed = quantize(source.units.at(unit.name), planned(unit, header.plan));
    put(unit.name + ".qweight", {packed.qweight.data(), packed.qweight.size()});
    put(unit.name + ".scale", {packed.scale.data(), packed.scale.size()});
  }
  for (const SmallSpec& small : source.spec.smalls)
    put(small.tensor, store_small(small, to_f32(source.small.at(small.tensor))).bytes);
  const std::string final_header = header_text(source, header, checksums);
  KLENS_CHECK(final_header.size() == blank.size());
  check_budget(path, header.plan, total);
  file.write_at_start(final_header);
  file.commit();
  return total;
}

}  // namespace klens
