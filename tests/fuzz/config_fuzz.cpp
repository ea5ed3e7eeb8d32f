// The first line is a config.json, the rest a generation_config.json.
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "loaders/architectures/architecture.h"
#include "loaders/checkpoint.h"
#include "loaders/config.h"
#include "quant/format.h"

namespace {

// No size that a spec leads to may overflow, in any format.
void check_sizes(const klens::ModelSpec& spec) {
  int64_t bytes = 0;
  const auto add = [&](int64_t more) {
    if (more < 1 || __builtin_add_overflow(bytes, more, &bytes)) std::abort();
  };
  for (const klens::LinearSpec& unit : spec.units)
    for (const klens::Format& format : klens::kFormats)
      add(static_cast<int64_t>(klens::packed_bytes(format, unit.rows, unit.cols) / 8));
  for (const klens::SmallSpec& small : spec.smalls) add(small.elements());
  if (spec.parameters() < 1) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.find('\n');
  const std::string_view rest = line == input.npos ? "{}" : input.substr(line + 1);
  for (const bool untied : {false, true}) {
    try {
      const klens::Config config(std::string(input.substr(0, line)), "config");
      const klens::Config generation(std::string(rest), "generation");
      klens::find_stop_tokens({}, config, generation, "model");
      check_sizes(klens::build_spec(config, [&](const std::string&) { return untied; }));
    } catch (const klens::Error&) {
    }
  }
  return 0;
}
