// Goldens told as llama.cpp's converter tells them in GGUF, and read back: names, norms made whole,
// value heads in turn over key heads, -exp(A_log), paired rows, stacked experts.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "engine/session.h"
#include "tests/loaders/gguf_builder.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
using Values = std::vector<float>;

struct Tensor {
  std::vector<int64_t> shape;
  Values values;
  int64_t row_size() const { return static_cast<int64_t>(values.size()) / shape[0]; }
};

// [outer][a][b][inner] to [outer][b][a][inner].
Values swapped(const Values& from, int64_t outer, int64_t a, int64_t b) {
  const int64_t inner = static_cast<int64_t>(from.size()) / (outer * a * b);
  Values to;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t j = 0; j < b; ++j)
      for (int64_t i = 0; i < a; ++i) {
        const auto at = from.begin() + ((o * a + i) * b + j) * inner;
        to.insert(to.end(), at, at + inner);
      }
  return to;
}

Tensor rows(const Tensor& from, int64_t first, int64_t count) {
  const auto at = from.values.begin() + first * from.row_size();
  Tensor part{from.shape, Values(at, at + count * from.row_size())};
  part.shape[0] = count;
  return part;
}

// A golden, and the GGUF that is being made of it.
class Converter {
 public:
  explicit Converter(const std::string& name) : folder_(data_path("goldens/" + name)) {
    std::ifstream(folder_ + "/config.json") >> config_;
    const SafetensorsFile file = SafetensorsFile::open(folder_ + "/model.safetensors");
    for (const auto& [tensor, view] : file.tensors()) tensors_[tensor] = {view.shape, to_f32(view)};
  }

  std::string write(const std::string& path) {
    static const std::map<std::string, std::string> architectures = {
        {"GraniteForCausalLM", "granite"},      {"Lfm2ForCausalLM", "lfm2"},
        {"Lfm2MoeForCausalLM", "lfm2moe"},      {"Qwen3_5ForCausalLM", "qwen35"},
        {"Qwen3_5MoeForCausalLM", "qwen35moe"}, {"Qwen3NextForCausalLM", "qwen3next"}};
    arch_ = architectures.at(config_["architectures"][0]);
    file_.text("general.architecture", arch_);
    keys();
    put("token_embd.weight", "model.embed_tokens.weight");
    if (tensors_.count("lm_head.weight")) put("output.weight", "lm_head.weight");
    const bool lfm2 = arch_.starts_with("lfm2");
    put(lfm2 ? "token_embd_norm.weight" : "output_norm.weight",
        lfm2 ? "model.embedding_norm.weight" : "model.norm.weight");
    for (int64_t i = 0; i < number("num_hidden_layers"); ++i)
      layer("blk." + std::to_string(i) + ".", "model.layers." + std::to_string(i) + ".");
    for (const auto& [name, tensor] : tensors_) {
      INFO("not converted: " << name);
      CHECK(taken_.count(name) == 1);
    }
    std::ofstream(path, std::ios::binary) << file_.bytes();
    return path;
  }

 private:
  int64_t number(const char* key) const { return config_.at(key).get<int64_t>(); }
  void u32(const std::string& key, const char* from) {
    if (config_.contains(from)) file_.u32(arch_ + "." + key, static_cast<uint32_t>(number(from)));
  }
  void f32(const std::string& key, const char* from) {
    if (config_.contains(from)) file_.f32(arch_ + "." + key, config_[from].get<float>());
  }

