#include "kernels/cpu/features.h"

#include <cstdlib>

#include "tests/kernels/testing.h"

namespace klens::cpu {
namespace {

TEST_CASE("features: each word allows itself and all below", "[features]") {
  const char* words[] = {"scalar", "avx2", "avxvnni", "avx512", "amx"};
  const Features own[] = {kBaseline, kAvx2, kAvxVnni,
                          kAvx512 | kAvx512Vnni | kAvx512Bf16 | kFastBf16, kAmxInt8 | kAmxBf16};
  Features sum = kBaseline;
  for (int i = 0; i < 5; ++i) {
    sum |= own[i];
    bool known = false;
    CHECK(allowed_by(words[i], &known) == sum);
    CHECK(known);
  }
}

TEST_CASE("features: an unknown word allows nothing", "[features]") {
  for (const char* word : {"", "AVX2", "avx", "avx5120", "native", " scalar"}) {
    bool known = true;
    CHECK(allowed_by(word, &known) == kBaseline);
    CHECK_FALSE(known);
  }
}

TEST_CASE("features: KLENS_ISA lowers and never raises", "[features]") {
  CHECK((active() & ~detect()) == 0);
  CHECK(active() == active());
  const char* word = std::getenv("KLENS_ISA");
  if (word == nullptr) {
    CHECK(active() == detect());
    CHECK(isa_variable_error().empty());
  } else {
    bool known = false;
    CHECK(active() == (detect() & allowed_by(word, &known)));
    CHECK(isa_variable_error().empty() == known);
    if (known && covers(detect(), allowed_by(word, &known)))
      CHECK(level_name() == std::string(word));
  }
  std::printf("detected 0x%x, active 0x%x, level %s\n", detect(), active(), level_name());
}

TEST_CASE("features: an extension implies what it builds on", "[features]") {
  if (covers(detect(), kAvx512)) CHECK(covers(detect(), kAvx2));
  if (covers(detect(), kAvx512Vnni)) CHECK(covers(detect(), kAvx512));
  if (covers(detect(), kAvx512Bf16)) CHECK(covers(detect(), kAvx512));
  if (covers(detect(), kFastBf16)) CHECK(covers(detect(), kAvx512Bf16));
}

TEST_CASE("variants: the first covered row is taken", "[features]") {
  using Fn = int();
  constexpr Variant<Fn> kTable[] = {
      {"both", kAvx512 | kAvx2, nullptr}, {"avx2", kAvx2, nullptr}, {"scalar", kBaseline, nullptr}};
  const std::span<const Variant<Fn>> table = kTable;
  CHECK(best_variant(table, kAvx2 | kAvx512).name == std::string("both"));
  CHECK(best_variant(table, kAvx512).name == std::string("scalar"));
  CHECK(best_variant(table, kAvx2).name == std::string("avx2"));
  CHECK(best_variant(table, kBaseline).name == std::string("scalar"));
}

}  // namespace
}  // namespace klens::cpu
