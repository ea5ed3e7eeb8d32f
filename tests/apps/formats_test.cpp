// The commands on models that come as GGUF and as pytorch_model.bin.
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <set>

#include "tests/apps/run_program.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

using namespace klens::testing;
using klens::SafetensorsFile;
using nlohmann::json;

namespace {

std::string ids_file(const Folder& folder, const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += std::to_string(id) + "\n";
  write_text(folder / "ids", text);
  return folder / "ids";
}

json greedy(const std::string& model, const std::string& ids, const Words& options = {}) {
  return run_json(Words{"generate", model, "--ids", ids, "--greedy", "--ignore-eos", "--json"} +
                  options)["ids"];
}

std::vector<float> logits(const Folder& folder, const std::string& model, const std::string& ids,
                          const Words& options = {}) {
  const std::string out = folder / "logits.safetensors";
  REQUIRE(run(Words{"logits", model, "--ids", ids, "-o", out} + options).code == 0);
  return tensor_values<float>(SafetensorsFile::open(out), "logits");
}

// In units of the contract's 1 + |logit|.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::fabs(double{a[i]} - b[i]) / (1 + std::fabs(double{b[i]})));
  return worst;
}

json int8_copy(const std::string& model, const std::string& to) {
  return run_json({"quantize", model, "--uniform", "int8", "-c", "16", "-o", to, "-q", "--json"});
}

// The committed checkpoint, once with pytorch_model.bin and once with model.safetensors, and for
// both a tokenizer of its 16 tokens.
struct Twins {
  Twins() {
    namespace fs = std::filesystem;
    const std::string source = data_path("pytorch/mamba/");
    json vocab;
    for (int i = 0; i < 16; ++i) vocab[std::string(1, static_cast<char>('a' + i))] = i;
    const json tokenizer = {
        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
    for (const std::string& twin : {pytorch, safetensors}) {
      fs::create_directories(twin);
      fs::copy_file(source + "config.json", twin + "/config.json");
      write_text(twin + "/tokenizer.json", tokenizer.dump());
    }
    fs::copy_file(source + "pytorch_model.bin", pytorch + "/pytorch_model.bin");
    fs::copy_file(source + "expected.safetensors", safetensors + "/model.safetensors");
  }
  Folder folder;
  // A model file has the name of its source's folder.
  std::string pytorch = folder / "pytorch/twin", safetensors = folder / "safetensors/twin";
};

// Whatever opens a model fails with one line that mentions this.
void check_refused(const Folder& folder, const std::string& model, const std::string& mentions) {
  const std::string ids = ids_file(folder, {1, 2});
  check_failure({"inspect", model}, mentions);
  check_failure({"generate", model, "--ids", ids}, mentions);
  check_failure({"logits", model, "--ids", ids, "-o", folder / "out"}, mentions);
  check_failure({"quantize", model, "--uniform", "int8", "-o", folder / "out", "-q"}, mentions);
  CHECK_FALSE(exists(folder / "out"));
}

void check_every_cut_refused(const Folder& folder, const std::string& model,
                             const std::string& file) {
  const std::string whole = read_text(file);
  for (const size_t size : {size_t{0}, size_t{30}, whole.size() / 2, whole.size() - 1}) {
    INFO(size << " bytes of " << file);
    write_text(file, whole.substr(0, size));
    check_refused(folder, model, file);
  }
}

}  // namespace

