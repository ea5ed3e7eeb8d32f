// Rows of the table of malformed inputs: model files and saved sessions.
#include <filesystem>

#include "loaders/checksum.h"
#include "tests/loaders/malformed.h"

namespace klens::testing {
namespace {

using enum Base;

constexpr const char* kDamagedUnit = "backbone.layers.1.mixer.in_proj";

MalformedRow bad(const char* name, Damage damage, std::vector<const char*> words) {
  words.push_back(".klens");
  return {name, kKlens, std::move(damage), KLENS_BAD_FILE, std::move(words)};
}

MalformedRow without_key(const char* key) {
  const std::string change = std::string(R"({"__metadata__":{")") + key + R"(":null}})";
  return bad(key, [change](const std::string& t) { header(change.c_str())(t); },
             {"lacks ", key, "get the file again"});
}

// An entry of klens.units.
MalformedRow bad_unit(const char* name, Patch entry, std::vector<const char*> words) {
  const std::string change = std::string("{\"") + kDamagedUnit + "\":" + entry + "}";
  words.push_back(kDamagedUnit);
  return bad(
      name, [change](const std::string& t) { meta_json("klens.units", change.c_str())(t); },
      std::move(words));
}

MalformedRow bad_plan(const char* name, Patch change, const char* word) {
  return bad(name, meta_json("klens.plan", change), {"klens.plan", word});
}

MalformedRow bad_session(const char* name, Damage damage, const char* word) {
  return {name, kSession, std::move(damage), KLENS_BAD_FILE, {"saved.session: ", word}};
}

// A session's checksum made right again, so that what it guards is seen.
void sum(const std::string& target) {
  std::string text;
  {
    const SafetensorsFile file = SafetensorsFile::open(target);
    for (const auto& [key, value] : file.metadata())
      if (key != "klens.xxh3") text += key + "=" + value + "\n";
    for (const auto& [name, view] : file.tensors())
      text += name + " " + dtype_name(view.dtype) + " " + xxh3_hex(view.bytes) + "\n";
  }
  Container container = Container::read(target);
  container.header["__metadata__"]["klens.xxh3"] = xxh3_hex(std::as_bytes(std::span(text)));
  write_bytes(target, container.bytes());
}

MalformedRow bad_summed_session(const char* name, Damage damage, const char* word) {
  return bad_session(name, both(std::move(damage), sum), word);
}

// A part of 32 bytes before all others: every other part starts at an odd multiple of 32.
void misalign(const std::string& target) {
  Container container = Container::read(target);
  for (auto& [name, entry] : container.header.items())
    if (entry.contains("data_offsets"))
      for (auto& offset : entry["data_offsets"]) offset = offset.get<size_t>() + 32;
  container.header["pad"] = {{"dtype", "U8"}, {"shape", {32}}, {"data_offsets", {0, 32}}};
  container.data.insert(0, 32, '\0');
  write_bytes(target, container.bytes());
}

// The header one byte longer: the data no longer starts at a multiple of 64.
void shift_data(const std::string& target) {
  std::string bytes = read_bytes(target);
  bytes.insert(
      8 + static_cast<unsigned char>(bytes[0]) + 256 * static_cast<unsigned char>(bytes[1]), " ");
  write_bytes(target, bytes);
  header_size(static_cast<unsigned char>(bytes[0]) + 256 * static_cast<unsigned char>(bytes[1]) +
              1)(target);
}

const std::vector<MalformedRow> kKlensRows = {
    {"model file is empty", kKlens, cut(0), KLENS_IO, {".klens: ", "empty"}},
    bad("model file cut to 5 bytes", cut(5), {"too short"}),
    bad("model file cut to its size", cut(8), {"its header should have"}),
    bad("model file cut in its header", cut(2000), {"its header should have"}),
    bad("model file cut in its data", cut(-10000), {"outside the file's"}),
    bad("model file lacks a byte", cut(-1), {"outside the file's"}),
    bad("model file has a byte too many", append("\n"), {"1 bytes more"}),
    {"a GGUF file under this name",
     kKlens,
     [](const std::string& t) { write_bytes(t, "GGUF" + std::string(200, '\x07')); },
     KLENS_UNSUPPORTED,
     {".klens: ", "is a GGUF file of version 117901063"}},
    {"no safetensors file",
     kKlens,
     [](const std::string& t) { write_bytes(t, std::string(200, '\x07')); },
     KLENS_BAD_FILE,
     {".klens: ", "is no safetensors file"}},
    bad("a safetensors file of others", header(R"({"__metadata__":null})"),
        {"no klens model file", "folder"}),
    bad("no version", header(R"({"__metadata__":{"klens.format_version":null}})"),
        {"no klens model file"}),
    {"version 3",
     kKlens,
     header(R"({"__metadata__":{"klens.format_version":"3.0"}})"),
     KLENS_UNSUPPORTED,
     {".klens: ", "format version 3.0", "versions 1 and 2", "update klens"}},
    {"version 10",
     kKlens,
     header(R"({"__metadata__":{"klens.format_version":"10"}})"),
     KLENS_UNSUPPORTED,
     {"format version 10"}},
    {"version of letters",
     kKlens,
     header(R"({"__metadata__":{"klens.format_version":"new"}})"),
     KLENS_UNSUPPORTED,
     {"format version new"}},
    without_key("klens.architecture"),
    without_key("klens.config"),
    without_key("klens.units"),
    without_key("klens.plan"),
    without_key("klens.provenance"),
    without_key("klens.checksums"),
    bad("other architecture",
        header(R"({"__metadata__":{"klens.architecture":"FalconMambaForCausalLM"}})"),
        {"klens.architecture", "MambaForCausalLM"}),
    {"unknown architecture in the config",
     kKlens,
     meta_json("klens.config", R"({"architectures":["Foo"]})"),
     KLENS_UNSUPPORTED,
     {".klens (klens.config): ", "Foo"}},
    bad("config is no JSON", header(R"({"__metadata__":{"klens.config":"{"}})"),
        {"klens.config", "not valid JSON"}),
    bad("config of a wider model", meta_json("klens.config", R"({"hidden_size":65})"),
        {"has shape", "config asks for"}),
    bad("config of a deeper model", meta_json("klens.config", R"({"num_hidden_layers":4})"),
        {"klens.units lacks backbone.layers.3"}),
    bad("config of a flatter model", meta_json("klens.config", R"({"num_hidden_layers":2})"),
        {"backbone.layers.2"}),
    bad("config of an untied model", meta_json("klens.config", R"({"tie_word_embeddings":false})"),
        {"klens.config", "lm_head.weight"}),
    bad("generation config is no JSON",
        header(R"({"__metadata__":{"klens.generation_config":"x"}})"),
        {"klens.generation_config", "not valid JSON"}),
    bad("tokenizer is no JSON", header(R"({"__metadata__":{"klens.tokenizer":"x"}})"),
        {"tokenizer", "not valid JSON"}),

    bad("units are a list", header(R"({"__metadata__":{"klens.units":"[]"}})"),
        {"klens.units", "not a JSON object"}),
    bad("units are no JSON", header(R"({"__metadata__":{"klens.units":"{"}})"),
        {"klens.units", "not valid JSON"}),
    bad_unit("unit is missing", "null", {"lacks"}),
    bad_unit("unit is a number", "5", {"lacks"}),
    {"unknown format",
     kKlens,
     meta_json("klens.units", R"({"lm_head":{"format":"int3g17"}})"),
     KLENS_UNSUPPORTED,
     {".klens: ", "lm_head", "int3g17", "int4g64", "update klens"}},
    {"activations of 12 bits",
     kKlens,
     meta_json("klens.units", R"({"lm_head":{"activation_bits":12}})"),
     KLENS_UNSUPPORTED,
     {".klens: ", "lm_head", "12 bits", "update klens"}},
    bad_unit("activations of no bits", R"({"activation_bits":0})", {"activation_bits"}),
    {"no format",
     kKlens,
     meta_json("klens.units", R"({"lm_head":{"format":null}})"),
     KLENS_UNSUPPORTED,
     {"lm_head"}},
    bad_unit("format is a number", R"({"format":4})", {"format", "not a string"}),
    bad_unit("other rows", R"({"rows":257})", {"[257, 64]", "[256, 64]"}),
    bad_unit("other cols", R"({"cols":63})", {"[256, 63]", "[256, 64]"}),
    bad_unit("rows 1e30", R"({"rows":1e30})", {"rows", "whole number"}),
    bad_unit("rows negative", R"({"rows":-256})", {"rows", "-256"}),
    bad_unit("no cols", R"({"cols":null})", {"lacks cols"}),
    bad_unit("format of other size", R"({"format":"int8"})", {"its format needs"}),
    bad("a unit too many",
        meta_json("klens.units", R"({"backbone.layers.9.mixer.in_proj":{"format":"fp16"}})"),
        {"klens.units names backbone.layers.9"}),

    bad("a part of other type", header(R"({"lm_head.qweight":{"dtype":"I8"}})"),
        {"lm_head.qweight", "of U8"}),
    bad("a part is missing", header(R"({"lm_head.scale":null})"), {"overlap or leave a hole"}),
    bad("a part of other name", header(R"({"lm_head.scale":null,
          "lm_head.zero":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
        {"hole"}),
    bad("a tensor too many",
        header(R"({"extra":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})"),
        {"tensor extra belongs to no unit"}),
    bad("parts are misaligned", misalign, {"does not start at a multiple of 64"}),
    bad("data is misaligned", shift_data, {"its data does not start at a multiple of 64"}),
    bad("a stored small tensor of other shape",
        header(R"({"backbone.layers.0.mixer.A_log":{"shape":[16,128]}})"),
        {"A_log", "[16, 128]", "[128, 16]"}),
    bad("NaN in a small tensor",
        poke("backbone.layers.0.mixer.A_log", std::string_view("\0\0\xc0\x7f", 4)),
        {"A_log", "NaN or infinity"}),

    bad("infinite scales", poke("lm_head.scale", std::string_view("\0\x7c", 2)),
        {"tensor lm_head.scale", "NaN or infinity", "get it again"}),

    bad_plan("plan of other units", R"({"units":{"lm_head":null,"head":{"format":"int4g64"}}})",
             "lm_head"),
    bad_plan("plan with a unit too many", R"({"units":{"head":{"format":"int4g64"}}})",
             "names head"),
    bad_plan("plan of other formats", R"({"units":{"lm_head":{"format":"int8"}}})", "lm_head"),
    bad_plan("plan of an unknown format", R"({"units":{"lm_head":{"format":"int3"}}})", "int3"),
    bad_plan("plan of another version", R"({"klens_plan":2})", "version 2"),
    bad_plan("plan without units", R"({"units":null})", "units"),
    bad("provenance is a list", header(R"({"__metadata__":{"klens.provenance":"[]"}})"),
        {"klens.provenance"}),

    {"a bit flipped in weights",
     kVerified,
     flip("lm_head.qweight", 1000),
     KLENS_BAD_FILE,
     {".klens: tensor lm_head.qweight", "wrong checksum", "get the file again"}},
    {"a bit flipped in scales",
     kVerified,
     flip("backbone.layers.2.mixer.dt_proj.scale", 1),
     KLENS_BAD_FILE,
     {"tensor backbone.layers.2.mixer.dt_proj.scale", "wrong checksum"}},
    {"scales are NaN",
     kVerified,
     poke("backbone.layers.2.mixer.out_proj.scale", "\xff\xff\xff\xff\xff\xff"),
     KLENS_BAD_FILE,
     {"out_proj.scale", "wrong checksum"}},
    {"a bit flipped in a small tensor",
     kVerified,
     flip("backbone.norm_f.weight", 2),
     KLENS_BAD_FILE,
     {"backbone.norm_f.weight", "wrong checksum"}},
    {"a checksum is missing",
     kVerified,
     meta_json("klens.checksums", R"({"lm_head.scale":null})"),
     KLENS_BAD_FILE,
     {"lm_head.scale", "no checksum"}},
    {"a checksum is a number",
     kVerified,
     meta_json("klens.checksums", R"({"lm_head.scale":5})"),
     KLENS_BAD_FILE,
     {"lm_head.scale", "no checksum"}},
    {"checksums are a list",
     kVerified,
     header(R"({"__metadata__":{"klens.checksums":"[]"}})"),
     KLENS_BAD_FILE,
     {"klens.checksums", "not a JSON object"}},

    {"session file is empty", kSession, cut(0), KLENS_IO, {"saved.session: ", "empty"}},
    bad_session("session cut in its header", cut(60), "its header should have"),
    bad_session("session lacks a byte", cut(-1), "outside the file's"),
    bad_summed_session("session of another model",
                       header(R"({"__metadata__":{"klens.model":"0 int8"}})"), "another model"),
    bad_summed_session(
        "session of other activations",
        [](const std::string& t) {
          Container c = Container::read(t);
          std::string model = c.header["__metadata__"]["klens.model"];
          c.header["__metadata__"]["klens.model"] = model.substr(0, model.find(' ')) + " f32";
          write_bytes(t, c.bytes());
        },
        "--activations"),
    {"session of an older version",
     kSession,
     header(R"({"__metadata__":{"klens.session":"4"}})"),
     KLENS_UNSUPPORTED,
     {"saved.session: ", "saved session of version 4", "reads 5", "start a new one"}},
    bad_session("session without a version", header(R"({"__metadata__":{"klens.session":null}})"),
                "is no saved session"),
    bad_session("session without a checksum", header(R"({"__metadata__":{"klens.xxh3":null}})"),
                "wrong checksum"),
    bad_session("a bit flipped in a session's state", flip("state", 2), "wrong checksum"),
    bad_session("a bit flipped in a session's checkpoint", flip("checkpoint.0.state", 2),
                "wrong checksum"),
    bad_session("a session's checkpoint is moved",
                header(R"({"__metadata__":{"klens.checkpoints":"2 "}})"), "wrong checksum"),
    bad_summed_session("session's tokens are none of the vocabulary",
                       poke("ids", std::string_view("\0\0\0\x7f", 4)), "outside the vocabulary"),
    bad_summed_session("session's state of other type", header(R"({"state":{"dtype":"I8"}})"),
                       "tensor state"),
    bad_summed_session("session of another device",
                       header(R"({"__metadata__":{"klens.device":"abacus, version 1"}})"),
                       "was saved on abacus, not on cpu;"),
    bad_summed_session("session's logits are infinite",
                       poke("logits", std::string_view("\0\0\x80\x7f", 4)), "tensor logits"),
    bad_summed_session("session's checkpoint is after its end",
                       header(R"({"__metadata__":{"klens.checkpoints":"4 "}})"),
                       "checkpoint out of its order"),
    bad_summed_session("session's checkpoints are one less",
                       header(R"({"__metadata__":{"klens.checkpoints":"1 2 "}})"),
                       "tensor checkpoint.1.logits is missing"),
    bad_summed_session("session's checkpoint before its beginning",
                       header(R"({"__metadata__":{"klens.checkpoints":"-1 "}})"),
                       "checkpoint out of its order"),
};

}  // namespace

std::span<const MalformedRow> malformed_klens_files() { return kKlensRows; }

}  // namespace klens::testing
