// A spec and the tensors of its files brought together.
#include "loaders/checkpoint.h"

#include <catch2/catch.hpp>

#include "tests/loaders/architectures.h"
#include "tests/loaders/damage.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

std::string refused_folder(const std::string& path) {
  return refusal([&] { open_checkpoint(path, false); });
}

}  // namespace

TEST_CASE("a tied model's stored head is the embedding, or is refused", "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string model = folder / "model", weights = model + "/model.safetensors";
  write_tiny_checkpoint(model, {.tied = false});
  CHECK(refused_folder(model).empty());
  for (const char* patch : {R"({"tie_word_embeddings":true})", R"({"tie_word_embeddings":null})"}) {
    CAPTURE(patch);
    config(patch)(model);
    CHECK_THAT(refused_folder(model),
               Catch::StartsWith(weights + ": tensor lm_head.weight is not the embedding, but "
                                           "config.json ties the head to it") &&
                   Catch::Contains("\"tie_word_embeddings\": false"));
  }
  Container container = Container::read(weights);
  std::copy_n(container.tensor("backbone.embeddings.weight"), 8 * 8 * 4,
              container.tensor("lm_head.weight"));
  write_bytes(weights, container.bytes());
  CHECK(refused_folder(model).empty());
  CHECK(open_checkpoint(model, false).spec.tied());
}

TEST_CASE("weights of other types are refused with what to do", "[checkpoint]") {
  const auto said = [](DType dtype) { return refusal([&] { row_layout(dtype, "f: tensor t"); }); };
  CHECK(said(DType::kF64) ==
        "f: tensor t has dtype F64; weights must be F32, F16 or BF16: convert it to F32 "
        "(tensor.float())");
  CHECK(said(DType::kI8) ==
        "f: tensor t has dtype I8; weights must be F32, F16 or BF16: give the checkpoint in one of "
        "them, not a quantised one");
}

TEST_CASE("a GGUF's errors speak of the GGUF", "[checkpoint][gguf]") {
  const TemporaryFolder folder;
  const std::string path = folder / "model.gguf";
  const auto said = [&](void (*damage)(GgufBuilder&)) {
    GgufBuilder file = small_gguf_llama();
    damage(file);
    write_bytes(path, file.bytes());
    const std::string message = refused_folder(path);
    CHECK_THAT(message, Catch::StartsWith(path));
    CHECK_THAT(message, !Catch::Contains("config.json"));
    CHECK_THAT(message, !Catch::Contains("both files"));
    return message;
  };
  CHECK_THAT(said([](GgufBuilder& f) {
               std::erase_if(f.tensors,
                             [](const auto& t) { return t.name == "blk.0.attn_q.weight"; });
             }),
             Catch::Contains("its header asks for it with shape [8, 8]"));
  CHECK_THAT(said([](GgufBuilder& f) { f.u32("llama.feed_forward_length", 24); }),
             Catch::Contains("its header asks for [24, 8]: convert the model again"));
  CHECK_THAT(said([](GgufBuilder& f) { f.f32_tensor("blk.0.attn_q.bias", {8}); }),
             Catch::Contains("is missing") || Catch::Contains("is not one that"));
  CHECK_THAT(said([](GgufBuilder& f) { f.u32("llama.attention.head_count", 3); }),
             Catch::Contains("convert the model again") || Catch::Contains("(its keys)"));
}

}  // namespace klens
