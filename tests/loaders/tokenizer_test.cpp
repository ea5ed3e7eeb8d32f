#include "loaders/tokenizer/tokenizer.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "loaders/json.h"
#include "loaders/tokenizer/utf8.h"
#include "tests/skipped.h"

namespace klens {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;
namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in);
  return {std::istreambuf_iterator<char>(in), {}};
}

fs::path shared_folder() {
  const char* given = std::getenv("KLENS_SHARED");
  return given ? given : KLENS_SHARED;
}

Tokenizer load(const fs::path& path) {
  return Tokenizer::from_json(read_file(path), path.string());
}

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  StreamDecoder decoder(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = decoder.push(id);
    CHECK(utf8::is_valid(part));
    text += part;
  }
  return text + decoder.finish();
}

void check_decoding(const Tokenizer& tokenizer, const Ids& ids, bool skip_special,
                    const std::string& want) {
  CHECK(tokenizer.decode(ids, skip_special) == want);
  CHECK(streamed(tokenizer, ids, skip_special) == want);
}

// A tokenizer whose members can be replaced one by one.
json small() {
  return json::parse(R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
    "normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":{"type":"Fuse"},
    "model":{"type":"BPE","unk_token":"?","vocab":{"?":0,"a":1,"b":2,"ab":3," ":4},"merges":["a b"]}})");
}

Tokenizer make(const json& j) { return Tokenizer::from_json(j.dump(), "test.json"); }

void check_refused_json(const json& j, const std::string& word) {
  INFO(j.dump().substr(0, 500));
  try {
    make(j);
    FAIL("was not refused");
  } catch (const Error& e) {
    const std::string message = e.what();
    INFO(message);
    CHECK(message.starts_with("test.json"));
    CHECK(message.find(word) != message.npos);
    CHECK(message.find('\n') == message.npos);
  }
}

TEST_CASE("our own tokenizers give what the package gives", "[tokenizer]") {
  size_t tokenizers = 0, texts = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(KLENS_TEST_DATA) / "tokenizers")) {
    const std::string file = entry.path().string();
    if (file.ends_with(".vectors.json")) continue;
    INFO(file);
    const Tokenizer tokenizer = load(entry.path());
    ++tokenizers;
    for (const json& v : json::parse(read_file(file.substr(0, file.size() - 4) + "vectors.json"))) {
      const std::string text = v[0];
      INFO(v[0].dump());
      ++texts;
      CHECK(tokenizer.encode(text, false) == v[1].get<Ids>());
      const Ids full = v[2].get<Ids>(), some = v[5].get<Ids>();
      CHECK(tokenizer.encode(text, true) == full);
      check_decoding(tokenizer, full, false, v[3]);
      check_decoding(tokenizer, full, true, v[4]);
      check_decoding(tokenizer, some, false, v[6]);
    }
  }
  CHECK(tokenizers >= 26);
  CHECK(texts >= tokenizers * 30);
}

TEST_CASE("published tokenizers give what the package gives", "[tokenizer][shared]") {
  const fs::path shared = shared_folder();
  if (!fs::exists(shared / "tokenizers")) {
    WARN("skipped: no folder " << (shared / "tokenizers").string() << "; set KLENS_SHARED");
    testing::skipped = true;
    return;
  }
  std::vector<fs::path> folders{shared / "models" / "wiki-mamba"};
  for (const auto& entry : fs::directory_iterator(shared / "tokenizers")) folders.push_back(entry);
  for (const fs::path& folder : folders) {
    INFO(folder.string());
    const Tokenizer tokenizer = load(folder / "tokenizer.json");
    for (const json& v : json::parse(read_file(folder / "vectors.json"))) {
      INFO(v["text"].dump());
      const Ids ids = v["ids"].get<Ids>();
      CHECK(tokenizer.encode(v["text"].get<std::string>(), false) == ids);
      CHECK(tokenizer.encode(v["text"].get<std::string>(), true) ==
            v["ids_with_special"].get<Ids>());
      check_decoding(tokenizer, ids, false, v["decoded"]);
    }
  }
}

TEST_CASE("tokens can be looked up", "[tokenizer]") {
  json j = small();
  j["added_tokens"] =
      json::parse(R"([{"id":3,"content":"ab"},{"id":5,"content":"<s>","special":true}])");
  const Tokenizer tokenizer = make(j);
  CHECK(tokenizer.vocab_size() == 6);
  CHECK(tokenizer.token_id("b") == 2);
  CHECK(tokenizer.token_id("<s>") == 5);
  CHECK_FALSE(tokenizer.token_id("zz"));
  CHECK(tokenizer.token(5) == "<s>");
  CHECK(tokenizer.token(1) == "a");
  for (const int32_t none : {-1, 6, 1'000'000}) CHECK(tokenizer.token(none).empty());
  CHECK(tokenizer.is_special(5));
  CHECK_FALSE(tokenizer.is_special(1));
  CHECK_FALSE(tokenizer.is_special(77));
  CHECK(tokenizer.decode(Ids{1, -5, 999, 5, 2}, false) == "a<s>b");
  CHECK(tokenizer.decode(Ids{1, 5, 2}, true) == "ab");
}

