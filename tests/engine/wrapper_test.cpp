// A model that sees images too: its language model runs, the rest is left out and named.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/session.h"
#include "klens/klens.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
using nlohmann::json;

// The golden as ForConditionalGeneration: its config under text_config, its tensors under
// model.language_model, with others of a vision tower and an MTP head.
void wrap(const std::string& golden, const std::string& folder,
          const std::map<std::string, std::string>& others) {
  const std::string from = data_path("goldens/" + golden);
  json text;
  std::ifstream(from + "/config.json") >> text;
  std::string name = text["architectures"][0];
  name.replace(name.find("ForCausalLM"), 11, "ForConditionalGeneration");
  text.erase("architectures");
  text["rope_parameters"]["mrope_section"] = {2, 1, 1};
  text["rope_parameters"]["mrope_interleaved"] = true;
  text["mtp_num_hidden_layers"] = 1;
  text["eos_token_id"] = 7;
  const json config = {{"architectures", {name}},
                       {"text_config", text},
                       {"vision_config", {{"depth", 2}, {"hidden_act", "gelu_pytorch_tanh"}}},
                       {"image_token_id", 5}};
  std::ofstream(folder + "/config.json") << config.dump();

  const SafetensorsFile file = SafetensorsFile::open(from + "/model.safetensors");
  json header = json::object();
  std::string data;
  const auto add = [&](const std::string& tensor, const json& shape, const std::string& bytes) {
    header[tensor] = {{"dtype", "F32"},
                      {"shape", shape},
                      {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data += bytes;
  };
  for (const auto& [tensor, view] : file.tensors())
    add(tensor.starts_with("model.") ? "model.language_model." + tensor.substr(6) : tensor,
        view.shape, {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()});
  for (const auto& [tensor, bytes] : others) add(tensor, {bytes.size() / 4}, bytes);
  const std::string head = header.dump();
  const uint64_t size = head.size();
  std::ofstream out(folder + "/model.safetensors", std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), sizeof size);
  out << head << data;
}

}  // namespace

TEST_CASE("a model that sees images runs as its language model", "[golden]") {
  const std::string name = GENERATE("qwen3_5", "qwen3_5_moe");
  CAPTURE(name);
  const TemporaryFolder folder;
  const std::string wrapped = folder / "wrapped";
  std::filesystem::create_directory(wrapped);
  wrap(name, wrapped,
       {{"model.visual.patch_embed.proj.weight", std::string(16, '\0')},
        {"model.visual.blocks.0.attn.qkv.weight", std::string(8, '\0')},
        {"mtp.fc.weight", std::string(8, '\0')}});
  const auto model = open_model(wrapped), plain = open_model(data_path("goldens/" + name));
  CHECK(model->checkpoint().left_out == "2 tensors of model.visual, 1 of mtp");
  CHECK(plain->checkpoint().left_out == "");
  REQUIRE(model->checkpoint().stop_tokens.size() == 1);
  CHECK(model->checkpoint().stop_tokens[0].id == 7);
  const std::vector<int32_t> ids = {3, 14, 15, 92, 65, 35};
  const auto logits = [&](const std::shared_ptr<const Model>& of) {
    std::vector<float> all(ids.size() * static_cast<size_t>(of->spec().vocab));
    Session(of, 512).eval(ids, all.data());
    return all;
  };
  CHECK(logits(model) == logits(plain));

  // A program is told, where it asks to be.
  std::vector<std::string> lines;
  klens_model_options options{};
  options.size = sizeof options;
  options.notice = [](void* user, const char* line) {
    static_cast<std::vector<std::string>*>(user)->emplace_back(line);
  };
  options.notice_user = &lines;
  klens_model* told = nullptr;
  REQUIRE(klens_model_open(wrapped.c_str(), &options, &told, nullptr) == KLENS_OK);
  klens_model_free(told);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0] ==
        wrapped + ": left out, as no text needs them: 2 tensors of model.visual, 1 of mtp");

  // What is of neither is refused as in every model.
  wrap(name, wrapped, {{"model.audio.weight", std::string(8, '\0')}});
  CHECK_THROWS_WITH(open_model(wrapped), Catch::Contains("model.audio.weight"));
}

}  // namespace klens
