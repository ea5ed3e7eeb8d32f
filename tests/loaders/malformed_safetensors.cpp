// Rows of the table of malformed inputs: safetensors files and their indices.
#include <filesystem>

#include "tests/loaders/malformed.h"

namespace klens::testing {
namespace {

namespace fs = std::filesystem;
using enum Base;

constexpr const char* kSafetensorsCure = "get it again";

// A container that is broken in itself.
MalformedRow broken(const char* name, Damage damage, const char* what) {
  return {name, kFolder, std::move(damage), KLENS_BAD_FILE, {"model.safetensors", what, "again"}};
}

// One tensor's entry of the header. The final norm is [64] F32.
MalformedRow bad_entry(const char* name, Patch entry, const char* what) {
  const std::string change = std::string(R"({"backbone.norm_f.weight":)") + entry + "}";
  return {name,
          kFolder,
          [change](const std::string& t) { header(change.c_str())(t); },
          KLENS_BAD_FILE,
          {"model.safetensors: tensor backbone.norm_f.weight", what, kSafetensorsCure}};
}

MalformedRow bad_value(const char* name, Base base, const char* tensor, std::string_view bytes) {
  return {name,
          base,
          poke(tensor, bytes),
          KLENS_BAD_FILE,
          {"model.safetensors: tensor ", tensor, "NaN or infinity", kSafetensorsCure}};
}

// The model's file becomes a shard of an index with this text.
Damage index(const std::string& name, const std::string& text) {
  return [=](const std::string& target) {
    fs::rename(target + "/model.safetensors", target + "/" + name);
    write_bytes(target + "/model.safetensors.index.json", text);
  };
}

MalformedRow bad_index(const char* name, const std::string& text, klens_status status,
                       const char* what) {
  return {name,
          kFolder,
          index("part.safetensors", text),
          status,
          {"model.safetensors.index.json", what, "get "}};
}

std::string_view bytes_of(const char* text, size_t count) { return {text, count}; }

const std::vector<MalformedRow> kSafetensorsRows = {
    {"weights are empty",
     kFolder,
     cut(0),
     KLENS_IO,
     {"model.safetensors: ", "empty", kSafetensorsCure}},
    broken("weights cut to 1 byte", cut(1), "too short"),
    broken("weights cut to 7 bytes", cut(7), "too short"),
    broken("weights cut behind the size", cut(8), "its header should have"),
    broken("weights cut in the header", cut(100), "its header should have"),
    broken("weights cut in the data", cut(100000), "outside the file's"),
    broken("weights lack the last byte", cut(-1), "outside the file's"),
    broken("weights have a byte too many", append("x"), "1 bytes more than its tensors"),
    broken("header size 0", header_size(0), "not valid JSON"),
    broken("header size 3", header_size(3), "not valid JSON"),
    broken("header reaches behind the file", header_size(500000), "its header should have"),
    {"header size 2^63",
     kFolder,
     header_size(uint64_t{1} << 63),
     KLENS_BAD_FILE,
     {"model.safetensors: ", "is no safetensors file", "9223372036854775808"}},
    {"header size -1",
     kFolder,
     header_size(~uint64_t{0}),
     KLENS_BAD_FILE,
     {"is no safetensors file"}},
    broken("header is no JSON", header_text("{oops"), "not valid JSON"),
    broken("header is binary", header_text(std::string(64, '\x01')), "not valid JSON"),
    broken("header is a list", header_text("[]"), "not a JSON object"),
    broken("header is nested deeply", header_text(std::string(70000, '[')), "nested deeper"),
    broken("a tensor stands there twice",
           header_text(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":1})"),
           "key a stands there twice"),
    broken("no tensors, but data", header_text("{}"), "bytes more than its tensors"),
    broken("metadata is a list", header(R"({"__metadata__":[1]})"), "__metadata__"),
    broken("metadata holds a number", header(R"({"__metadata__":{"format":1}})"),
           "__metadata__ entry format"),

    bad_entry("entry is a list", "[]", "lacks dtype"),
    bad_entry("entry without dtype", R"({"dtype":null})", "lacks dtype"),
    bad_entry("entry without offsets", R"({"data_offsets":null})", "data_offsets"),
    bad_entry("dtype is a number", R"({"dtype":4})", "has dtype 4"),
    bad_entry("dtype of other width", R"({"dtype":"F16"})", "needs 128"),
    bad_entry("shape is a text", R"({"shape":"64"})", "shape"),
    bad_entry("shape is negative", R"({"shape":[-64]})", "[-64]"),
    bad_entry("shape is a fraction", R"({"shape":[64.5]})", "[64.5]"),
    bad_entry("shape is huge", R"({"shape":[18446744073709551615]})", "[18446744073709551615]"),
    bad_entry("shape overflows", R"({"shape":[1099511627776,1099511627776]})", "overflows"),
    bad_entry("shape overflows before a 0", R"({"shape":[1099511627776,1099511627776,0]})",
              "overflows"),
    bad_entry("shape has many extents", R"({"shape":[64,1,1,1,1,1,1,1,1]})", "short list"),
    bad_entry("shape and bytes differ", R"({"shape":[65]})", "needs 260"),
    bad_entry("offsets are reversed", R"({"data_offsets":[256,0]})", "[256,0]"),
    bad_entry("offsets behind the end", R"({"data_offsets":[0,99999999]})", "outside the file's"),
    bad_entry("offsets overflow", R"({"data_offsets":[18446744073709551360,18446744073709551615]})",
              "outside the file's"),
    bad_entry("offsets are negative", R"({"data_offsets":[-256,0]})", "not two positions"),
    bad_entry("offsets are three", R"({"data_offsets":[0,128,256]})", "not two positions"),
    broken("tensors overlap", header(R"({"backbone.norm_f.weight":{"data_offsets":[0,256]}})"),
           "overlap"),
    broken("tensors leave a hole", header(R"({"backbone.norm_f.weight":null})"),
           "more than its tensors"),
    broken("a hole in the middle", header(R"({"backbone.layers.1.mixer.D":null})"), "leave a hole"),

    {"weights of 8-bit floats are no damage",
     kFolder,
     header(R"({"backbone.embeddings.weight":{"dtype":"F8_E4M3"}})"),
     KLENS_UNSUPPORTED,
     {"model.safetensors: tensor backbone.embeddings.weight has dtype \"F8_E4M3\"; weights must be "
      "F32, F16 or BF16: give the checkpoint in one of them"}},
    {"a unit of integers",
     kFolder,
     header(R"({"backbone.embeddings.weight":{"dtype":"I32"}})"),
     KLENS_UNSUPPORTED,
     {"model.safetensors: tensor backbone.embeddings.weight", "I32", "F32, F16 or BF16"}},
    {"a small tensor of integers",
     kFolder,
     header(R"({"backbone.norm_f.weight":{"dtype":"I32"}})"),
     KLENS_UNSUPPORTED,
     {"model.safetensors: tensor backbone.norm_f.weight", "I32", "F32, F16 or BF16"}},
    {"a unit is transposed",
     kFolder,
     header(R"({"backbone.embeddings.weight":{"shape":[64,160]}})"),
     KLENS_BAD_FILE,
     {"model.safetensors: tensor backbone.embeddings.weight", "[64, 160]", "[160, 64]"}},
    {"a small tensor of other shape",
     kFolder,
     header(R"({"backbone.layers.0.mixer.A_log":{"shape":[2048]}})"),
     KLENS_BAD_FILE,
     {"model.safetensors: tensor backbone.layers.0.mixer.A_log", "[2048]", "[128, 16]"}},
    {"a tensor of other name",
     kFolder,
     header(R"({"backbone.norm_f.weight":null,
       "backbone.norm_g.weight":{"dtype":"F32","shape":[64],"data_offsets":[436480,436736]}})"),
     KLENS_BAD_FILE,
     {"model.safetensors", "again"}},
    bad_value("NaN in a unit", kFolder, "backbone.embeddings.weight", bytes_of("\0\0\xc0\x7f", 4)),
    bad_value("infinity in a unit", kFolder, "backbone.layers.2.mixer.out_proj.weight",
              bytes_of("\0\0\x80\xff", 4)),
    bad_value("NaN in A_log", kFolder, "backbone.layers.1.mixer.A_log",
              bytes_of("\1\0\x80\x7f", 4)),
    bad_value("infinity in a norm", kFolder, "backbone.norm_f.weight", bytes_of("\0\0\x80\x7f", 4)),
    bad_value("NaN in F16", kF16Folder, "backbone.embeddings.weight", bytes_of("\1\x7c", 2)),
    bad_value("infinity in F16", kF16Folder, "backbone.layers.0.mixer.D", bytes_of("\0\xfc", 2)),
    bad_value("NaN in BF16", kBf16Folder, "backbone.layers.0.mixer.x_proj.weight",
              bytes_of("\xc0\x7f", 2)),
    bad_value("infinity in BF16", kBf16Folder, "backbone.layers.0.mixer.A_log",
              bytes_of("\x80\x7f", 2)),

