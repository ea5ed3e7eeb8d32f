// /v1/embeddings: a vector for each text.
#include <cstring>

#include "apps/serve/prompts.h"
#include "apps/serve/service.h"

namespace klens::apps {
namespace {

// FP32, least significant byte first, as OpenAI's clients ask for it.
std::string base64(const float* values, size_t count) {
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<unsigned char> bytes(count * sizeof(float));
  std::memcpy(bytes.data(), values, bytes.size());
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t have = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < have ? bytes[i + j] : 0);
    for (size_t j = 0; j < 4; ++j) text += j <= have ? kLetters[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

Json embedded(Service& service, const Fields& fields) {
  const std::vector<std::vector<int32_t>> texts = read_texts(service, fields, "input");
  const std::string format = fields.text("encoding_format").value_or("float");
  if (format != "float" && format != "base64")
    fields.refuse("encoding_format", "may be float or base64");
  const std::string pooling = fields.text("pooling").value_or("last");
  if (pooling != "last" && pooling != "mean") fields.refuse("pooling", "may be last or mean");
  const auto width = static_cast<size_t>(klens_model_hidden_size(service.model));
  fields.only("dimensions", {width});
  std::vector<const int32_t*> ids;
  std::vector<size_t> counts;
  int64_t tokens = 0;
  for (const std::vector<int32_t>& text : texts) {
    if (static_cast<int64_t>(text.size()) > service.options.context_tokens)
      fields.refuse("input", "has a text of " + std::to_string(text.size()) +
                                 " tokens, more than " +
                                 std::to_string(service.options.context_tokens) + " (--ctx)");
    ids.push_back(text.data());
    counts.push_back(text.size());
    tokens += static_cast<int64_t>(text.size());
  }
  klens_embed_options options{};
  options.size = sizeof options;
  options.pooling = pooling == "mean" ? KLENS_POOLING_MEAN : KLENS_POOLING_LAST;
  options.normalise = 1;
  std::vector<float> vectors(texts.size() * width);
  {
    // One at a time: each has all of the machine's threads, beside the answers.
    const std::lock_guard lock(service.embedding);
    check([&](klens_error* e) {
      return klens_embed(service.model, ids.data(), counts.data(), texts.size(), &options,
                         vectors.data(), e);
    });
  }
  service.metrics.prompt_tokens.add(static_cast<uint64_t>(tokens));
  Json data = Json::array();
  for (size_t i = 0; i < texts.size(); ++i) {
    const float* vector = vectors.data() + i * width;
    Json embedding = format == "float" ? Json(std::vector<float>(vector, vector + width))
                                       : Json(base64(vector, width));
    data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", std::move(embedding)}});
  }
  return {{"object", "list"},
          {"data", std::move(data)},
          {"model", service.options.name},
          {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}};
}

}  // namespace

void add_embeddings(HttpServer& server, Service& service) {
  server.post("/v1/embeddings", [&service](const httplib::Request&, const std::string& body,
                                           httplib::Response& response) {
    const Json request = parse_request(body);
    answer_json(response, embedded(service, Fields(request)));
  });
}

}  // namespace klens::apps
