#include "apps/cli/common.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "apps/cli/error.h"
#include "apps/cli/output.h"
#include "apps/terminal/progress.h"

namespace klens::apps {

OptionGroup model_options() {
  return {
      "Model",
      {{"m,model", "MODEL",
        "a checkpoint folder, a .klens or a .gguf file; instead of the first argument"},
       {"t,threads", "N", "threads; 0: one per core (default)"},
       {"activations", "KIND",
        "int8: INT8 and INT4 weights run on integer arithmetic (default); f32: the same weights, "
        "activations in FP32; bf16: as int8, and 16-bit checkpoints multiply in BF16 everywhere, "
        "as they do in prompts"},
       {"kv", "KIND",
        "how attention keeps keys and values, and Mamba-2 its states: fp16, int8 (states fp16) or "
        "f32 (default: fp16, or f32 where the model computes in FP32 throughout)"},
       {"backend", "NAME",
        "where to compute: cpu (default), opencl, or one that `klens devices` lists, as "
        "opencl:1"},
       {"gpu-layers", "N",
        "with --backend opencl: it runs the embedding and the first N layers, the CPU the others "
        "and the head; 0: the CPU runs all (default: all that there are are the backend's)"}}};
}

OptionGroup general_options() {
  return {
      "Output",
      {{"json", "", "print one JSON object and nothing else"}, {"h,help", "", "print this text"}}};
}

OptionSpec quiet_option() { return {"q,quiet", "", "no progress on standard error"}; }

OptionSpec jsonl_option(const char* each) {
  return {"jsonl", "", std::string("print JSON lines: one object for each ") + each};
}

std::string output_form(const Arguments& arguments) {
  const bool json = arguments.flag("json"), jsonl = arguments.flag("jsonl");
  if (json && jsonl) return arguments.one_of({"json", "jsonl"});
  return json ? "json" : jsonl ? "jsonl" : "";
}

std::string model_path(const Arguments& arguments) {
  const std::vector<std::string>& positionals = arguments.positionals();
  if (positionals.size() > 1)
    throw UsageError("what is '" + positionals[1] + "'? There is one MODEL");
  const auto model = arguments.text("model");
  if (!positionals.empty() && model)
    throw UsageError("MODEL is given twice, as '" + positionals[0] + "' and as --model '" + *model +
                     "'");
  if (!positionals.empty()) return positionals[0];
  if (model) return *model;
  throw UsageError("MODEL is missing");
}

std::string only_positional(const Arguments& arguments, const char* what) {
  const std::vector<std::string>& positionals = arguments.positionals();
  if (positionals.empty()) throw UsageError(std::string(what) + " is missing");
  if (positionals.size() > 1)
    throw UsageError("what is '" + positionals[1] + "'? There is one " + what);
  return positionals[0];
}

klens_model_options read_model_options(const Arguments& arguments) {
  klens_model_options options{};
  options.size = sizeof(options);
  options.threads = static_cast<int32_t>(arguments.count("threads", 0, 0, 4096));
  const std::string activations = arguments.choice("activations", {"int8", "f32", "bf16"});
  options.activations = activations == "f32"    ? KLENS_ACTIVATIONS_F32
                        : activations == "bf16" ? KLENS_ACTIVATIONS_BF16
                                                : KLENS_ACTIVATIONS_INT8;
  const std::string kv = arguments.choice("kv", {"default", "fp16", "int8", "f32"});
  options.kv = kv == "fp16"   ? KLENS_KV_FP16
               : kv == "int8" ? KLENS_KV_INT8
               : kv == "f32"  ? KLENS_KV_F32
                              : KLENS_KV_DEFAULT;
  return options;
}

namespace {

// The library's 0 is all layers, and negative is none.
void read_gpu_layers(const Arguments& arguments, const std::string& backend,
                     klens_model_options& options) {
  if (!arguments.text("gpu-layers")) return;
  if (backend == "cpu") {
    if (arguments.silenced("gpu-layers", "backend")) return;
    throw UsageError((arguments.on_command_line("gpu-layers") ? "--gpu-layers"
                                                              : environment_name("gpu-layers")) +
                     std::string(" is of --backend opencl, not of the CPU; leave it out"));
  }
  const auto layers = static_cast<int32_t>(arguments.count("gpu-layers", 0, 0, 1 << 20));
  options.gpu_layers = layers == 0 ? -1 : layers;
}

// KLENS_ISA lowers what a CPU has; it cannot raise it.
void notice_lowered_isa() {
  static bool said = false;
  const char* asked = std::getenv("KLENS_ISA");
  if (said || asked == nullptr || asked[0] == '\0' || std::strcmp(asked, klens_isa()) == 0) return;
  said = true;
  std::fprintf(stderr, "klens: note: KLENS_ISA=%s: this CPU does not have all of it; %s is used\n",
               asked, klens_isa());
}

}  // namespace

ModelHandle open_model(const Arguments& arguments) {
  return open_model(arguments, model_path(arguments));
}

ModelHandle open_model(const Arguments& arguments, const std::string& path) {
  return open_model(arguments, path, read_model_options(arguments));
}

ModelHandle open_model(const Arguments& arguments, const std::string& path,
                       klens_model_options options) {
  const std::string backend = arguments.text_or("backend", "cpu");
  options.backend = backend.c_str();
  read_gpu_layers(arguments, backend, options);
  const bool quiet = arguments.flag("quiet");
  ModelHandle model;
  {
    const StatusLine status(quiet, "opening " + file_name(path));
    model = apps::open_model(path, options);
  }
  if (!quiet) notice_lowered_isa();
  if (const std::string left_out = klens_model_left_out(model.get()); !quiet && !left_out.empty())
    std::fprintf(stderr, "klens: note: %s: left out, as no text needs them: %s\n", path.c_str(),
                 left_out.c_str());
  return model;
}

std::string file_name(const std::string& path) {
  const std::filesystem::path p = std::filesystem::path(path).lexically_normal();
  return (p.has_filename() ? p : p.parent_path()).filename().string();
}

void warn_beyond_context(const klens_model* model, int64_t tokens, const std::string& what,
                         bool quiet) {
  const int64_t trained = klens_model_context_length(model);
  if (quiet || trained == 0 || tokens <= trained) return;
  std::fprintf(stderr,
               "klens: %s of %lld tokens: the model was trained on %lld at most, and may predict "
               "worse beyond\n",
               what.c_str(), static_cast<long long>(tokens), static_cast<long long>(trained));
}

const klens_tokenizer* tokenizer_of(const klens_model* model, const std::string& path) {
  const klens_tokenizer* tokenizer = klens_model_tokenizer(model);
  if (const char* problem = klens_model_tokenizer_error(model); tokenizer == nullptr && problem)
    throw Error(problem);
  if (tokenizer == nullptr)
    throw Error(
        path +
        " has no tokenizer: give a checkpoint folder with its tokenizer.json, or a file that "
        "was made with one");
  return tokenizer;
}

std::string number_or_dash(const nlohmann::ordered_json& report, const char* key,
                           const char* format) {
  const auto it = report.find(key);
  if (it == report.end() || !it->is_number()) return "-";
  char text[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  std::snprintf(text, sizeof(text), format, it->get<double>());
#pragma GCC diagnostic pop
  return text;
}

std::string with_error(const nlohmann::ordered_json& report, const char* key, const char* error_key,
                       const char* format) {
  const std::string value = number_or_dash(report, key, format);
  const std::string error = number_or_dash(report, error_key, format);
  return error == "-" ? value : value + " +/- " + error;
}

}  // namespace klens::apps