TEST_CASE("a GGUF gives the reference's text and logits") {
  const std::string name = GENERATE("llama_bias", "mamba2", "nemotron_h");
  CAPTURE(name);
  const Folder folder;
  const std::string model = data_path("gguf/" + name + ".gguf");
  const auto reference =
      SafetensorsFile::open(data_path("gguf/" + name + ".reference.safetensors"));
  const auto wanted = tensor_values<int32_t>(reference, "greedy_ids");
  const std::string prompt = ids_file(folder, {wanted.begin(), wanted.begin() + 8});
  CHECK(greedy(model, prompt, {"-n", "16", "--kv", "f32"}) == json(wanted));
  const std::string ids = ids_file(folder, tensor_values<int32_t>(reference, "input_ids"));
  CHECK(distance(logits(folder, model, ids, {"--kv", "f32"}),
                 tensor_values<float>(reference, "logits")) <= 2e-4);

  const json r = run_json({"inspect", model, "--json"});
  CHECK(r["file_bytes"] == std::filesystem::file_size(model));
  CHECK(r["vocab"] == 64);
  for (const json& unit : r["units"]) CHECK(unit["format"] == "f16");

  const std::string copy = folder / "copy.klens";
  const json report = int8_copy(model, copy);
  CHECK(report["kl"] < 0.01);
  const json checked = run_json({"inspect", copy, "--verify", "--json"});
  for (const json& unit : checked["units"]) CHECK(unit["format"] == "int8");
  CHECK(greedy(copy, ids, {"-n", "4"}).size() == 28);
}

TEST_CASE("--kv says how keys and values are kept") {
  const Folder folder;
  const std::string model = data_path("gguf/llama_bias.gguf");
  const auto reference = SafetensorsFile::open(data_path("gguf/llama_bias.reference.safetensors"));
  const auto wanted = tensor_values<float>(reference, "logits");
  const std::string ids = ids_file(folder, tensor_values<int32_t>(reference, "input_ids"));
  const auto error = [&](const std::string& kv) {
    return distance(logits(folder, model, ids, {"--kv", kv}), wanted);
  };
  CHECK(error("f32") <= 2e-4);
  CHECK(error("f32") < error("fp16"));
  CHECK(error("fp16") < error("int8"));
  CHECK(error("int8") < 0.1);
}

TEST_CASE("every command reads the tokenizer of a GGUF") {
  const Folder folder;
  const std::string model = folder / "small.gguf", copy = folder / "small.klens";
  GgufBuilder file = small_gguf_llama();
  write_text(model, add_gguf_tokenizer(file).bytes());
  // The file, and the folder that it lies in.
  for (const std::string& path : {model, folder / ""}) {
    const json r = run_json({"inspect", path, "--json"});
    CHECK(r["context_length"] == 64);
    CHECK(r["layers"] == 1);
    CHECK(r["stored_types"] == json{{"f32", file.tensors.size()}});
    CHECK(r["tokenizer"] == true);
    CHECK(r["tokenizer_error"].is_null());
  }
  write_text(folder / "text", "abaabbab");
  int8_copy(model, copy);
  for (const std::string& path : {model, copy}) {
    CAPTURE(path);
    CHECK(run({"tokenize", path, "-p", "abba"}).out == "2 1 0\n");
    // All weights are alike, so all 4 tokens are equally likely, and greedy takes the first.
    CHECK(run_json({"generate", path, "-p", "ab", "-n", "3", "--greedy", "--json"})["text"] ==
          "abaaa");
    CHECK(run_json({"perplexity", path, "-f", folder / "text", "-q", "--json"})["ppl"] ==
          Approx(4));
    Call chat;
    chat.arguments = {"chat", path, "-n", "3", "--greedy"};
    chat.input = "ab\n";
    CHECK(run(chat).out == "aaa\n");
  }
  const json same = run_json({"compare", model, copy, "-f", folder / "text", "-q", "--json"});
  CHECK(same["kl"].get<double>() == Approx(0).margin(1e-9));
}

TEST_CASE("pytorch_model.bin gives what the same weights in safetensors give") {
  const Twins twins;
  const Folder& folder = twins.folder;
  const std::string ids = ids_file(folder, {0, 15, 3, 3, 9, 1, 12});
  write_text(folder / "text", "abcdefghijklmnopponmlkjihgfedcba");
  const auto both = [&](const auto& command) {
    CHECK(command(twins.pytorch) == command(twins.safetensors));
  };
  both([&](const std::string& model) { return greedy(model, ids, {"-n", "8"}); });
  both([&](const std::string& model) { return logits(folder, model, ids); });
  both([&](const std::string& model) { return run_json({"inspect", model, "--json"})["units"]; });
  both([&](const std::string& model) {
    json r = run_json({"perplexity", model, "-f", folder / "text", "-q", "--json"});
    r.erase("tok_s");
    CHECK(r["ppl"] > 1);
    return r;
  });
  for (const std::string& model : {twins.pytorch, twins.safetensors})
    int8_copy(model, model + ".klens");
  CHECK((read_text(twins.pytorch + ".klens") == read_text(twins.safetensors + ".klens")));
  CHECK(run({"tokenize", twins.pytorch, "-p", "face"}).out == "5 0 2 4\n");
  CHECK(greedy(twins.pytorch + ".klens", ids, {"-n", "8"}).size() == 15);
}

