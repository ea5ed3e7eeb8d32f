// What the names in tokenizer.ggml.pre stand for in the tokenizer.json files that were converted.
#include <initializer_list>
#include <utility>

#include "loaders/gguf/gguf_tokenizer.h"

namespace klens {
namespace {

using nlohmann::json;

// Three digits at most, and words with what precedes them: Llama 3 and its kin.
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// With Qwen 3.5's marks inside of words.
constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// The letters of scripts with two cases, and the punctuation, that DeepSeek LLM lists.
constexpr const char* kDeepseekLetters =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";
constexpr const char* kDeepseekPunctuation = R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)";
constexpr const char* kDeepseekHan = R"([一-龥ࠀ-一가-퟿]+)";
constexpr const char* kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

json split(const char* regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

// With GPT-2's words, or of what others split off.
json byte_level(bool words) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", words}};
}

json digits(bool individual) { return {{"type", "Digits"}, {"individual_digits", individual}}; }

json sequence(json steps) { return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}; }

json gpt2() { return byte_level(true); }
json single_digits() { return sequence(json::array({digits(true), byte_level(true)})); }
json regex_then_bytes(const char* regex) {
  return sequence(json::array({split(regex), byte_level(false)}));
}
json llama3() { return regex_then_bytes(kLlama3); }
json qwen2() { return regex_then_bytes(kQwen2); }
json tekken() { return regex_then_bytes(kTekken); }
json falcon() {
  return sequence(json::array({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                               byte_level(true),
                               digits(false),
                               split("[0-9][0-9][0-9]")}));
}

json qwen35() { return regex_then_bytes(kQwen35); }
json gpt4o() { return regex_then_bytes(kGpt4o); }
json regexes_then_bytes(std::initializer_list<const char*> regexes) {
  json steps = json::array();
  for (const char* regex : regexes) steps.push_back(split(regex));
  steps.push_back(byte_level(false));
  return sequence(std::move(steps));
}
json deepseek_llm() {
  return regexes_then_bytes(
      {R"([\r\n])", kDeepseekLetters, kDeepseekPunctuation, R"(\s+$)", kDeepseekHan, R"(\p{N}+)"});
}
json deepseek_coder() {
  return regexes_then_bytes(
      {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepseekHan, R"(\p{N})"});
}
json deepseek_v3() {
  return regexes_then_bytes(
      {R"(\p{N}{1,3})", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", kDeepseek3});
}
// What llama.cpp does where the converter knew no better.
json by_default() {
  return regexes_then_bytes({R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"});
}

struct PreTokenizerRow {
  const char* name;
  json (*pre_tokenizer)();
  bool nfc = false, ignore_merges = false, add_bos = false;
};

constexpr PreTokenizerRow kPreTokenizers[] = {
    {"gpt-2", gpt2},
    {"mpt", gpt2, true},  // GPT-NeoX, so Mamba and Mamba-2 too
    {"olmo", gpt2, true},
    {"refact", single_digits},  // Granite 3 and code models
    {"starcoder", single_digits},
    {"smollm", single_digits},
    {"dbrx", llama3},  // Granite 4
    {"llama-bpe", llama3, false, true, true},
    {"llama3", llama3, false, true, true},
    {"llama-v3", llama3, false, true, true},
    {"pixtral", llama3, false, true, true},
    {"falcon3", llama3, false, true, true},
    {"falcon-h1", llama3, false, true, true},
    {"lfm2", llama3, false, true, true},
    {"falcon", falcon},
    {"tekken", tekken, false, true, true},  // Mistral Nemo, Nemotron
    {"qwen2", qwen2, true},
    {"deepseek-r1-qwen", qwen2},
    {"qwen35", qwen35, true},
    {"gpt-4o", gpt4o},
    {"llama4", gpt4o},
    {"command-r", single_digits, true},
    {"deepseek-llm", deepseek_llm},
    {"deepseek-coder", deepseek_coder},
    {"deepseek-v3", deepseek_v3},
    {"default", by_default},
};

}  // namespace

GgufPreTokenizer gguf_pre_tokenizer(const GgufFile& file) {
  const std::string name = file.text("tokenizer.ggml.pre", "");
  std::string known;
  for (const PreTokenizerRow& row : kPreTokenizers) {
    if (name == row.name)
      return {.normalizer = row.nfc ? json{{"type", "NFC"}} : json(nullptr),
              .pre_tokenizer = row.pre_tokenizer(),
              .ignore_merges = row.ignore_merges,
              .add_bos = row.add_bos};
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  if (name.empty())
    file.unsupported(
        "lacks the key tokenizer.ggml.pre, without which the text cannot be split as "
        "the model was trained on; convert the model again");
  file.unsupported("key tokenizer.ggml.pre is \"" + shown_name(name) +
                   "\", which is not one that klens knows (" + known +
                   "); use the checkpoint that the file was made from");
}

}  // namespace klens
