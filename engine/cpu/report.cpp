#include "engine/cpu/report.h"

#include <tbb/info.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "kernels/cpu/features.h"

namespace klens {
namespace {

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name"))
      return line.substr(std::min(line.find(':') + 2, line.size()));
  return "x86-64";
}

}  // namespace

DeviceReport cpu_report() {
  const struct {
    const char *name, *about;
    cpu::Features bit;
  } features[] = {
      {"avx2", "AVX2, FMA and F16C", cpu::kAvx2},
      {"avxvnni", "products of bytes, 256 bits", cpu::kAvxVnni},
      {"avx512", "AVX-512 F, BW, DQ and VL", cpu::kAvx512},
      {"avx512vnni", "products of bytes, 512 bits", cpu::kAvx512Vnni},
      {"avx512bf16", "products of BF16", cpu::kAvx512Bf16},
      {"fastbf16", "and faster than those of FP32", cpu::kFastBf16},
      {"amx", "tiles of bytes", cpu::kAmxInt8},
      {"amxbf16", "tiles of BF16", cpu::kAmxBf16},
  };
  DeviceReport report;
  report.backend = "cpu";
  report.name = processor();
  report.driver = std::string("kernels for ") + cpu::level_name();
  report.best = true;
  report.memory = static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  report.units = tbb::info::default_concurrency();
  for (const auto& feature : features)
    report.features.push_back({feature.name, feature.about, cpu::covers(cpu::detect(), feature.bit),
                               cpu::covers(cpu::active(), feature.bit)});
  return report;
}

}  // namespace klens