    {"no weights",
     kFolder,
     take_away("model.safetensors"),
     KLENS_IO,
     {"holds no weights", "model.safetensors", "get them"}},
    {"weights of TensorFlow only",
     kFolder,
     both(take_away("model.safetensors"), put("tf_model.h5", "x")),
     KLENS_IO,
     {"holds no weights", "get them"}},
    {"weights are a folder",
     kFolder,
     both(take_away("model.safetensors"),
          [](const std::string& t) { fs::create_directory(t + "/model.safetensors"); }),
     KLENS_IO,
     {"model.safetensors: ", "not a regular file"}},
    bad_index("index is cut", "{\"weight_map\":", KLENS_BAD_FILE, "not valid JSON"),
    bad_index("index is a list", "[]", KLENS_BAD_FILE, "weight_map"),
    bad_index("index without weight_map", "{}", KLENS_BAD_FILE, "weight_map"),
    bad_index("index names a number", R"({"weight_map":{"a":1}})", KLENS_BAD_FILE,
              "weight_map of a"),
    bad_index("index names ../evil", R"({"weight_map":{"a":"../evil"}})", KLENS_BAD_FILE,
              "weight_map of a"),
    bad_index("index names /etc/passwd", R"({"weight_map":{"a":"/etc/passwd"}})", KLENS_BAD_FILE,
              "weight_map of a"),
    bad_index("index names nothing", R"({"weight_map":{"a":""}})", KLENS_BAD_FILE,
              "weight_map of a"),
    bad_index("index names a missing shard",
              R"({"weight_map":{"a":"part.safetensors","b":"gone.safetensors"}})", KLENS_IO,
              "gone.safetensors: is missing"),
    {"index names ..",
     kFolder,
     index("part.safetensors", R"({"weight_map":{"a":".."}})"),
     KLENS_IO,
     {"not a regular file"}},
    {"index without any shard",
     kFolder,
     index("part.safetensors", R"({"weight_map":{}})"),
     KLENS_BAD_FILE,
     {"index.json: tensor ", "is missing"}},
    {"two shards with one tensor",
     kFolder,
     both(index("a.safetensors", R"({"weight_map":{"a":"a.safetensors","b":"b.safetensors"}})"),
          [](const std::string& t) { fs::copy_file(t + "/a.safetensors", t + "/b.safetensors"); }),
     KLENS_BAD_FILE,
     {"b.safetensors: tensor ", "is also in ", "a.safetensors; get both files again"}},
};

}  // namespace

std::span<const MalformedRow> malformed_safetensors() { return kSafetensorsRows; }

}  // namespace klens::testing
