// How configs are read, on the first architecture that klens had.
#include "loaders/config.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "base/error.h"
#include "tests/loaders/architectures.h"

namespace klens::testing {
namespace {

const std::vector<std::string> kHead = {"lm_head.weight"};

const Mamba1Spec& first_mixer(const ModelSpec& spec) { return mixer<Mamba1Spec>(spec, 0); }

}  // namespace

TEST_CASE("a published mamba config gives its shapes", "[config]") {
  const ModelSpec spec =
      build(R"({"architectures":["MambaForCausalLM"],"hidden_size":768,"intermediate_size":1536,
      "num_hidden_layers":24,"vocab_size":50280,"state_size":16,"conv_kernel":4,"time_step_rank":48,
      "use_bias":false,"use_conv_bias":true,"layer_norm_epsilon":1e-05,"hidden_act":"silu",
      "bos_token_id":0,"eos_token_id":0})");
  CHECK(spec.architecture == "MambaForCausalLM");
  CHECK(spec.blocks.size() == 24);
  CHECK(spec.vocab == 50280);
  CHECK(spec.tied());
  CHECK(spec.matrices[spec.head].tensor == "backbone.embeddings.weight");
  CHECK(spec.bos == 0);
  CHECK(spec.final_norm.eps == 1e-5f);
  const std::string first = "backbone.layers.0.mixer.";
  CHECK(matrix(spec, first + "in_proj").rows == 3072);
  CHECK(matrix(spec, first + "in_proj").cols == 768);
  CHECK(matrix(spec, first + "x_proj").rows == 48 + 2 * 16);
  CHECK(matrix(spec, first + "dt_proj").cols == 48);
  CHECK(shape_of(spec, first + "conv1d.weight") == std::vector<int64_t>{1536, 1, 4});
  CHECK(shape_of(spec, first + "A_log") == std::vector<int64_t>{1536, 16});
  CHECK(!first_mixer(spec).scan.dt_norm);
  CHECK(spec.parameters() == 129135360);  // mamba-130m's
}

TEST_CASE("other spellings and defaults mean the same", "[config]") {
  const ModelSpec spec = build(R"({"architectures":["MambaForCausalLM"],"d_model":20,"n_layer":2,
      "vocab_size":10,"hidden_size":null,"time_step_rank":"auto"})");
  const Mamba1Spec& mixer = first_mixer(spec);
  CHECK(spec.blocks.size() == 2);
  CHECK(mixer.scan.d_inner == 40);
  CHECK(mixer.scan.d_state == 16);
  CHECK(mixer.scan.d_conv == 4);
  CHECK(mixer.scan.dt_rank == 2);  // ceil(20 / 16)
  CHECK(mixer.scan.conv_bias);
  CHECK(!mixer.in_proj.bias);
  CHECK(!spec.bos);
  const ModelSpec other = build(
      R"({"architectures":["MambaForCausalLM"],"hidden_size":20,"num_hidden_layers":2,"expand":3,
      "vocab_size":10,"hidden_act":"swish"})");
  CHECK(other.smalls.at(*other.blocks.at(1).norm.weight).tensor == "backbone.layers.1.norm.weight");
  CHECK(first_mixer(other).scan.d_inner == 60);
}

TEST_CASE("biases are asked for where the config says so", "[config]") {
  const std::string start =
      R"({"architectures":["MambaForCausalLM"],"hidden_size":8,"num_hidden_layers":1,"vocab_size":4)";
  const ModelSpec with = build(start + R"(,"use_bias":true,"use_conv_bias":false})");
  CHECK(find_small(with, "backbone.layers.0.mixer.in_proj.bias"));
  CHECK(find_small(with, "backbone.layers.0.mixer.out_proj.bias"));
  CHECK(!find_small(with, "backbone.layers.0.mixer.conv1d.bias"));
  const ModelSpec without = build(start + "}");
  CHECK(!find_small(without, "backbone.layers.0.mixer.in_proj.bias"));
  CHECK(find_small(without, "backbone.layers.0.mixer.conv1d.bias"));
}

TEST_CASE("falcon mamba has norms of dt, B and C and a head of its own", "[config]") {
  const std::string start =
      R"({"architectures":["FalconMambaForCausalLM"],"hidden_size":8,"intermediate_size":24,
      "expand":16,"num_hidden_layers":1,"vocab_size":4,"tie_word_embeddings":false)";
  const ModelSpec spec = build(start + "}", kHead);
  CHECK(first_mixer(spec).scan.d_inner == 24);
  REQUIRE(first_mixer(spec).scan.b_norm);
  CHECK(first_mixer(spec).scan.b_norm->eps == 1e-6f);
  CHECK(!first_mixer(spec).scan.b_norm->weight);
  CHECK(!spec.tied());
  CHECK(spec.matrices[spec.embedding].tensor == "backbone.embeddings.weight");
  CHECK(spec.matrices[spec.head].tensor == "lm_head.weight");
  CHECK(first_mixer(build(start + R"(,"mixer_rms_eps":1e-3})", kHead)).scan.c_norm->eps == 1e-3f);
  CHECK_THROWS_WITH(build(start + "}"), Catch::Contains("there is no tensor lm_head.weight"));
}

