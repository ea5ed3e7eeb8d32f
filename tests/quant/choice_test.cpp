#include "quant/choice.h"

#include <catch2/catch.hpp>

namespace klens {

TEST_CASE("a choice's format is named with its activations where they have 16 bits", "[choice]") {
  CHECK(format_text({"int4g32", "gptq"}) == "int4g32");
  CHECK(format_text({"int4g32", "gptq", 16}) == "int4g32@16");
  CHECK(text_of({"int4g32", "gptq", 16}) == "int4g32@16 (gptq)");
  for (const Format& format : kFormats) {
    const FormatText coarse = parse_format_text(format.name);
    CHECK(coarse.format == &format);
    CHECK(coarse.activation_bits == 8);
    const FormatText fine = parse_format_text(std::string(format.name) + "@16");
    CHECK(fine.format == (format.activation_group == 0 ? nullptr : &format));
  }
  for (const char* wrong : {"", "@16", "int4g32@", "int4g32@8", "int4g32@32", "int4g32@16@16"})
    CHECK(parse_format_text(wrong).format == nullptr);
}

TEST_CASE("activations have 8 bits, or 16 with integers", "[choice]") {
  CHECK(unknown_part({"int8", "rtn", 16}).empty());
  CHECK(unknown_part({"fp16", "rtn", 8}).empty());
  CHECK_THAT(unknown_part({"fp16", "rtn", 16}), Catch::Contains("16 bits with fp16"));
  CHECK_THAT(unknown_part({"int8", "rtn", 12}), Catch::Contains("12 bits"));
  CHECK(Choice{"int8", "rtn", 16} != Choice{"int8", "rtn"});
}

}  // namespace klens