TEST_CASE("a GGUF and the checkpoint it was made from quantise alike", "[shared]") {
  const std::string gguf = shared_path("goldens/gguf/wiki-llama.f16.gguf"),
                    checkpoint = shared_path("models/wiki-llama");
  if (gguf.empty() || checkpoint.empty()) return;
  const Folder folder;
  const json a = int8_copy(gguf, folder / "a.klens"), b = int8_copy(checkpoint, folder / "b.klens");
  for (const char* key : {"kl", "bpw", "ppl_before", "ppl_after", "units"}) CHECK(a[key] == b[key]);
  const auto text = [&](const std::string& model) {
    return run_json(
        {"generate", model, "-p", "The river", "-n", "16", "--greedy", "--json"})["ids"];
  };
  CHECK(text(folder / "a.klens") == text(folder / "b.klens"));
  CHECK(text(gguf) == text(checkpoint));
  const auto loss = [&](const std::string& model) {
    return run_json({"perplexity", model, "-f", kSample, "--windows", "2", "-q", "--json"})["nll"];
  };
  CHECK(loss(gguf) == loss(checkpoint));
}

TEST_CASE("unknown architectures are named") {
  const Folder folder;
  GgufBuilder file = small_gguf_llama();
  write_text(folder / "bert.gguf", file.text("general.architecture", "bert").bytes());
  check_refused(folder, folder / "bert.gguf", "bert");
  const Twins twins;
  write_text(twins.pytorch + "/config.json",
             R"({"model_type": "bert", "architectures": ["BertForMaskedLM"]})");
  check_refused(folder, twins.pytorch, "BertForMaskedLM");
}

TEST_CASE("what is left of a damaged download is refused") {
  const Folder folder;
  write_text(folder / "cut.gguf", read_text(data_path("gguf/mamba.gguf")));
  check_every_cut_refused(folder, folder / "cut.gguf", folder / "cut.gguf");
  const Twins twins;
  check_every_cut_refused(folder, twins.pytorch, twins.pytorch + "/pytorch_model.bin");
}

TEST_CASE("a model whose tokenizer klens lacks runs on ids, and says so where text is needed") {
  const Twins twins;
  const std::string& model = twins.safetensors;
  write_text(model + "/tokenizer.json", R"({"model":{"type":"WordPiece","vocab":{}}})");
  const std::string ids = ids_file(twins.folder, {1, 2}), copy = twins.folder / "copy.klens";
  CHECK(run({"inspect", model}).code == 0);
  CHECK(run({"bench", model, "-p", "4", "-n", "2", "-r", "1"}).code == 0);
  const json told = greedy(model, ids, {"-n", "4"});
  CHECK(told.size() == 6);
  CHECK(int8_copy(model, copy).is_object());
  CHECK(greedy(copy, ids, {"-n", "4"}).size() == 6);
  for (const std::string& path : {model, copy}) {
    check_failure({"generate", path, "-p", "a", "-n", "2"}, "WordPiece");
    check_failure({"perplexity", path, "-f", kSample}, "WordPiece");
    const json inspected = run_json({"inspect", path, "--json"});
    CHECK(inspected["tokenizer"] == true);
    CHECK_THAT(inspected["tokenizer_error"].get<std::string>(), Catch::Contains("WordPiece"));
    CHECK_THAT(run({"inspect", path}).out, Catch::Contains("tokenizer          cannot be used: "));
  }
  const std::string profile = twins.folder / "x.json", out = twins.folder / "x.klens";
  check_failure({"profile", model, "-o", profile, "-f", kSample, "-q"}, "WordPiece");
  check_failure({"quantize", model, "-o", out, "--uniform", "int8", "-f", kSample, "-q"},
                "WordPiece");
}

