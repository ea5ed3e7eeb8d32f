// What the commands print: the promised keys, on standard output and nowhere else, the same every
// time.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "tests/apps/run_program.h"

using namespace klens::testing;
using nlohmann::json;

namespace {

void check_keys(const json& object, std::initializer_list<const char*> keys) {
  REQUIRE(object.is_object());
  for (const char* key : keys) {
    INFO(key);
    CHECK(object.contains(key));
  }
}

}  // namespace

TEST_CASE("generate reports ids, text and speeds") {
  const json r = run_json({"generate", kModel, "-p", "The river", "-n", "12", "--json"});
  check_keys(r, {"ids", "text", "prompt_tokens", "prefill_tok_s", "decode_tok_s"});
  CHECK(r["ids"].size() == r["prompt_tokens"].get<size_t>() + 12);
  CHECK_THAT(r["text"].get<std::string>(), Catch::StartsWith("The river"));
  CHECK(r["text"] == "The river" + r["continuation"].get<std::string>());
  CHECK(r["prefill_tok_s"] > 0);
  CHECK(r["decode_tok_s"] > 0);
}

TEST_CASE("generate streams what it reports") {
  const std::vector<std::string> call = {"generate", kModel, "-p",     "The river",
                                         "-n",       "12",   "--seed", "3"};
  const json r = run_json(call + std::vector<std::string>{"--json"});
  const Outcome plain = run(call);
  CHECK(plain.out == r["text"].get<std::string>() + "\n");
  CHECK_THAT(plain.err, Catch::Contains("tok/s"));
  CHECK(run(call + std::vector<std::string>{"-q"}).err.empty());
  CHECK(run(call + std::vector<std::string>{"--no-display-prompt"}).out ==
        r["continuation"].get<std::string>() + "\n");
}

TEST_CASE(
    "generation stops at a token that tokenizer_config.json alone names, and inspect shows it") {
  const std::vector<std::string> options = {"-p", "The river", "-n", "12", "--greedy", "--json"};
  const json whole = run_json(std::vector<std::string>{"generate", kModel} + options);
  const size_t prompt = whole["prompt_tokens"];
  const json last = whole["ids"].back();
  size_t made = 1;
  while (whole["ids"][prompt + made - 1] != last) ++made;
  std::string text;
  const json tokenizer = json::parse(read_text(kModel + "/tokenizer.json"));
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items())
    if (id == last) text = token;
  const Folder folder;
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
    std::filesystem::create_symlink(kModel + "/" + name, folder / name);
  write_text(folder / "tokenizer_config.json", json{{"eos_token", text}}.dump());
  run(std::vector<std::string>{"quantize", folder / "", "-o", folder / "model.klens", "--uniform",
                               "fp16", "--no-measure"});
  for (const std::string& model : {folder / "", folder / "model.klens"}) {
    CAPTURE(model);
    const json stopped = run_json(std::vector<std::string>{"generate", model} + options);
    CHECK(stopped["stop"] != whole["stop"]);
    CHECK(stopped["generated_tokens"] == made);
    const json report = run_json({"inspect", model, "--json"});
    CHECK(report["stop_tokens"].back() ==
          json{{"id", last}, {"text", text}, {"from", "tokenizer_config.json"}});
    CHECK_THAT(run({"inspect", model}).out,
               Catch::Contains(" (" + last.dump() + ", tokenizer_config.json)"));
  }
}