  void keys() {
    u32("block_count", "num_hidden_layers");
    u32("embedding_length", "hidden_size");
    u32("context_length", "max_position_embeddings");
    u32("feed_forward_length", "intermediate_size");
    u32("attention.head_count", "num_attention_heads");
    u32("attention.head_count_kv", "num_key_value_heads");
    f32("attention.layer_norm_rms_epsilon",
        config_.contains("norm_eps") ? "norm_eps" : "rms_norm_eps");
    file_.f32(arch_ + ".rope.freq_base", config_["rope_parameters"]["rope_theta"].get<float>());
    for (const char* key : {"attention.key_length", "attention.value_length"}) u32(key, "head_dim");
    u32("ssm.conv_kernel", "linear_conv_kernel_dim");
    u32("ssm.state_size", "linear_key_head_dim");
    u32("ssm.group_count", "linear_num_key_heads");
    u32("ssm.time_step_rank", "linear_num_value_heads");
    u32("shortconv.l_cache", "conv_L_cache");
    u32("leading_dense_block_count", "num_dense_layers");
    u32("expert_count", "num_experts");
    u32("expert_used_count", "num_experts_per_tok");
    u32("expert_feed_forward_length", "moe_intermediate_size");
    u32("expert_shared_feed_forward_length", "shared_expert_intermediate_size");
    f32("embedding_scale", "embedding_multiplier");
    f32("residual_scale", "residual_multiplier");
    f32("attention.scale", "attention_multiplier");
    f32("logit_scale", "logits_scaling");
    if (arch_ == "lfm2") {
      const Tensor& up = tensors_.at("model.layers.0.feed_forward.w1.weight");
      file_.u32("lfm2.feed_forward_length", static_cast<uint32_t>(up.shape[0]));
    }
    if (arch_ == "lfm2moe") file_.u32("lfm2moe.expert_gating_func", 2);
    if (!config_.contains("linear_num_key_heads")) return;
    file_.u32(arch_ + ".ssm.inner_size", static_cast<uint32_t>(values()));
    file_.u32(arch_ + ".full_attention_interval", 4);
    std::vector<uint8_t> recurrent;
    for (const auto& type : config_["layer_types"]) recurrent.push_back(type != "full_attention");
    file_.numbers<uint8_t>(arch_ + ".attention.recurrent_layers", 7, recurrent);
    file_.u32(arch_ + ".rope.dimension_count", static_cast<uint32_t>(number("head_dim") / 4));
    if (arch_ != "qwen3next")
      file_.numbers<int32_t>(arch_ + ".rope.dimension_sections", 5, {2, 1, 1, 0});
  }
  int64_t values() const {
    return number("linear_num_value_heads") * number("linear_value_head_dim");
  }

