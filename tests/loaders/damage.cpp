#include "tests/loaders/damage.h"

#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>

#include "kernels/half.h"
#include "tests/testing.h"

namespace klens::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

std::string container_of(const std::string& target) {
  return fs::is_directory(target) ? target + "/model.safetensors" : target;
}

Damage change_container(std::function<void(Container&)> change) {
  return [=](const std::string& target) {
    Container container = Container::read(container_of(target));
    change(container);
    write_bytes(container_of(target), container.bytes());
  };
}

// A random tensor of a tiny checkpoint, appended to entries and data.
void add_tensor(const std::string& name, const std::vector<int64_t>& shape, DType dtype,
                std::mt19937& random, std::vector<TensorEntry>& entries, std::string& data) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  const size_t width = dtype == DType::kF32 ? 4 : 2;
  entries.push_back({name, dtype, shape, static_cast<size_t>(count) * width});
  std::uniform_real_distribution<float> real(-1, 1);
  for (int64_t i = 0; i < count; ++i) {
    const float value = real(random);
    const auto half = dtype == DType::kF16
                          ? f32_to_f16(value)
                          : static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    if (dtype == DType::kF32)
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    else
      data.append(reinterpret_cast<const char*>(&half), sizeof half);
  }
}

template <class Open, class Handle>
Outcome outcome_of(const Open& open, void (*release)(Handle*)) {
  static char place;
  Handle* const mark = reinterpret_cast<Handle*>(&place);
  Handle* handle = mark;
  klens_error error{};
  const klens_status status = open(&handle, &error);
  if (status == KLENS_OK) release(handle);
  return {status, error.message, handle == mark};
}

}  // namespace

std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

Container Container::parse(std::string_view bytes) {
  uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof size);
  return {ordered_json::parse(bytes.substr(sizeof size, size)),
          std::string(bytes.substr(sizeof size + size))};
}

std::string Container::with_header(std::string header_text, const std::string& data) {
  header_text.append((64 - (8 + header_text.size()) % 64) % 64, ' ');
  const uint64_t size = header_text.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + header_text + data;
}

char* Container::tensor(const std::string& name) {
  return data.data() + header.at(name).at("data_offsets").at(0).get<size_t>();
}

void write_tiny_checkpoint(const std::string& folder, const TinySizes& s) {
  fs::create_directories(folder);
  std::mt19937 random(7);
  std::vector<TensorEntry> entries;
  std::string data;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    add_tensor(name, shape, s.dtype, random, entries, data);
  };
  add("backbone.embeddings.weight", {s.vocab, s.d_model});
  for (int64_t i = 0; i < s.blocks; ++i) {
    const std::string layer = "backbone.layers." + std::to_string(i) + ".",
                      mixer = layer + "mixer.";
    add(layer + "norm.weight", {s.d_model});
    add(mixer + "in_proj.weight", {2 * s.d_inner, s.d_model});
    add(mixer + "x_proj.weight", {s.dt_rank + 2 * s.d_state, s.d_inner});
    add(mixer + "dt_proj.weight", {s.d_inner, s.dt_rank});
    add(mixer + "out_proj.weight", {s.d_model, s.d_inner});
    add(mixer + "conv1d.weight", {s.d_inner, 1, s.d_conv});
    add(mixer + "conv1d.bias", {s.d_inner});
    add(mixer + "dt_proj.bias", {s.d_inner});
    add(mixer + "A_log", {s.d_inner, s.d_state});
    add(mixer + "D", {s.d_inner});
  }
  add("backbone.norm_f.weight", {s.d_model});
  if (!s.tied) add("lm_head.weight", {s.vocab, s.d_model});
  const json config = {{"architectures", {"MambaForCausalLM"}},
                       {"hidden_size", s.d_model},
                       {"intermediate_size", s.d_inner},
                       {"num_hidden_layers", s.blocks},
                       {"vocab_size", s.vocab},
                       {"state_size", s.d_state},
                       {"conv_kernel", s.d_conv},
                       {"time_step_rank", s.dt_rank},
                       {"tie_word_embeddings", s.tied}};
  write_bytes(folder + "/config.json", config.dump());
  write_bytes(folder + "/model.safetensors", safetensors_header(entries, {}) + data);
}

void copy_golden(const std::string& folder) {
  fs::create_directories(folder);
  for (const char* file : {"config.json", "model.safetensors"})
    fs::copy_file(data_path("goldens/mamba/") + file, folder + "/" + file);
  fs::copy_file(data_path("tokenizers/gpt2.json"), folder + "/tokenizer.json");
}