TEST_CASE("inspect shows which stop tokens are not in the vocabulary") {
  const Folder folder;
  for (const char* name : {"model.safetensors", "tokenizer.json"})
    std::filesystem::create_symlink(kModel + "/" + name, folder / name);
  json config = json::parse(read_text(kModel + "/config.json"));
  config["eos_token_id"] = {0, 4096};
  write_text(folder / "config.json", config.dump());
  write_text(folder / "tokenizer_config.json", R"({"eos_token": "<|nowhere|>"})");
  const std::string copy = folder / "copy.klens";
  REQUIRE(run({"quantize", folder / "", "-o", copy, "--uniform", "fp16", "--no-measure"}).code ==
          0);
  for (const std::string& model : {folder / "", copy}) {
    CAPTURE(model);
    const json report = run_json({"inspect", model, "--json"});
    CHECK(report["missing_stop_tokens"] ==
          json::array(
              {{{"id", 4096}, {"text", ""}, {"from", "config.json"}},
               {{"id", nullptr}, {"text", "<|nowhere|>"}, {"from", "tokenizer_config.json"}}}));
    CHECK(report["stop_tokens"].size() == 2);
    CHECK_THAT(run({"inspect", model}).out,
               Catch::Contains("<|endoftext|> (0, config.json); (4096, config.json): not in the "
                               "vocabulary; <|nowhere|> (tokenizer_config.json): not in the "
                               "vocabulary\n"));
  }
  CHECK(run_json({"inspect", kModel, "--json"})["missing_stop_tokens"].empty());
}

TEST_CASE("an empty prompt begins with the model's first token, not with its end") {
  const json r = run_json({"generate", kModel, "-p", "", "-n", "4", "--ignore-eos", "--json"});
  CHECK(r["prompt_tokens"] == 1);
  CHECK(r["ids"][0] == 0);
  CHECK(r["ids"].size() == 5);
  const Folder folder;
  for (const char* name : {"model.safetensors", "tokenizer.json"})
    std::filesystem::create_symlink(kModel + "/" + name, folder / name);
  json config = json::parse(read_text(kModel + "/config.json"));
  config.erase("bos_token_id");
  write_text(folder / "config.json", config.dump());
  check_failure({"generate", folder / "", "-p", ""}, "no token to start from");
}

TEST_CASE("generate is a function of the seed") {
  const auto ids = [](std::vector<std::string> options) {
    return run_json(
        std::vector<std::string>{"generate", kModel, "-p", "The", "-n", "24", "--json"} +
        options)["ids"];
  };
  CHECK(ids({}) == ids({}));
  CHECK(ids({"--seed", "5"}) == ids({"--seed", "5"}));
  CHECK(ids({"--seed", "5"}) != ids({"--seed", "6"}));
  const json greedy = ids({"--greedy"});
  CHECK(greedy == ids({"--temp", "0", "--seed", "9"}));
  CHECK(greedy == ids({"--top-k", "1"}));
  CHECK(greedy == ids({"--greedy", "-b", "1", "-t", "1"}));
}

TEST_CASE("the prompt comes from the call, a file, standard input or ids alike") {
  const Folder folder;
  write_text(folder / "prompt", "The river");
  const std::vector<std::string> rest = {"-n", "4", "--greedy", "--json"};
  const auto with = [&](std::vector<std::string> prompt, const std::string& input = "") {
    Call call;
    call.arguments = std::vector<std::string>{"generate", kModel} + prompt + rest;
    call.input = input;
    const Outcome outcome = run(call);
    REQUIRE(outcome.code == 0);
    return json::parse(outcome.out)["ids"];
  };
  const json ids = with({"-p", "The river"});
  CHECK(with({"-f", folder / "prompt"}) == ids);
  CHECK(with({"-p", "-"}, "The river") == ids);
  CHECK(with({"-f", "-"}, "The river") == ids);
  const Outcome tokens = run({"tokenize", kModel, "-p", "The river"});
  CHECK(with({"--ids", "-"}, tokens.out) == ids);
}

TEST_CASE("tokenize prints ids; a folder with only tokenizer.json will do") {
  const Folder folder;
  write_text(folder / "tokenizer.json", read_text(kModel + "/tokenizer.json"));
  const json r = run_json({"tokenize", kModel, "-p", "The river", "--json"});
  check_keys(r, {"ids"});
  CHECK(r == run_json({"tokenize", folder / "", "-p", "The river", "--json"}));
  CHECK(run({"tokenize", kModel, "-p", ""}).out == "\n");
}