TEST_CASE("a model whose tokenizer is damaged runs on ids") {
  const Twins twins;
  const std::string& model = twins.safetensors;
  const std::string ids = ids_file(twins.folder, {1, 2});
  for (const char* text :
       {"{}", "[]", "nothing", "{\"model\":", "{\"model\":{\"type\":\"BPE\"}}"}) {
    CAPTURE(text);
    write_text(model + "/tokenizer.json", text);
    CHECK(greedy(model, ids, {"-n", "4"}).size() == 6);
    check_failure({"generate", model, "-p", "a", "-n", "2"}, "tokenizer.json");
    check_failure({"chat", model}, "tokenizer.json");
    CHECK_FALSE(run_json({"inspect", model, "--json"})["tokenizer_error"].is_null());
  }
}

TEST_CASE("special_tokens_map.json names what ends a turn") {
  const Folder folder;
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
    std::filesystem::create_symlink(kModel + "/" + name, folder / name);
  const std::string word =
      run_json({"generate", kModel, "-p", "The river", "-n", "1", "--greedy", "--json"})["ids"]
          .back()
          .dump();
  // As the vocabulary spells that token.
  const json vocabulary = json::parse(read_text(kModel + "/tokenizer.json"))["model"]["vocab"];
  std::string text;
  for (const auto& [token, id] : vocabulary.items())
    if (id.dump() == word) text = token;
  REQUIRE(text != "");
  const auto stops = [&] { return run_json({"inspect", folder / "", "--json"})["stop_tokens"]; };
  const json before = stops();
  for (const json& map : {json{{"eos_token", text}}, json{{"eos_token", {{"content", text}}}}}) {
    write_text(folder / "special_tokens_map.json", map.dump());
    const json after = stops();
    REQUIRE(after.size() == before.size() + 1);
    CHECK(after.back() ==
          json{{"id", std::stoi(word)}, {"text", text}, {"from", "special_tokens_map.json"}});
    const json made =
        run_json({"generate", folder / "", "-p", "The river", "-n", "9", "--greedy", "--json"});
    CHECK(made["stop"] == "end");
    CHECK(made["generated_tokens"] == 1);
  }
  for (const char* none : {"{}", "{\"eos_token\": 7}", "{\"eos_token\": \"no such token\"}"}) {
    write_text(folder / "special_tokens_map.json", none);
    CHECK(stops() == before);
  }
  // What a template may print, where tokenizer_config.json does not say.
  write_text(folder / "special_tokens_map.json", "{\"bos_token\": \"The\"}");
  write_text(folder / "chat_template.jinja", "{{ bos_token }} river");
  CHECK(run({"chat", folder / "", "-p", "x", "-n", "4", "--greedy"}).out ==
        run({"generate", kModel, "-p", "The river", "-n", "4", "--greedy", "--no-display-prompt"})
            .out);
  write_text(folder / "special_tokens_map.json", "[]");
  check_failure({"inspect", folder / ""}, "special_tokens_map.json");
}

TEST_CASE("an id that the tokenizer has no token for is not chosen") {
  const Twins twins;
  const std::string& model = twins.safetensors;
  // 8 tokens and a hole among them, for 16 rows of logits.
  write_text(model + "/tokenizer.json",
             R"({"model":{"type":"BPE","merges":[],
                 "vocab":{"a":0,"b":1,"c":2,"e":4,"f":5,"g":6,"h":7,"i":8}}})");
  const Words hot = {"--temp",  "1000", "--top-k",      "0",  "--top-p", "1",
                     "--min-p", "0",    "--ignore-eos", "-n", "200",     "--json"};
  const auto chosen = [&](const Words& prompt) {
    std::set<int> ids;
    const json report = run_json(Words{"generate", model} + prompt + hot);
    for (const json& id : report.at("ids")) ids.insert(id.get<int>());
    return ids;
  };
  CHECK(chosen({"-p", "a"}) == std::set<int>{0, 1, 2, 4, 5, 6, 7, 8});
  CHECK(chosen({"--ids", ids_file(twins.folder, {0})}).size() == 16);
}
