#include "python/bindings/module.h"

namespace klens::python {
namespace {

template <class Enum>
struct Choice {
  const char* name;
  Enum value;
};
constexpr Choice<klens_activations> kActivations[] = {{"int8", KLENS_ACTIVATIONS_INT8},
                                                      {"f32", KLENS_ACTIVATIONS_F32},
                                                      {"bf16", KLENS_ACTIVATIONS_BF16}};
constexpr Choice<klens_kv> kKv[] = {{"default", KLENS_KV_DEFAULT},
                                    {"f32", KLENS_KV_F32},
                                    {"fp16", KLENS_KV_FP16},
                                    {"int8", KLENS_KV_INT8}};

template <class Enum, size_t N>
Enum choice(const std::string& given, const Choice<Enum> (&choices)[N], const char* what) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (given == name) return value;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  throw_bad_argument((std::string(what) + " must be one of " + names).c_str());
}

// What the library tells goes to the logger "klens".
void log_notice(std::string_view line) {
  const nb::gil_scoped_acquire acquire;
  try {
    nb::module_::import_("logging").attr("getLogger")("klens").attr("warning")(
        "%s", nb::str(line.data(), line.size()));
  } catch (nb::python_error& e) {
    e.discard_as_unraisable("klens: a notice");
  }
}

Model open_model(const std::string& path, int32_t threads, const std::string& activations,
                 const std::optional<std::string>& backend, bool verify, const std::string& kv,
                 int32_t gpu_layers) {
  auto options = sized<klens_model_options>();
  options.threads = threads;
  options.activations = choice(activations, kActivations, "activations");
  options.backend = text_or_null(backend);
  options.verify = verify ? 1 : 0;
  options.kv = choice(kv, kKv, "kv");
  options.gpu_layers = gpu_layers;
  return released([&] { return Model(path, options, log_notice); });
}

// messages, and what else the template may know, as klens_chat_prompt takes them.
std::string chat_prompt(const Model& model, const nb::object& messages, bool add_generation_prompt,
                        const nb::kwargs& variables) {
  nb::dict all;
  for (const auto& [name, value] : variables) all[name] = value;
  all["messages"] = messages;
  const std::string json = to_json(all);
  return released([&] { return model.chat_prompt(json, add_generation_prompt); });
}

void bind_tokenizer(nb::module_& m) {
  nb::class_<Tokenizer>(m, "Tokenizer", "Text to token ids and back. Any thread may use it.")
      .def(
          "__init__",
          [](Tokenizer* self, const std::string& path) {
            released([&] { new (self) Tokenizer(path); });
          },
          "path"_a, "Of a folder with tokenizer.json, that file, a .klens or a .gguf file.")
      .def(
          "tokenize",
          [](const Tokenizer& self, const std::string& text, bool add_special) {
            return released([&] { return self.tokenize(text, add_special); });
          },
          "text"_a, "add_special"_a = true,
          "Ids of the text, with the special tokens that the tokenizer adds unless told not to.")
      .def(
          "detokenize",
          [](const Tokenizer& self, const Ids& ids, bool skip_special) {
            return released([&] { return self.detokenize(span_of(ids), skip_special); });
          },
          "ids"_a, "skip_special"_a = false,
          "The text of ids. Those that have no token are left out.");

  nb::class_<Decoder>(m, "Decoder", "The text of ids that come one at a time.")
      .def(nb::init<const Tokenizer&, bool>(), "tokenizer"_a, "skip_special"_a = true)
      .def("push", &Decoder::push, "id"_a,
           "What can be shown after this id: whole characters; it may be empty.")
      .def("finish", &Decoder::finish, "What is left; the decoder starts anew.");
}

}  // namespace

void bind_model(nb::module_& m) {
  bind_tokenizer(m);
  nb::class_<Model>(m, "Model", "A model that runs. Any number of threads may use it.")
      .def(
          "__init__",
          [](Model* self, const std::string& path, int32_t threads, const std::string& activations,
             const std::optional<std::string>& backend, bool verify, const std::string& kv,
             int32_t gpu_layers) {
            new (self)
                Model(open_model(path, threads, activations, backend, verify, kv, gpu_layers));
          },
          "path"_a, nb::kw_only(), "threads"_a = 0, "activations"_a = "int8",
          "backend"_a = nb::none(), "verify"_a = false, "kv"_a = "default", "gpu_layers"_a = 0,
          "Opens a checkpoint folder, a .klens or a .gguf file. threads: 0 is one per core; "
          "activations: int8, f32 or bf16; backend: cpu, opencl or opencl:1; verify: check the "
          "checksums of a .klens file; kv: default, f32, fp16 or int8; gpu_layers: of a backend "
          "other than cpu, how many of the first layers it runs, the CPU the others (0: all; "
          "negative: none). What a person may want to know of it goes to the logger \"klens\".")
      .def_prop_ro("vocab", &Model::vocab, "Logits per position.")
      .def_prop_ro("threads", &Model::threads, "Threads that compute for it.")
      .def_prop_ro("device", &Model::device, "What computes, for people.")
      .def_prop_ro("quantised", &Model::quantised,
                   "\"q4_1 in 210 of 211 matrices\" of a model that is quantised; else \"\".")
      .def_prop_ro("left_out", &Model::left_out, "Parts that no text's logits need; else \"\".")
      .def_prop_ro("context_length", &Model::context_length,
                   "Tokens that it was trained on at once; 0: not said, or no limit.")
      .def_prop_ro("bos", &Model::bos, "The token that a text begins with, if any.")
      .def_prop_ro("tokenizer", &Model::tokenizer, "None if it came without one that can be read.")
      .def_prop_ro("tokenizer_error", &Model::tokenizer_error,
                   "Why its tokenizer cannot be read; \"\" if it can, or there is none.")
      .def_prop_ro("has_chat_template", &Model::has_chat_template)
      .def("is_eos", &Model::is_eos, "id"_a, "Whether the token ends a turn.")
      .def("chat_prompt", &chat_prompt, "messages"_a, "add_generation_prompt"_a = true,
           "variables"_a,
           nb::sig("def chat_prompt(self, messages: collections.abc.Sequence[collections.abc."
                   "Mapping[str, object]], add_generation_prompt: bool = True, **variables: "
                   "object) -> str"),
           "The prompt that the chat template makes of [{\"role\": ..., \"content\": ...}, ...]; "
           "variables are what else it may know: tools, enable_thinking, ...");
}

}  // namespace klens::python