TEST_CASE("perplexity reports every figure of a text") {
  const std::vector<std::string> call = {"perplexity", kModel, "-f", kSample, "-c", "256", "-q"};
  const json r = run_json(call + std::vector<std::string>{"--json"});
  check_keys(
      r, {"tokens", "windows", "nll", "ppl", "ppl_stderr", "word_ppl", "bits_per_byte", "tok_s"});
  CHECK(r["ppl"].get<double>() == Approx(std::exp(r["nll"].get<double>())));
  CHECK(r["ppl"] > 10);
  CHECK(r["ppl"] < 300);
  const Outcome plain = run(call);
  CHECK(plain.code == 0);
  CHECK(plain.err.empty());
  CHECK_THAT(plain.out, Catch::Contains("perplexity") && Catch::Contains("bits per byte"));
  CHECK(run_json(call + std::vector<std::string>{"--windows", "1", "--json"})["windows"] == 1);
}

TEST_CASE("compare finds a model equal to itself") {
  const json r =
      run_json({"compare", kModel, kModel, "-f", kSample, "--windows", "1", "-q", "--json"});
  check_keys(r, {"kl", "kl_stderr", "kl_p99", "top1_agreement", "ppl_a", "ppl_b", "tokens"});
  CHECK(std::abs(r["kl"].get<double>()) < 1e-9);
  CHECK(r["top1_agreement"] == 1);
  CHECK(r["ppl_a"] == r["ppl_b"]);
  const Outcome plain = run({"compare", kModel, kModel, "-f", kSample, "--windows", "1", "-q"});
  for (const char* label :
       {"Mean PPL", "Mean KLD", "99.9% KLD", "Median KLD", "Mean dp", "RMS dp", "Same top p"})
    CHECK_THAT(plain.out, Catch::Contains(label));
}

TEST_CASE("logits writes a safetensors file of the promised shape") {
  const Folder folder;
  write_text(folder / "ids", "422 3258 15");
  const std::string out = folder / "logits.safetensors";
  const json r = run_json({"logits", kModel, "--ids", folder / "ids", "-o", out, "--json"});
  CHECK(r["tokens"] == 3);
  CHECK(r["vocab"] == 4096);
  const std::string file = read_text(out);
  REQUIRE(file.size() > 8 + 3 * 4096 * 4);
  CHECK_THAT(file.substr(8, 300), Catch::Contains("\"logits\"") && Catch::Contains("[3,4096]"));
}

TEST_CASE("inspect says what a checkpoint holds") {
  const json r = run_json({"inspect", kModel, "--json"});
  check_keys(r, {"architecture", "parameters", "bytes", "bpw", "units", "plan", "provenance"});
  CHECK(r["units"].size() == 35);
  for (const json& unit : r["units"])
    check_keys(unit, {"name", "kind", "layer", "block", "rows", "cols", "format", "bytes"});
  const Outcome plain = run({"inspect", kModel});
  CHECK_THAT(plain.out, Catch::Contains("out_proj") && Catch::Contains("layer"));
}

TEST_CASE("inspect counts layers as the checkpoint does") {
  const std::string llama = std::string(KLENS_TEST_DATA) + "/goldens/llama";
  const json config = json::parse(read_text(llama + "/config.json"));
  const int64_t layers = config["num_hidden_layers"];
  const json r = run_json({"inspect", llama, "--json"});
  CHECK(r["layers"] == layers);
  CHECK(r["blocks"] == 2 * layers);  // residual steps: attention and an MLP
  CHECK(r["context_length"] == config["max_position_embeddings"]);
  for (const json& unit : r["units"]) {
    const std::string name = unit["name"];
    const size_t at = name.find("layers.");
    CHECK(unit["layer"] ==
          (at == std::string::npos ? json() : json(std::stoi(name.substr(at + 7)))));
  }
  CHECK(r["stored_types"].size() == 1);
  CHECK(r["stored_types"].begin().key() == "f32");
  // Its map: a row per layer, each of them full.
  const std::string plain = run({"inspect", llama}).out;
  const size_t header = plain.find("  layer ");
  REQUIRE(header != std::string::npos);
  const std::string map = plain.substr(header, plain.find("head", header) - header);
  CHECK(map.find(" . ") == std::string::npos);
  CHECK(run_json({"inspect", kModel, "--json"})["context_length"].is_null());
}