void quantise(const std::string& checkpoint, const std::string& klens_path,
              const std::string& format) {
  klens_model_options open{};
  open.size = sizeof open;
  open.threads = 1;
  klens_plan_options plan{};
  plan.size = sizeof plan;
  plan.method = "uniform";
  plan.uniform_format = format.c_str();
  klens_profile_options profile{};
  profile.size = sizeof profile;
  profile.ctx = 4;
  profile.windows = 1;
  klens_quantize_options options{};
  options.size = sizeof options;
  options.plan = &plan;
  options.profile = &profile;
  klens_model* model = nullptr;
  char* report = nullptr;
  klens_error error{};
  if (klens_model_open(checkpoint.c_str(), &open, &model, &error) != KLENS_OK ||
      klens_quantize(model, klens_path.c_str(), &options, &report, &error) != KLENS_OK)
    throw std::runtime_error(error.message);
  klens_string_free(report);
  klens_model_free(model);
}

Damage put(const std::string& file, const std::string& contents) {
  return [=](const std::string& target) { write_bytes(target + "/" + file, contents); };
}

Damage take_away(const std::string& file) {
  return [=](const std::string& target) { fs::remove(target + "/" + file); };
}

Damage patch(const std::string& file, Patch change) {
  return [=](const std::string& target) {
    json contents = json::parse(read_bytes(target + "/" + file));
    contents.merge_patch(json::parse(change));
    write_bytes(target + "/" + file, contents.dump());
  };
}

Damage cut(int64_t bytes) {
  return [=](const std::string& target) {
    const std::string path = container_of(target);
    const int64_t size = static_cast<int64_t>(fs::file_size(path));
    fs::resize_file(path, static_cast<uintmax_t>(bytes < 0 ? size + bytes : bytes));
  };
}

Damage append(const std::string& bytes) {
  return [=](const std::string& target) {
    write_bytes(container_of(target), read_bytes(container_of(target)) + bytes);
  };
}

Damage header_size(uint64_t size) {
  return [=](const std::string& target) {
    std::string bytes = read_bytes(container_of(target));
    std::memcpy(bytes.data(), &size, sizeof size);
    write_bytes(container_of(target), bytes);
  };
}

Damage header_text(const std::string& text) {
  return [=](const std::string& target) {
    const std::string data = Container::read(container_of(target)).data;
    write_bytes(container_of(target), Container::with_header(text, data));
  };
}

Damage header(Patch change) {
  return change_container([=](Container& c) { c.header.merge_patch(ordered_json::parse(change)); });
}

Damage meta_json(const char* key, Patch change) {
  return change_container([=](Container& c) {
    ordered_json& entry = c.header["__metadata__"][key];
    ordered_json value = ordered_json::parse(entry.get<std::string>());
    value.merge_patch(ordered_json::parse(change));
    entry = value.dump();
  });
}

Damage flip(const std::string& tensor, size_t byte) {
  return change_container([=](Container& c) { c.tensor(tensor)[byte] ^= 1; });
}

Damage poke(const std::string& tensor, std::string_view bytes) {
  return change_container([=, text = std::string(bytes)](Container& c) {
    std::copy(text.begin(), text.end(), c.tensor(tensor));
  });
}

Damage both(Damage first, Damage second) {
  return [=](const std::string& target) {
    first(target);
    second(target);
  };
}

Outcome open_model(const std::string& path, bool verify) {
  klens_model_options options{};
  options.size = sizeof options;
  options.threads = 1;
  options.verify = verify ? 1 : 0;
  std::string tokenizer_problem;
  const Outcome opened = outcome_of(
      [&](klens_model** model, klens_error* error) {
        const klens_status status = klens_model_open(path.c_str(), &options, model, error);
        if (status == KLENS_OK)
          if (const char* problem = klens_model_tokenizer_error(*model))
            tokenizer_problem = problem;
        return status;
      },
      klens_model_free);
  if (tokenizer_problem.empty()) return opened;
  return {KLENS_BAD_FILE, tokenizer_problem, true};
}

Outcome open_tokenizer(const std::string& path) {
  return outcome_of(
      [&](klens_tokenizer** tokenizer, klens_error* error) {
        return klens_tokenizer_open(path.c_str(), tokenizer, error);
      },
      klens_tokenizer_free);
}

Outcome inspect_file(const std::string& path, bool verify) {
  return outcome_of(
      [&](char** report, klens_error* error) {
        return klens_inspect(path.c_str(), verify ? 1 : 0, report, error);
      },
      klens_string_free);
}

Outcome run_model(const std::string& path) {
  klens_model_options options{};
  options.size = sizeof options;
  options.threads = 1;
  klens_model* model = nullptr;
  klens_session* session = nullptr;
  klens_error error{};
  klens_status status = klens_model_open(path.c_str(), &options, &model, &error);
  if (status == KLENS_OK) status = klens_session_new(model, nullptr, &session, &error);
  const int32_t ids[] = {0, 1, 0};
  if (status == KLENS_OK) status = klens_session_eval(session, ids, 3, &error);
  klens_session_free(session);
  klens_model_free(model);
  return {status, error.message, true};
}

}  // namespace klens::testing