TEST_CASE("invalid UTF-8 is read as U+FFFD, one for every maximal part", "[tokenizer]") {
  json j = small();
  j["model"]["vocab"]["\uFFFD"] = 5;
  const Tokenizer tokenizer = make(j);
  const auto encode = [&](const std::string& text) { return tokenizer.encode(text, false); };
  CHECK(encode("a\xFF"
               "b") == Ids{1, 5, 2});
  CHECK(encode("\xE2\x82") == Ids{5});  // cut short
  CHECK(encode("\xE2\x82"
               "a") == Ids{5, 1});                // broken off
  CHECK(encode("\xC0\x80") == Ids{5, 5});         // overlong
  CHECK(encode("\xED\xA0\x80") == Ids{5, 5, 5});  // a surrogate
  CHECK(encode("\xF4\x90\x80\x80") == Ids{5, 5, 5, 5});
  CHECK(encode("\xF0\x9F\x98\xF0\x9F") == Ids{5, 5});
}

TEST_CASE("truncation is not applied", "[tokenizer]") {
  json j = small();
  j["truncation"] = {
      {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}, {"direction", "Right"}};
  j["padding"] = {{"strategy", {{"Fixed", 9}}}};
  CHECK(make(j).encode("bbbb", true) == Ids{2, 2, 2, 2});
}

TEST_CASE("a stream never splits a character", "[tokenizer]") {
  json j = small();
  j["decoder"] = {{"type", "ByteLevel"}};
  // U+20AC, spelled in the byte-level alphabet, then the start of another character and a letter.
  j["model"]["vocab"] = {{"\u00E2", 0}, {"\u0124", 1}, {"\u00AC", 2}, {"a", 3}};
  j["model"]["unk_token"] = nullptr;
  j["model"]["merges"] = json::array();
  const Tokenizer tokenizer = make(j);
  StreamDecoder decoder(tokenizer, false);
  CHECK(decoder.push(0).empty());
  CHECK(decoder.push(1).empty());
  CHECK(decoder.push(2) == "\u20AC");
  CHECK(decoder.push(0).empty());
  CHECK(decoder.push(3) == "\uFFFDa");
  CHECK(decoder.push(0).empty());
  CHECK(decoder.finish() == "\uFFFD");
  CHECK(decoder.push(3) == "a");
}

TEST_CASE("what is unknown or wrong is refused by name", "[tokenizer]") {
  const auto with = [](const char* pointer, const json& value) {
    json j = small();
    j[json::json_pointer(pointer)] = value;
    return j;
  };
  const auto type = [](const char* name) { return json{{"type", name}}; };
  check_refused_json(with("/normalizer", type("Precompiled")), "Precompiled");
  check_refused_json(with("/normalizer", type("BertNormalizer")), "BertNormalizer");
  check_refused_json(with("/pre_tokenizer", type("UnicodeScripts")), "UnicodeScripts");
  check_refused_json(with("/post_processor", type("Other")), "Other");
  check_refused_json(with("/decoder", type("CTC")), "CTC");
  check_refused_json(with("/model/type", "Unigram"), "Unigram");
  check_refused_json(with("/model/dropout", 0.1), "dropout");
  check_refused_json(with("/model/secret", 1), "secret");
  check_refused_json(with("/extra", 1), "extra");
  check_refused_json(with("/version", "2.0"), "version");
  check_refused_json(with("/normalizer", json{{"type", "NFC"}, {"x", 1}}), "\"x\"");
  check_refused_json(with("/model/vocab/c", 2), "same id 2");
  check_refused_json(with("/model/vocab/c", -1), "\"c\"");
  check_refused_json(with("/model/vocab/c", 10'000'001), "\"c\"");
  check_refused_json(with("/model/vocab/c", 1.5), "\"c\"");
  check_refused_json(with("/model/vocab/c", 18446744073709551615u), "\"c\"");
  check_refused_json(with("/model/vocab", json::array()), "vocab");
  check_refused_json(with("/model/merges", json{"a z"}), "\"z\"");
  check_refused_json(with("/model/merges", json{"b a"}), "\"ba\"");
  check_refused_json(with("/model/merges", json{"a b c"}), "merge");
  check_refused_json(with("/model/merges", json{{"a"}}), "merge");
  check_refused_json(with("/model/merges", "a b"), "merges");
  check_refused_json(with("/added_tokens", json{{{"id", -1}, {"content", "x"}}}), "\"x\"");
  check_refused_json(with("/added_tokens", json{{{"id", 5}}}), "content");
  check_refused_json(
      with("/added_tokens", json{{{"id", 5}, {"content", "x"}}, {{"id", 5}, {"content", "y"}}}),
      "same id 5");
  check_refused_json(with("/added_tokens", json{{{"id", 5}, {"content", std::string(2000, 'x')}}}),
                     "1024");
  const auto split = [&](const char* pattern) {
    return with("/pre_tokenizer", {{"type", "Split"},
                                   {"pattern", {{"Regex", pattern}}},
                                   {"behavior", "Isolated"},
                                   {"invert", false}});
  };
  for (const char* pattern : {"(", "a)", "[a", "*a", "(?x)a", "\\X", "\\K", "(?~a)", "\\p{Nope}",
                              "[b-a]", "\\xff", "(?<=a*)b", "\\q", "[\\d-z]"})
    check_refused_json(split(pattern), "pattern");
  check_refused_json(with("/pre_tokenizer", {{"type", "Punctuation"}, {"behavior", "Sometimes"}}),
                     "Sometimes");
  check_refused_json(with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}),
                     "replacement");
  check_refused_json(
      with("/post_processor", {{"type", "TemplateProcessing"},
                               {"single", json::array({{{"SpecialToken", {{"id", "q"}}}}})},
                               {"special_tokens", json::object()}}),
      "\"q\"");
}

