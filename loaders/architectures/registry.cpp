#include <algorithm>
#include <string_view>

#include "loaders/architectures/builders.h"
#include "loaders/json.h"
#include "loaders/stop_tokens.h"

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
    {"Qwen3NextForCausalLM", build_qwen3_next},
    {"Qwen3_5ForCausalLM", build_qwen3_5},
    {"Qwen3_5ForConditionalGeneration", build_qwen3_5},
    {"Qwen3_5MoeForCausalLM", build_qwen3_5_moe},
    {"Qwen3_5MoeForConditionalGeneration", build_qwen3_5_moe},
    {"OlmoHybridForCausalLM", build_olmo_hybrid},
    {"Lfm2ForCausalLM", build_lfm2},
    {"Lfm2MoeForCausalLM", build_lfm2_moe},
    {"LlamaForCausalLM", build_llama},
    {"GraniteForCausalLM", build_granite},
    {"MistralForCausalLM", build_mistral},
    {"Qwen2ForCausalLM", build_qwen2},
    {"Qwen3ForCausalLM", build_qwen3},
};

// What users may look for, and what klens lacks to run it.
struct Refused {
  std::string_view part;  // of a name
  const char* lacks;
};
constexpr Refused kRefused[] = {
    {"Lfm3", "LFM3's sandwich norms, gates of heads and second rotation"},
    {"Qwen4Exp", "Qwen4-Exp's hyper-connections and n-gram embeddings"},
    {"KimiLinear", "Kimi Linear's latent attention (MLA)"},
    {"Mamba3", "Mamba-3's trapezoidal scan with rotated B and C"},
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

// What names of settings that change the arithmetic look like. A setting of such a name that no
// builder has read is refused rather than ignored.
constexpr std::string_view kArithmetic[] = {"softcap",
                                            "multiplier",
                                            "scal",
                                            "rope",
                                            "rotary",
                                            "window",
                                            "bias",
                                            "norm",
                                            "_act",
                                            "activation",
                                            "expert",
                                            "moe",
                                            "alibi",
                                            "clip",
                                            "clamp",
                                            "residual",
                                            "quantization",
                                            "qk_",
                                            "attn_",
                                            "mamba_",
                                            "mlp_",
                                            "ssm_",
                                            "kv_",
                                            "logit",
                                            "adapter",
                                            "lora",
                                            "layer_idx",
                                            "factor",
                                            "n_groups",
                                            "limit",
                                            "sparse",
                                            "interleave",
                                            "sink",
                                            "router",
                                            "mup",
                                            "pruned_heads",
                                            "time_step",
                                            "dt_",
                                            "dual_chunk",
                                            "attention_chunk",
                                            "position_embedding_type"};

// Of these, 0 says that there are none.
constexpr std::string_view kNoneIfZero[] = {"softcap", "expert", "moe",  "lora",
                                            "adapter", "window", "mtp_", "sink"};

// Settings of this look that change nothing in any of the architectures: how a model was trained or
// initialised, or how another program runs or prints it.
constexpr std::string_view kNeutralKeys[] = {
    "attn_implementation",
    "attn_implementation_new",
    "calc_logits_for_entire_prompt",
    "dt_init_floor",
    "dt_max",
    "dt_min",
    // Qwen2.5-1M: how other programs read texts beyond 262,144 tokens; transformers has no such
    // thing.
    "dual_chunk_attention_config",
    "fused_add_norm",
    "initializer_factor",
    "kv_channels",
    "logits_to_keep",
    "mamba_chunk_size",
    "mamba_dt_init_floor",
    "mamba_dt_max",
    "mamba_dt_min",
    "mamba_kernels",
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
    "time_step_floor",
    "time_step_init_scheme",
    "time_step_max",
    "time_step_min",
    "time_step_rank",  // of Mamba-1, which reads it, and in Mamba-2's configs all the same
    "time_step_scale",
    "use_falcon_mambapy",
    "use_mamba_kernels",
    "use_mambapy",
};

bool is_neutral(std::string_view key) {
  const auto ends = [&](std::string_view end) { return key.ends_with(end); };
  return std::find(std::begin(kNeutralKeys), std::end(kNeutralKeys), key) !=
             std::end(kNeutralKeys) ||
         // Dropout is of training.
         ends("dropout") || ends("pdrop") || ends("dropout_prob") || ends("dropout_rate") ||
         // _flash_attn_2_enabled, _attn_implementation_autoset, _experts_implementation, ...
         key.starts_with("_") || key.starts_with("use_flash_att") ||
         key.starts_with("attn_implementation");
}

void refuse_unknown_arithmetic(const Config& config, const std::string& architecture) {
  for (const std::string& key : config.unread()) {
    const auto in_key = [&](std::string_view part) { return key.find(part) != std::string::npos; };
    if (is_neutral(key)) continue;
    if (config.is_zero(key) && std::any_of(std::begin(kNoneIfZero), std::end(kNoneIfZero), in_key))
      continue;
    if (std::any_of(std::begin(kArithmetic), std::end(kArithmetic), in_key))
      config.unsupported("key " + brief(key) + " is not one that klens knows for " + architecture +
                         ", and may change what the model computes");
  }
}

// Weights that another program packed are of another kind than any tensor klens reads.
void refuse_quantised(const Config& config) {
  if (!config.has_content("quantization_config")) return;
  const Config how = config.child("quantization_config");
  const std::string method = how.is_text("quant_method") ? how.text({"quant_method"}, "") : "";
  config.unsupported("quantization_config: the weights are quantised" +
                     (method.empty() ? "" : " (" + brief(method) + ")") +
                     ", which klens does not read; give the checkpoint it was made from, in F32, "
                     "F16 or BF16");
}

}  // namespace

ModelSpec build_spec(const Config& config, const HasTensor& has) {
  const std::string name = architecture_of(config);
  for (const Architecture& row : kArchitectures) {
    if (name != row.name) continue;
    refuse_quantised(config);
    for (const char* key : {"is_causal", "causal"})
      if (!config.boolean({key}, true))
        config.unsupported(std::string(key) + " false asks for attention to later tokens");
    const Config language = config.language();
    ModelSpec spec = row.build(language, has);
    refuse_unknown_arithmetic(language, name);
    refuse_unknown_arithmetic(config, name);
    spec.architecture = name;
    const std::vector<int32_t> bos = token_ids(language, "bos_token_id");
    if (!bos.empty()) spec.bos = bos.front();
    make_units(spec);
    return spec;
  }
  for (const Refused& refused : kRefused)
    if (name.find(refused.part) != std::string::npos)
      config.unsupported("architecture " + name + " needs " + refused.lacks +
                         ", which klens does not have");
  config.unsupported("architecture " + name + " is not one that klens runs (" + known_names() +
                     ")");
}

}  // namespace klens
