#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "engine/c_api/guard.h"
#include "engine/c_api/handles.h"
#include "engine/c_api/reports.h"
#include "engine/version.h"
#include "kernels/cpu/features.h"
#include "loaders/chat_template/chat_template.h"
#include "loaders/context_length.h"
#include "loaders/json.h"
#include "loaders/stop_tokens.h"
#include "loaders/tokenizer/model_tokenizer.h"

namespace klens {
namespace {

// An enumerator that a C caller gave, which may be any number: to load it as the enum would be
// undefined.
template <class Enum>
int number_of(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int));
  int number = 0;
  std::memcpy(&number, &value, sizeof number);
  return number;
}

Activations activations_of(int given) {
  if (given == KLENS_ACTIVATIONS_INT8) return Activations::kInt8;
  if (given == KLENS_ACTIVATIONS_F32) return Activations::kF32;
  if (given == KLENS_ACTIVATIONS_BF16) return Activations::kBf16;
  throw Error(ErrorKind::kBadArgument, "activations must be int8, f32 or bf16");
}

std::optional<KvType> kv_of(int given) {
  switch (given) {
    case KLENS_KV_DEFAULT:
      return std::nullopt;
    case KLENS_KV_F32:
      return KvType::kF32;
    case KLENS_KV_FP16:
      return KvType::kF16;
    case KLENS_KV_INT8:
      return KvType::kI8;
    default:
      throw Error(ErrorKind::kBadArgument, "--kv must be f32, fp16 or int8");
  }
}

ModelOptions model_options(const klens_model_options& options) {
  constexpr int32_t kMaxThreads = 1024;
  if (options.threads < 0 || options.threads > kMaxThreads)
    throw Error(ErrorKind::kBadArgument,
                "-t must be from 0 (one per core) to " + std::to_string(kMaxThreads));
  const std::string isa_error = cpu::isa_variable_error();
  if (!isa_error.empty()) throw Error(ErrorKind::kBadArgument, isa_error);
  const DeviceChoice device =
      options.backend == nullptr ? DeviceChoice{nullptr, -1} : find_device(options.backend);
  std::optional<int64_t> gpu_layers;
  if (options.gpu_layers != 0) gpu_layers = std::max(options.gpu_layers, 0);
  return {.threads = options.threads,
          .activations = activations_of(number_of(options.activations)),
          .kv = kv_of(number_of(options.kv)),
          .device = device.entry,
          .device_index = device.index,
          .gpu_layers = gpu_layers};
}

// What a person may want to know of a model that was opened.
void tell_of(const klens_model& model, const std::string& path) {
  if (model.notice.fn == nullptr) return;
  const Checkpoint& checkpoint = model.model->checkpoint();
  if (!checkpoint.left_out.empty())
    model.notice(path + ": left out, as no text needs them: " + checkpoint.left_out);
  if (!model.tokenizer_problem.empty())
    model.notice("the tokenizer cannot be used, ids alone can: " + model.tokenizer_problem);
  const Tokenizer* tokenizer = model.tokenizer ? &model.tokenizer->tokenizer : nullptr;
  for (const MissingStop& stop : find_missing_stops(checkpoint.texts, checkpoint.stop_tokens,
                                                    model.model->spec().vocab, tokenizer, path))
    model.notice(path + ": the stop token " + (stop.id ? std::to_string(*stop.id) : stop.text) +
                 " of " + stop.from + " is not in the vocabulary: generation cannot stop there");
}

// The caller's chat template in place of all that the model has, and the ends of turns that it
// writes.
void use_chat_template(const char* text, Checkpoint& checkpoint) {
  if (text == nullptr) return;
  if (text[0] == '\0') throw Error(ErrorKind::kBadArgument, "the given chat template is empty");
  ChatTemplate::parse(text, "the given chat template");
  ModelTexts& texts = checkpoint.texts;
  texts.chat_template = text;
  if (!texts.tokenizer_config.empty()) {
    nlohmann::ordered_json config =
        parse_ordered_json(texts.tokenizer_config, checkpoint.path + " (tokenizer_config.json)");
    if (config.is_object() && config.erase("chat_template") > 0)
      texts.tokenizer_config = config.dump();
  }
  checkpoint.stop_tokens = find_stop_tokens(texts, checkpoint.stop_tokens);
}

}  // namespace
}  // namespace klens

using namespace klens;

const char* klens_version(void) { return kVersion; }
const char* klens_isa(void) { return cpu::level_name(); }
void klens_string_free(char* text) { std::free(text); }
void klens_ids_free(int32_t* ids) { std::free(ids); }

klens_status klens_model_open(const char* path, const klens_model_options* options,
                              klens_model** model, klens_error* error) {
  return guarded(error, [&] {
    require(path, "path");
    require(model, "model");
    const klens_model_options given = read_options(options);
    const ModelOptions run = model_options(given);
    auto opened = std::make_unique<klens_model>();
    Checkpoint checkpoint = open_checkpoint(path, given.verify != 0);
    use_chat_template(given.chat_template, checkpoint);
    auto loaded = std::make_shared<const Model>(std::move(checkpoint), run);
    ModelTokenizer read = read_tokenizer(loaded->checkpoint().texts, path);
    if (read.tokenizer) opened->tokenizer = klens_tokenizer{std::move(*read.tokenizer)};
    opened->tokenizer_problem = std::move(read.problem);
    opened->quantised = quantised_formats(loaded->checkpoint());
    opened->context_length = context_length(loaded->checkpoint()).value_or(0);
    opened->device = std::string(loaded->device().name()) + " " + loaded->level();
    opened->model = std::move(loaded);
    opened->notice = {given.notice, given.notice_user};
    tell_of(*opened, path);
    *model = opened.release();
  });
}

void klens_model_free(klens_model* model) { delete model; }
int32_t klens_model_vocab(const klens_model* model) {
  return static_cast<int32_t>(model->model->spec().vocab);
}
const char* klens_model_quantised(const klens_model* model) { return model->quantised.c_str(); }
const char* klens_model_left_out(const klens_model* model) {
  return model->model->checkpoint().left_out.c_str();
}
int64_t klens_model_context_length(const klens_model* model) { return model->context_length; }
int32_t klens_model_threads(const klens_model* model) { return model->model->options().threads; }

const char* klens_model_device(const klens_model* model) { return model->device.c_str(); }

int klens_model_is_eos(const klens_model* model, int32_t id) {
  const std::vector<StopToken>& stops = model->model->checkpoint().stop_tokens;
  return std::any_of(stops.begin(), stops.end(),
                     [&](const StopToken& stop) { return stop.id == id; })
             ? 1
             : 0;
}

int32_t klens_model_bos(const klens_model* model) { return model->model->spec().bos.value_or(-1); }

const klens_tokenizer* klens_model_tokenizer(const klens_model* model) {
  return model->tokenizer ? &*model->tokenizer : nullptr;
}

const char* klens_model_tokenizer_error(const klens_model* model) {
  return model->tokenizer_problem.empty() ? nullptr : model->tokenizer_problem.c_str();
}

klens_status klens_inspect(const char* path, int verify, char** json, klens_error* error) {
  return guarded(error, [&] {
    require(path, "path");
    require(json, "json");
    *json = owned_text(report_json(inspect(path, verify != 0)));
  });
}