TEST_CASE("broken and hostile JSON is refused with its place", "[tokenizer][json]") {
  for (const char* text :
       {"", "{", "[1,", "{\"a\":tru}", "nul", "{\"a\":\"\xFF\"}", "\"\\ud800\"", "1e999"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_json(text, "f.json"), Error);
    CHECK_THROWS_AS(Tokenizer::from_json(text, "f.json"), Error);
  }
  CHECK_THROWS_WITH(parse_json(std::string(100'000, '['), "f.json"),
                    Catch::Contains("f.json") && Catch::Contains("byte 64"));
  CHECK_NOTHROW(parse_json(std::string(64, '[') + std::string(64, ']'), "f.json"));
  CHECK_NOTHROW(parse_json(std::string("\"").append(100, '[').append("\\\"[\""), "f.json"));
  const std::string whole = read_file(fs::path(KLENS_TEST_DATA) / "tokenizers" / "suffix.json");
  for (size_t size = 0; size + 2 < whole.size(); size += 37)
    CHECK_THROWS_AS(Tokenizer::from_json(whole.substr(0, size), "f.json"), Error);
}

TEST_CASE("an unknown character without an unknown token", "[tokenizer]") {
  json j = small();
  j["model"]["unk_token"] = "<missing>";
  const Tokenizer tokenizer = make(j);
  CHECK(tokenizer.encode("ab", false) == Ids{3});
  CHECK_THROWS_WITH(tokenizer.encode("z", false), Catch::Contains("<missing>"));
  j["model"]["unk_token"] = nullptr;
  CHECK(make(j).encode("azb", false) == Ids{3});
}

TEST_CASE("long runs take time in proportion, hostile patterns end", "[tokenizer]") {
  const auto seconds = [](const auto& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  for (const char* name : {"gpt2", "llama3", "llama2", "mistral", "falcon"}) {
    const Tokenizer tokenizer =
        load(fs::path(KLENS_TEST_DATA) / "tokenizers" / (std::string(name) + ".json"));
    for (const std::string part : {"a", " ", "\n", "the ", "\u0301\u0316", "1"}) {
      std::string text;
      while (text.size() < 300'000) text += part;
      INFO(name << " " << part);
      CHECK(seconds([&] { tokenizer.encode(text, false); }) < 10);  // about 0.1 without sanitizers
    }
  }
  json j = small();
  j["pre_tokenizer"] = {{"type", "Split"},
                        {"pattern", {{"Regex", "(a*)*(a*)*[cd]"}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
  const Tokenizer hostile = make(j);
  CHECK_THROWS_AS(hostile.encode(std::string(2000, 'a') + "b", false), Error);
  j = small();
  j["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array()}};
  for (int i = 0; i < 40; ++i)
    j["normalizer"]["normalizers"].push_back(
        {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaa"}});
  const Tokenizer growing = make(j);
  CHECK_THROWS_AS(growing.encode("a", false), Error);
}

TEST_CASE("several threads may share a tokenizer", "[tokenizer]") {
  const Tokenizer tokenizer = load(fs::path(KLENS_TEST_DATA) / "tokenizers" / "llama3.json");
  std::string text;
  for (int i = 0; i < 300; ++i)
    text.append("The word ").append(std::to_string(i * 7919)).append(" don't\n");
  const Ids want = tokenizer.encode(text, true);
  std::vector<std::thread> threads;
  std::vector<int> good(4, 0);
  for (size_t t = 0; t < good.size(); ++t)
    threads.emplace_back([&, t] {
      const Tokenizer copy = tokenizer;
      good[t] = copy.encode(text, true) == want && copy.decode(want, true) == text;
    });
  for (std::thread& t : threads) t.join();
  CHECK(std::count(good.begin(), good.end(), 1) == 4);
}

}  // namespace
}  // namespace klens