TEST_CASE("an original state-spaces config is known without a name", "[config]") {
  const std::string start = R"({"d_model":1024,"n_layer":48,"vocab_size":50277,"ssm_cfg":)";
  const std::string end =
      R"(,"rms_norm":true,"residual_in_fp32":true,"fused_add_norm":true,"pad_vocab_size_multiple":8})";
  const ModelSpec spec = build(start + "{}" + end);
  CHECK(spec.architecture == "MambaLMHeadModel");
  CHECK(spec.vocab == 50280);  // padded to 8
  CHECK(spec.matrices[spec.head].tensor == "backbone.embedding.weight");
  CHECK(first_mixer(spec).scan.dt_rank == 64);
  CHECK(first_mixer(spec).scan.d_inner == 2048);
  const ModelSpec given = build(
      start +
      R"({"layer":"Mamba1","expand":3,"d_state":8,"d_conv":3,"dt_rank":5,"bias":true,"conv_bias":false})" +
      end);
  CHECK(first_mixer(given).scan.d_inner == 3072);
  CHECK(first_mixer(given).scan.d_state == 8);
  CHECK(first_mixer(given).scan.d_conv == 3);
  CHECK(first_mixer(given).scan.dt_rank == 5);
  CHECK(first_mixer(given).in_proj.bias);
  CHECK(!first_mixer(given).scan.conv_bias);
  CHECK(build(R"({"d_model":8,"n_layer":1,"vocab_size":17,"pad_vocab_size_multiple":16})").vocab ==
        32);
  CHECK(build(R"({"d_model":8,"n_layer":1,"vocab_size":16})").vocab == 16);

  for (const char* bad :
       {R"("ssm_cfg":{"layer":"Mamba3"})", R"("rms_norm":false)", R"("d_intermediate":64)",
        R"("attn_layer_idx":[3])", R"("attn_cfg":{"num_heads":4})"}) {
    CAPTURE(bad);
    try {
      build(std::string(R"({"d_model":8,"n_layer":1,"vocab_size":17,)") + bad + "}");
      FAIL("built");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUnsupported);
      CHECK_THAT(error.what(), Catch::StartsWith("config.json: "));
    }
  }
}

TEST_CASE("the largest sizes a config may name do not overflow", "[config]") {
  const ModelSpec spec =
      build(R"({"architectures":["MambaForCausalLM"],"hidden_size":1048576,"expand":64,
      "num_hidden_layers":4096,"vocab_size":16777216,"state_size":256,"conv_kernel":16,"time_step_rank":1048576})");
  CHECK(spec.parameters() > 0);
  CHECK(spec.parameters() < INT64_MAX / 4);
}

TEST_CASE("numbers above 2^63 do not turn negative", "[config]") {
  const std::string text = R"({"a":18446744073709551615,"b":-9223372036854775808})";
  const Config config(text, "config.json");
  CHECK_THROWS_WITH(config.integer({"a"}, INT64_MIN, INT64_MAX),
                    Catch::Contains("18446744073709551615"));
  CHECK(config.integer({"b"}, INT64_MIN, INT64_MAX) == INT64_MIN);
}

TEST_CASE("infinity is a number, spelled as Python does or as an object", "[config]") {
  const std::string text =
      R"({"a":[0.0,Infinity],"b":[{"__float__":"-Infinity"}],"c":"Infinity \" NaN","d":NaN})";
  const Config config(text, "config.json");
  CHECK(config.numbers("a") == std::vector<double>{0, INFINITY});
  CHECK(config.numbers("b") == std::vector<double>{-INFINITY});
  CHECK(config.text({"c"}, "") == "Infinity \" NaN");
  CHECK_THROWS_WITH(config.number({"d"}, 0, 1), Catch::Contains("d is "));
}

TEST_CASE("what nothing asked for is known", "[config]") {
  const std::string text = R"({"a":1,"b":2,"c":null,"d":false,"e":[],"f":"x"})";
  const Config config(text, "config.json");
  config.integer({"a", "f"}, 0, 9);
  CHECK(config.unread() == std::vector<std::string>{"b"});
}

TEST_CASE("messages quote what they found, shortly", "[config]") {
  const Config config(R"({"a":")" + std::string(5000, 'x') + R"(","b":"\n\u00e9"})", "config.json");
  try {
    config.integer({"a"}, 0, 1);
    FAIL("read");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).size() < 250);
    CHECK_THAT(error.what(), Catch::Contains("a is \"xxx") && Catch::Contains("...") &&
                                 Catch::EndsWith("get the file again, or correct it"));
  }
  CHECK_THROWS_WITH(config.integer({"b"}, 0, 1), Catch::Contains("b is \"\\n\\u00e9\""));
}

}  // namespace klens::testing