TEST_CASE("bench reports in four formats", "[long]") {
  const std::vector<std::string> call = {"bench", kModel, "-p", "16", "-n", "4", "-r", "2", "-q"};
  const json r = run_json(call + std::vector<std::string>{"--json"});
  check_keys(r, {"isa", "threads", "weight_bytes", "tests", "read_gb_s", "decode_gb_s",
                 "integer_gop_s", "prefill_gop_s", "first_token_ms", "token_ms", "state_bytes"});
  REQUIRE(r["tests"].size() == 2);
  for (const json& test : r["tests"]) check_keys(test, {"name", "tok_s", "stddev"});
  CHECK_THAT(run(call).out,
             Catch::StartsWith("| model") && Catch::Contains("that each token reads"));
  CHECK_THAT(run(call + std::vector<std::string>{"-o", "csv"}).out, Catch::StartsWith("model,"));
  CHECK(json::parse(run(call + std::vector<std::string>{"-o", "json"}).out).contains("tests"));
  const std::string lines = run(call + std::vector<std::string>{"-o", "jsonl"}).out;
  CHECK(json::parse(lines.substr(0, lines.find('\n'))).contains("tok_s"));
}

TEST_CASE("bench sweeps one quantity for several models, as a table and as a drawing", "[long]") {
  const Folder folder;
  const std::string odd = folder / "a&<b", drawing = folder / "sweep.svg";
  std::filesystem::create_directory_symlink(std::filesystem::absolute(kModel), odd);
  const std::vector<std::string> call = {"bench", kModel, odd,  "-p", "8",
                                         "-n",    "2",    "-r", "1",  "-q"};
  const auto sweep = [&](const char* kind, const std::vector<std::string>& more) {
    return call + std::vector<std::string>{"--sweep", kind} + more;
  };
  const json batch = run_json(sweep("batch", {"--json", "--svg", drawing}));
  REQUIRE(batch["models"].size() == 2);
  std::vector<int> batches;
  for (const json& point : batch["models"][1]["points"]) {
    batches.push_back(point["batch"]);
    REQUIRE(point["tests"].size() == 1);  // decoding alone
    check_keys(point, {"token_ms", "decode_gb_s", "read_gb_s"});
  }
  CHECK(batches == std::vector<int>{1, 2, 4, 8, 16, 32});
  const std::string svg = read_text(drawing);
  CHECK_THAT(svg, Catch::StartsWith("<svg") && Catch::EndsWith("</svg>\n"));
  CHECK_THAT(svg, Catch::Contains("tokens/s") && Catch::Contains("prefers-color-scheme: dark"));
  CHECK_THAT(svg, Catch::Contains("a&amp;&lt;b") && !Catch::Contains("a&<"));

  const json length = run_json(sweep("length", {"--json", "-d", "2500"}));
  const json& points = length["models"][0]["points"];
  REQUIRE(points.size() == 2);
  CHECK(points[0]["depth"] == 1024);
  CHECK(points[1]["depth"] == 2048);
  CHECK(run_json(sweep("threads", {"--json", "-t", "1"}))["models"][0]["points"].size() == 1);
  CHECK_THAT(run(sweep("size", {})).out, Catch::StartsWith("| model | weights read"));
  CHECK_THAT(run(sweep("size", {"-o", "csv"})).out, Catch::StartsWith("model,weight_bytes,"));
  const std::string lines = run(sweep("size", {"-o", "jsonl"})).out;
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 4);  // two tests of two models
}

TEST_CASE("bench says where weights come from if not from memory") {
  const std::string out = run({"bench", kModel, "-p", "16", "-n", "16", "-r", "1"}).out;
  double decode = 0, memory = 0;
  const std::string line = out.substr(out.find("  decode"));
  REQUIRE(std::sscanf(line.c_str(), " decode %lf GB/s of weights of %lf that", &decode, &memory) ==
          2);
  const bool told = line.substr(0, line.find('\n')).ends_with("gives: they lie in the CPU's cache");
  if (std::fabs(decode - memory) > 0.01) CHECK(told == (decode > memory));
}