  Tensor take(const std::string& name) {
    taken_.insert(name);
    return tensors_.at(name);
  }
  void add(const std::string& name, const Tensor& tensor) {
    std::string data(tensor.values.size() * sizeof(float), '\0');
    std::memcpy(data.data(), tensor.values.data(), data.size());
    std::vector<uint64_t> dims;
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent)
      dims.push_back(static_cast<uint64_t>(*extent));
    file_.tensors.push_back({name, 0, std::move(dims), std::move(data)});
  }
  // As it is, but for norms, which the converter makes whole.
  void put(const std::string& name, const std::string& from) {
    if (!tensors_.count(from)) return;
    Tensor tensor = take(from);
    if (arch_.starts_with("qwen") && from.ends_with("norm.weight") &&
        !from.ends_with("linear_attn.norm.weight"))
      for (float& v : tensor.values) v += 1;
    add(name, tensor);
  }
  void stack(const std::string& name, const std::string& before, const std::string& after) {
    if (!tensors_.count(before + "0" + after)) return;
    Tensor all;
    for (int64_t e = 0; e < number("num_experts"); ++e) {
      const Tensor one = take(before + std::to_string(e) + after);
      all.shape = {number("num_experts"), one.shape[0], one.shape[1]};
      all.values.insert(all.values.end(), one.values.begin(), one.values.end());
    }
    add(name, all);
  }

  void layer(const std::string& to, const std::string& from) {
    const std::pair<const char*, const char*> plain[] = {
        {"attn_norm.weight", "input_layernorm.weight"},
        {"attn_norm.weight", "operator_norm.weight"},
        {arch_ == "granite" ? "ffn_norm.weight" : "post_attention_norm.weight",
         "post_attention_layernorm.weight"},
        {"ffn_norm.weight", "ffn_norm.weight"},
        {"attn_v.weight", "self_attn.v_proj.weight"},
        {"attn_output.weight", "self_attn.o_proj.weight"},
        {"attn_output.weight", "self_attn.out_proj.weight"},
        {"attn_q_norm.weight", "self_attn.q_norm.weight"},
        {"attn_k_norm.weight", "self_attn.k_norm.weight"},
        {"attn_q_norm.weight", "self_attn.q_layernorm.weight"},
        {"attn_k_norm.weight", "self_attn.k_layernorm.weight"},
        {"ffn_gate.weight", "mlp.gate_proj.weight"},
        {"ffn_up.weight", "mlp.up_proj.weight"},
        {"ffn_down.weight", "mlp.down_proj.weight"},
        {"ffn_gate.weight", "feed_forward.w1.weight"},
        {"ffn_up.weight", "feed_forward.w3.weight"},
        {"ffn_down.weight", "feed_forward.w2.weight"},
        {"ffn_gate_inp.weight", "feed_forward.gate.weight"},
        {"exp_probs_b.bias", "feed_forward.expert_bias"},
        {"ffn_gate_inp.weight", "mlp.gate.weight"},
        {"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight"},
        {"ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight"},
        {"ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight"},
        {"ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight"},
        {"shortconv.in_proj.weight", "conv.in_proj.weight"},
        {"shortconv.out_proj.weight", "conv.out_proj.weight"},
        {"ssm_norm.weight", "linear_attn.norm.weight"},
        {"ssm_ba.weight", "linear_attn.in_proj_ba.weight"}};
    for (const auto& [gguf, checkpoint] : plain) put(to + gguf, from + checkpoint);
    const std::tuple<const char*, const char*, const char*> stacks[] = {
        {"ffn_gate_exps.weight", "mlp.experts.", ".gate_proj.weight"},
        {"ffn_up_exps.weight", "mlp.experts.", ".up_proj.weight"},
        {"ffn_down_exps.weight", "mlp.experts.", ".down_proj.weight"},
        {"ffn_gate_exps.weight", "feed_forward.experts.", ".w1.weight"},
        {"ffn_up_exps.weight", "feed_forward.experts.", ".w3.weight"},
        {"ffn_down_exps.weight", "feed_forward.experts.", ".w2.weight"}};
    for (const auto& [gguf, before, after] : stacks) stack(to + gguf, from + before, after);
    queries_and_keys(to, from + "self_attn.");
    if (tensors_.count(from + "conv.conv.weight"))
      convolution(to + "shortconv.conv.weight", take(from + "conv.conv.weight"));
    if (tensors_.count(from + "linear_attn.A_log")) delta(to, from + "linear_attn.");
  }

  void queries_and_keys(const std::string& to, const std::string& from) {
    for (const char* part : {"q", "k"}) {
      const std::string name = from + part + "_proj.weight";
      if (!tensors_.count(name)) continue;
      Tensor tensor = take(name);
      const int64_t heads = number(*part == 'q' ? "num_attention_heads" : "num_key_value_heads");
      if (arch_ == "granite")
        tensor.values = swapped(tensor.values, heads, 2, tensor.shape[0] / heads / 2);
      add(to + "attn_" + part + ".weight", tensor);
    }
  }
  void convolution(const std::string& name, Tensor tensor) {
    tensor.shape = {tensor.shape[0], tensor.shape[2]};
    add(name, tensor);
  }

  // Value heads, which come by key head, in turn over key heads; only Qwen 3.5's.
  Values tiled(const Values& from, int64_t outer = 1) const {
    const int64_t groups = number("linear_num_key_heads");
    if (arch_ == "qwen3next") return from;
    return swapped(from, outer, groups, number("linear_num_value_heads") / groups);
  }
  Tensor tiled_from(Tensor tensor, int64_t first) const {
    const int64_t count = tensor.shape[0] - first;
    const Values values = tiled(rows(tensor, first, count).values);
    std::copy(values.begin(), values.end(), tensor.values.begin() + first * tensor.row_size());
    return tensor;
  }

  void delta(const std::string& to, const std::string& from) {
    const int64_t keys = number("linear_num_key_heads") * number("linear_key_head_dim");
    if (tensors_.count(from + "in_proj_qkvz.weight")) split_qkvz(to, from);
    for (const auto& [gguf, checkpoint, first] :
         {std::tuple("attn_qkv.weight", "in_proj_qkv.weight", 2 * keys),
          std::tuple("attn_gate.weight", "in_proj_z.weight", int64_t{0}),
          std::tuple("ssm_beta.weight", "in_proj_b.weight", int64_t{0}),
          std::tuple("ssm_alpha.weight", "in_proj_a.weight", int64_t{0}),
          std::tuple("ssm_dt.bias", "dt_bias", int64_t{0})})
      if (tensors_.count(from + checkpoint))
        add(to + gguf, tiled_from(take(from + checkpoint), first));
    convolution(to + "ssm_conv1d.weight", tiled_from(take(from + "conv1d.weight"), 2 * keys));
    Tensor a = tiled_from(take(from + "A_log"), 0);
    for (float& v : a.values) v = -std::exp(v);
    add(to + "ssm_a", a);
    Tensor out = take(from + "out_proj.weight");
    out.values = tiled(out.values, out.shape[0]);
    add(to + "ssm_out.weight", out);
  }

  // Qwen3-Next's rows of each key head, q, k, v and z apart.
  void split_qkvz(const std::string& to, const std::string& from) {
    const Tensor all = take(from + "in_proj_qkvz.weight");
    const int64_t groups = number("linear_num_key_heads"), k_dim = number("linear_key_head_dim");
    const int64_t each = values() / groups, part = all.shape[0] / groups;
    Tensor qkv{{2 * groups * k_dim + values(), all.shape[1]}, {}}, z{{values(), all.shape[1]}, {}};
    const auto append = [&](Tensor& sink, int64_t first, int64_t count) {
      for (int64_t g = 0; g < groups; ++g) {
        const Values own = rows(all, g * part + first, count).values;
        sink.values.insert(sink.values.end(), own.begin(), own.end());
      }
    };
    append(qkv, 0, k_dim);
    append(qkv, k_dim, k_dim);
    append(qkv, 2 * k_dim, each);
    append(z, 2 * k_dim + each, each);
    add(to + "attn_qkv.weight", qkv);
    add(to + "attn_gate.weight", z);
  }

  std::string folder_, arch_;
  nlohmann::json config_;
  std::map<std::string, Tensor> tensors_;
  std::set<std::string> taken_;
  GgufBuilder file_;
};

}  // namespace

TEST_CASE("goldens as llama.cpp converts them give the goldens' logits", "[golden][gguf]") {
  const std::string name =
      GENERATE("granite", "lfm2", "lfm2_moe", "qwen3_5", "qwen3_5_moe", "qwen3_next");
  CAPTURE(name);
  const TemporaryFolder folder;
  const std::string path = Converter(name).write(folder / "model.gguf");
  const SafetensorsFile reference =
      SafetensorsFile::open(data_path("goldens/" + name + "/reference.safetensors"));
  const auto ids = tensor_values<int32_t>(reference, "input_ids");
  const auto want = tensor_values<float>(reference, "logits");
  std::vector<float> got(want.size());
  Session(open_model(path), 512).eval(ids, got.data());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::fabs(double{got[i]} - want[i]) / (1 + std::fabs(double{want[i]})));
  CHECK(worst <= 2e-4);
}

}  // namespace klens
