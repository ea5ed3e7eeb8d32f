#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "apps/cli/command.h"
#include "apps/cli/common.h"
#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "apps/generation.h"
#include "apps/input.h"
#include "apps/terminal/progress.h"

namespace klens::apps {
namespace {

using nlohmann::ordered_json;
using Texts = std::vector<std::vector<int32_t>>;

// The fewest digits that read back as the same float.
std::string digits_of(float value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof(text), value).ptr);
}

ordered_json numbers_of(const std::vector<float>& vector) {
  ordered_json numbers = ordered_json::array();
  // As doubles with those digits, which JSON then has too.
  for (const float value : vector) numbers.push_back(std::stod(digits_of(value)));
  return numbers;
}

std::string vector_line(const std::vector<float>& vector) {
  std::string line;
  for (const float value : vector) line += (line.empty() ? "" : " ") + digits_of(value);
  return line + "\n";
}

klens_embed_options read_embed_options(const Arguments& arguments) {
  klens_embed_options options{};
  options.size = sizeof(options);
  options.pooling = arguments.choice("pooling", {"last", "mean"}) == "mean" ? KLENS_POOLING_MEAN
                                                                            : KLENS_POOLING_LAST;
  options.normalise = arguments.flag("normalise") ? 1 : 0;
  options.batch = read_session_options(arguments).batch;
  return options;
}

// Of so many texts at a time vectors are made before they are printed.
constexpr size_t kTextsAtOnce = 256;

void run_embed(const Arguments& arguments) {
  const std::string path = model_path(arguments);
  const std::string form = output_form(arguments);
  klens_embed_options options = read_embed_options(arguments);
  const bool quiet = arguments.flag("quiet"), by_line = arguments.flag("lines");
  const Input input(arguments);
  const ModelHandle model = open_model(arguments, path);
  const Texts texts =
      by_line ? input.tokens_by_line(model.get(), path) : Texts{input.tokens(model.get(), path)};

  ordered_json embeddings = ordered_json::array();
  size_t tokens = 0, longest = 0;
  for (size_t at = 0; at < texts.size(); at += kTextsAtOnce) {
    const Texts some(
        texts.begin() + static_cast<ptrdiff_t>(at),
        texts.begin() + static_cast<ptrdiff_t>(std::min(at + kTextsAtOnce, texts.size())));
    const std::vector<std::vector<float>> vectors = [&] {
      Progress progress(quiet, "embedding");
      options.progress = Progress::callback;
      options.user = &progress;
      return embed(model.get(), some, options);
    }();
    for (size_t i = 0; i < some.size(); ++i) {
      tokens += some[i].size();
      longest = std::max(longest, some[i].size());
      if (form == "") {
        print(vector_line(vectors[i]));
        continue;
      }
      const ordered_json entry = {
          {"index", at + i}, {"tokens", some[i].size()}, {"embedding", numbers_of(vectors[i])}};
      form == "jsonl" ? print_json_line(entry) : embeddings.push_back(entry);
    }
    flush_output();
  }
  if (form == "json")
    print_json({{"hidden_size", klens_model_hidden_size(model.get())},
                {"pooling", options.pooling == KLENS_POOLING_MEAN ? "mean" : "last"},
                {"normalised", options.normalise != 0},
                {"tokens", tokens},
                {"embeddings", embeddings}});
  warn_beyond_context(model.get(), static_cast<int64_t>(longest), "a text", quiet);
}

}  // namespace

Command embed_command() {
  OptionGroup output = general_options();
  output.options.insert(output.options.begin() + 1, jsonl_option("text"));
  output.options.push_back(quiet_option());
  return {"embed",
          "MODEL -p TEXT [options]",
          "a vector for each text",
          "Prints, for each text, the model's hidden state behind the last block and the final "
          "norm (what the head makes logits of), of the last token or the mean over all tokens: "
          "a line of numbers, or JSON. Texts are read together, and each gets the vector that it "
          "would get alone. Whether near vectors mean alike texts depends on what the model was "
          "trained for.",
          "  klens embed MODEL -p \"The river\" --json\n"
          "  klens embed MODEL -f sentences.txt --lines --pooling mean --normalise --jsonl\n"
          "  klens tokenize MODEL -p \"The river\" | klens embed MODEL --ids -\n",
          {{"Text",
            {{"p,prompt", "TEXT", "the text; - reads standard input"},
             {"f,file", "FILE", "the text is in FILE; - reads standard input, as a pipe does"},
             {"ids", "FILE", "token ids instead, decimal, between white space"},
             {"lines", "", "each line is a text, or list of ids, of its own"},
             {"pooling", "KIND",
              "last: the hidden state of the last token (default); mean: of all tokens"},
             {"normalise,normalize", "", "divide each vector by its L2 norm"},
             {"b,batch-size", "N", "tokens processed at once, in 64s (default 512)"}}},
           model_options(),
           output},
          run_embed};
}

}  // namespace klens::apps
