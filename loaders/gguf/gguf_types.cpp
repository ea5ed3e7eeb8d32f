#include <algorithm>
#include <array>

#include "loaders/gguf/gguf_file.h"
#include "loaders/gguf/gguf_parser.h"

namespace klens {
namespace {

// All types that files have, so that one klens does not read is refused by its name.
constexpr GgmlTypeInfo kTypes[] = {
    {"F32", 0, 1, 4},         {"F16", 1, 1, 2},        {"Q4_0", 2, 32, 18},
    {"Q4_1", 3, 32, 20},      {"Q5_0", 6, 32, 22},     {"Q5_1", 7, 32, 24},
    {"Q8_0", 8, 32, 34},      {"Q8_1", 9, 32, 0},      {"Q2_K", 10, 256, 84},
    {"Q3_K", 11, 256, 110},   {"Q4_K", 12, 256, 144},  {"Q5_K", 13, 256, 176},
    {"Q6_K", 14, 256, 210},   {"Q8_K", 15, 256, 0},    {"IQ2_XXS", 16, 256, 0},
    {"IQ2_XS", 17, 256, 0},   {"IQ3_XXS", 18, 256, 0}, {"IQ1_S", 19, 256, 0},
    {"IQ4_NL", 20, 32, 18},   {"IQ3_S", 21, 256, 0},   {"IQ2_S", 22, 256, 0},
    {"IQ4_XS", 23, 256, 136}, {"I8", 24, 1, 0},        {"I16", 25, 1, 0},
    {"I32", 26, 1, 0},        {"I64", 27, 1, 0},       {"F64", 28, 1, 0},
    {"IQ1_M", 29, 256, 0},    {"BF16", 30, 1, 2},      {"TQ1_0", 34, 256, 0},
    {"TQ2_0", 35, 256, 0},    {"MXFP4", 39, 32, 17},   {"NVFP4", 40, 64, 0},
};

}  // namespace

const GgmlTypeInfo* find_ggml_type(uint32_t number) {
  const auto at = std::find_if(std::begin(kTypes), std::end(kTypes),
                               [&](const GgmlTypeInfo& row) { return row.number == number; });
  return at == std::end(kTypes) ? nullptr : at;
}

const GgmlTypeInfo& ggml_type_info(GgmlType type) {
  return *find_ggml_type(static_cast<uint32_t>(type));
}

std::string readable_ggml_types() {
  std::string names;
  for (const GgmlTypeInfo& row : kTypes)
    if (row.bytes != 0) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

}  // namespace klens
