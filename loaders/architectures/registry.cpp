#include <algorithm>
#include <string_view>

#include "loaders/architectures/builders.h"
#include "loaders/json.h"

namespace klens {
namespace {

constexpr Architecture kArchitectures[] = {
    {"MambaForCausalLM", build_mamba},
    {"FalconMambaForCausalLM", build_falcon_mamba},
    {"MambaLMHeadModel", build_original_mamba},
    {"Mamba2ForCausalLM", build_mamba2},
    {"ZambaForCausalLM", build_zamba},
    {"Zamba2ForCausalLM", build_zamba2},
    {"HymbaForCausalLM", build_hymba},
    {"JambaForCausalLM", build_jamba},
    {"BambaForCausalLM", build_bamba},
    {"GraniteMoeHybridForCausalLM", build_granite_hybrid},
    {"FalconH1ForCausalLM", build_falcon_h1},
    {"NemotronHForCausalLM", build_nemotron_h},
    {"LlamaForCausalLM", build_llama},
    {"MistralForCausalLM", build_mistral},
    {"Qwen2ForCausalLM", build_qwen2},
    {"Qwen3ForCausalLM", build_qwen3},
};

// The original state-spaces configs name no architecture.
std::string architecture_of(const Config& config) {
  const std::string name = config.architecture();
  if (!name.empty()) return name;
  if (config.has({"d_model"}) && config.has({"n_layer"})) return "MambaLMHeadModel";
  config.fail("names no architecture: architectures[0] is missing");
}

std::string known_names() {
  std::string names;
  for (const Architecture& row : kArchitectures)
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

std::vector<int32_t> token_list(const Config& config, const char* key) {
  constexpr int64_t kMaxToken = int64_t{1} << 24;
  if (!config.has({key})) return {};
  if (!config.is_list(key)) return {static_cast<int32_t>(config.integer({key}, 0, kMaxToken))};
  std::vector<int32_t> ids;
  for (int64_t id : config.integers(key, 0, kMaxToken)) ids.push_back(static_cast<int32_t>(id));
  return ids;
}

// What names of settings that change the arithmetic look like, and the settings of this look that
// do not: how a model was trained, or how another program runs it. A setting that no builder knew
// is refused rather than ignored.
constexpr std::string_view kArithmetic[] = {
    "softcap",  "multiplier",   "scal",       "rope",   "rotary",    "window", "bias",
    "norm",     "_act",         "activation", "expert", "moe",       "alibi",  "clip",
    "residual", "quantization", "qk_",        "attn_",  "mamba_",    "mlp_",   "ssm_",
    "kv_",      "logit",        "adapter",    "lora",   "layer_idx", "factor", "n_groups"};
constexpr std::string_view kNeutral[] = {
    "_attn_implementation",
    "attn_implementation",
    "attn_implementation_new",
    "calc_logits_for_entire_prompt",
    "fused_add_norm",
    "initializer_factor",
    "kv_channels",
    "logits_to_keep",
    "mamba_chunk_size",
    "mamba_kernels",
    "mamba_ssm_cache_dtype",
    "mlp_expansion_factor",
    "moe_shared_expert_overlap",
    "mtp_layers_block_type",
    "num_logits_to_keep",
    "output_router_logits",
    "rescale_prenorm_residual",
    "residual_in_fp32",
    "rope_theta",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "time_step_scale",
    "use_mamba_kernels",
    "use_mambapy",
};

void refuse_unknown_arithmetic(const Config& config, const std::string& architecture) {
  for (const std::string& key : config.unread()) {
    const auto in_key = [&](std::string_view part) { return key.find(part) != std::string::npos; };
    if (std::find(std::begin(kNeutral), std::end(kNeutral), key) != std::end(kNeutral)) continue;
    if (std::any_of(std::begin(kArithmetic), std::end(kArithmetic), in_key))
      config.unsupported("key " + brief(key) + " is not one that klens knows for " + architecture +
                         ", and may change what the model computes");
  }
}

}  // namespace

ModelSpec build_spec(const Config& config, const Config& generation, const HasTensor& has) {
  const std::string name = architecture_of(config);
  for (const Architecture& row : kArchitectures) {
    if (name != row.name) continue;
    ModelSpec spec = row.build(config, has);
    refuse_unknown_arithmetic(config, name);
    spec.architecture = name;
    spec.eos = token_list(generation, "eos_token_id");
    if (spec.eos.empty()) spec.eos = token_list(config, "eos_token_id");
    const std::vector<int32_t> bos = token_list(config, "bos_token_id");
    if (!bos.empty()) spec.bos = bos.front();
    return spec;
  }
  config.unsupported("architecture " + name + " is not one that klens runs (" + known_names() +
                     ")");
}

}  // namespace klens
