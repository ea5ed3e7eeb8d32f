// Every malformed pytorch_model.bin gives one clear line: what is wrong, and the cure. No pickle
// calls anything.
#include <catch2/catch.hpp>
#include <filesystem>

#include "base/error.h"
#include "loaders/pytorch/pytorch_file.h"
#include "tests/loaders/damage.h"
#include "tests/loaders/pickles.h"
#include "tests/testing.h"

namespace klens::testing {
namespace {

namespace fs = std::filesystem;
using namespace pickles;
using enum ErrorKind;
using namespace std::string_literals;

constexpr const char* kPytorchCure = "get it again";
constexpr const char* kSave = "save the model's state_dict alone";

struct PytorchRow {
  const char* name;
  std::string bytes;  // a whole file
  ErrorKind kind;
  std::vector<const char*> words;
};

PytorchRow of_pickle(const char* name, const std::string& pickle, ErrorKind kind,
                     const char* what) {
  return {name, pytorch_archive(pickle), kind, {what, kind == kBadFile ? kPytorchCure : kSave}};
}
// A global or opcode that is refused by its name.
PytorchRow refused_pickle(const char* name, const std::string& object, const char* what) {
  return of_pickle(name, dict(object), kUnsupported, what);
}
// An instruction that is broken.
PytorchRow broken_pickle(const char* name, const std::string& pickle, const char* what) {
  return of_pickle(name, pickle, kBadFile, what);
}
// The tensor "a".
PytorchRow bad_tensor(const char* name, const TensorText& tensor, const char* what,
                      ErrorKind kind = kBadFile) {
  PytorchRow row = of_pickle(name, dict(tensor.str()), kind, what);
  row.words.push_back("tensor a ");
  return row;
}
PytorchRow bad_zip(const char* name, const std::string& bytes, const char* what,
                   ErrorKind kind = kBadFile, const char* cure = kPytorchCure) {
  return {name, bytes, kind, {what, cure}};
}

const std::string kSound = dict(TensorText().str());
const std::string kEvil = text("rm -rf /");

std::string archive(const ZipEntry& second, const ZipEnd& end = {}) {
  return stored_zip({{.name = "a/data.pkl", .contents = kSound}, second}, end);
}

std::vector<PytorchRow> pickle_rows() {
  const std::string many(300, ')');
  return {
      refused_pickle("os.system", call("os", "system", kEvil), "names os.system, "),
      refused_pickle("posix.system", global("posix", "system"), "names posix.system, "),
      refused_pickle("eval", call("builtins", "eval", kEvil), "names builtins.eval, "),
      refused_pickle("eval of Python 2", call("__builtin__", "eval", kEvil),
                     "names __builtin__.eval, "),
      refused_pickle("a global by STACK_GLOBAL", text("os") + text("system") + "\x93",
                     "names os.system, "),
      {"8-bit floats",
       pytorch_archive(dict(global("torch", "float8_e4m3fn"))),
       kUnsupported,
       {"has tensors of dtype float8_e4m3fn; weights must be F32, F16 or BF16", "not a quantised"}},
      refused_pickle("a class of another library", global("numpy.core.multiarray", "_reconstruct"),
                     "names numpy.core.multiarray._reconstruct, "),
      refused_pickle("a complex storage",
                     TensorText{.type = global("torch", "ComplexFloatStorage")}.str(),
                     "names torch.ComplexFloatStorage, "),
      refused_pickle("a name within a known one", global("torch", "_utils._rebuild_tensor_v2"),
                     "names torch._utils._rebuild_tensor_v2, "),
      refused_pickle("a long name", global(std::string(100000, 'x'), "y"), "names xxxxx"),
      refused_pickle("a binary name", global("\xff\x01", "y"), "names \xef\xbf\xbd"),
      refused_pickle("EXT1", "\x82\x01", "opcode EXT1, "),
      refused_pickle("EXT2", std::string("\x83\x01\0", 3), "opcode EXT2, "),
      refused_pickle("EXT4", std::string("\x84\x01\0\0\0", 5), "opcode EXT4, "),
      refused_pickle("INST", "(ios\nsystem\n", "opcode INST, "),
      refused_pickle("OBJ", "(" + global("torch", "Size") + kEvil + "o", "opcode OBJ, "),
      refused_pickle("NEWOBJ", global("torch", "Size") + ")\x81", "opcode NEWOBJ, "),
      refused_pickle("NEWOBJ_EX", global("torch", "Size") + ")}\x92", "opcode NEWOBJ_EX, "),
      refused_pickle("PERSID", "P0\n", "opcode PERSID, "),
      refused_pickle("DUP", "2", "opcode DUP, "),
      refused_pickle("a set", "\x8f", "opcode EMPTY_SET, "),
      refused_pickle("REDUCE of text", text("os.system") + ")R", "calls what is no known function"),
      refused_pickle("REDUCE with a list", global("torch", "Size") + "]R",
                     "calls what is no known"),
      refused_pickle("REDUCE of a storage's class", call("torch", "FloatStorage", ""),
                     "calls torch.FloatStorage "),
      refused_pickle("OrderedDict of something", call("collections", "OrderedDict", kEvil),
                     "makes a collections.OrderedDict of something"),
      refused_pickle("BUILD of a tensor", TensorText().str() + "}b", "opcode BUILD"),
      refused_pickle("protocol 6", "\x80\x06", "protocol above 5"),

      broken_pickle("no pickle at all", "", "ends within an instruction"),
      broken_pickle("an unknown byte", "\x80\x02\xff.",
                    "has the byte 255, no instruction, at byte 2"),
      broken_pickle("nothing is left", "\x80\x02.", "takes from an empty stack"),
      broken_pickle("two objects are left", "\x80\x02}}.", "leaves objects behind"),
      broken_pickle("a mark is left", "\x80\x02(}.", "leaves objects behind"),
      broken_pickle("a mark is missing", "\x80\x02)t.", "takes to a mark that is not there"),
      broken_pickle("items from below the mark", "\x80\x02}(s.", "takes from an empty stack"),
      broken_pickle("items for a tuple", "\x80\x02)NNs.", "adds items to what does not hold them"),
      broken_pickle("a key without a value", "\x80\x02}(Nu.",
                    "adds items to what does not hold them"),
      broken_pickle("a memo that is empty", "\x80\x02h\x01.",
                    "refers to an object that is not there"),
      broken_pickle("a memo with gaps", "\x80\x02}r\xff\xff\xff\xff.",
                    "numbers its objects with gaps"),
      broken_pickle("text of 4 GB", "\x80\x02X\xff\xff\xff\xff.", "ends within an instruction"),
      broken_pickle("text of 2^64", "\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "ends within"),
      broken_pickle("a frame of 2^64", "\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
                    "has a frame"),
      broken_pickle("text that is no UTF-8", pickle(text("\xc3")), "text that is not UTF-8"),
      broken_pickle("a global that is cut",
                    "\x80\x02"
                    "cos\nsys",
                    "ends within an instruction"),
      broken_pickle("a global without a name", "\x80\x02NN\x93.", "has a global without a name"),
      broken_pickle("a storage without a tuple", "\x80\x02}Q.", "no tuple describes"),
      broken_pickle("a parameter of None", dict(call("torch._utils", "_rebuild_parameter", "N")),
                    "makes a parameter of what is no tensor"),
      broken_pickle("a size of None", dict(call("torch", "Size", "N")),
                    "has a torch.Size of no tuple"),
      broken_pickle("bytes behind the pickle", kSound + ".", "ends before data.pkl does"),
      broken_pickle("millions of objects", "\x80\x02" + std::string((1 << 21) + 1, '}'),
                    "more objects"),
      broken_pickle("millions of marks", std::string(1 << 23, '('), "more instructions"),

      of_pickle("a list", pickle("]" + TensorText().str() + "a"), kUnsupported,
                "is no dictionary of tensors"),
      of_pickle("nothing", pickle("}"), kUnsupported, "is no dictionary of tensors"),
      of_pickle("a tensor alone", pickle(TensorText().str()), kUnsupported, "is no dictionary"),
      of_pickle("a dictionary in itself", "\x80\x02}q\0h\0h\0s."s, kUnsupported,
                "is no dictionary"),
      of_pickle("a name that is a number", dict(TensorText().str(), "K\1"), kUnsupported,
                "a tensor's name is no text"),
      of_pickle(
          "a name twice",
          pickle("}(" + text("a") + TensorText().str() + text("a") + TensorText().str() + "u"),
          kBadFile, "tensor a stands there twice"),
      of_pickle("many arguments", dict(call("torch._utils", "_rebuild_tensor_v2", many)), kBadFile,
                "tensor a is not described as PyTorch does"),
  };
}

std::vector<PytorchRow> tensor_rows() {
  const int64_t huge = int64_t{1} << 62, extent = int64_t{1} << 40;
  return {
      bad_tensor("no such storage", {.key = text("7")}, "has no storage 7 in the file"),
      bad_tensor("a storage of another place", {.key = text("../data.pkl")}, "has no storage"),
      bad_tensor("a long key", {.key = text(std::string(1000, '0'))}, "key is no number"),
      bad_tensor("a storage of other size", {.count = 15}, "60 bytes, but the file holds 64"),
      bad_tensor("a storage of other type", {.type = global("torch", "HalfStorage")},
                 "32 bytes, but the file holds 64"),
      bad_tensor("a negative storage", {.count = -16}, "a storage of -16 elements"),
      bad_tensor("a storage of 2^62 bytes", {.count = huge / 4}, "but the file holds 64"),
      bad_tensor("a storage that overflows", {.count = INT64_MAX}, "has a storage of"),
      bad_tensor("a storage of a function", {.type = global("torch", "Size")},
                 "has a storage of torch.Size"),
      bad_tensor("a storage of text", {.type = text("FloatStorage")}, "not described as PyTorch"),
      bad_tensor("an offset behind the end", {.offset = 1}, "lies outside its storage"),
      bad_tensor("a negative offset", {.offset = -1}, "offset -1 lies outside its storage"),
      bad_tensor("a huge offset", {.offset = INT64_MAX}, "lies outside its storage"),
      bad_tensor("sizes too large", {.sizes = tuple({4, 5})}, "shape [4, 5]"),
      bad_tensor("a negative size", {.sizes = tuple({-4, -4})}, "shape [-4, -4]"),
      bad_tensor("huge sizes", {.sizes = tuple({huge, 4})}, "no size in memory"),
      bad_tensor("sizes overflow", {.sizes = tuple({extent, extent})}, "no size in memory"),
      bad_tensor("sizes overflow before a 0",
                 {.sizes = tuple({extent, extent, 0}), .strides = tuple({0, 0, 0})},
                 "no size in memory"),
      bad_tensor("a stride too large", {.strides = tuple({5, 1})}, "strides [5, 1]"),
      bad_tensor("a negative stride", {.offset = 15, .strides = tuple({-4, -1})},
                 "strides [-4, -1]"),
      bad_tensor("strides overflow", {.strides = tuple({INT64_MAX, INT64_MAX})}, "lies outside"),
      bad_tensor("fewer strides", {.strides = tuple({1})}, "2 sizes and 1 strides"),
      bad_tensor("nine dimensions",
                 {.sizes = tuple({1, 1, 1, 1, 1, 1, 1, 1, 1}),
                  .strides = tuple({1, 1, 1, 1, 1, 1, 1, 1, 1})},
                 "9 sizes and 9 strides"),
      bad_tensor("a hundred dimensions", {.sizes = tuple(std::string(100, ')'))}, "tuple of sizes"),
      bad_tensor("sizes are a list", {.sizes = "]"}, "has no tuple of sizes"),
      bad_tensor("sizes are tuples", {.sizes = tuple("))")}, "has no integers as sizes"),
      bad_tensor("sizes are long", {.sizes = tuple("\x8a\x09" + std::string(9, '\1'))},
                 "has no integers as sizes"),
      bad_tensor("an empty one outside", {.offset = 17, .sizes = tuple({0}), .strides = tuple({1})},
                 "lies outside its storage"),
      bad_tensor("expanded without end",
                 {.sizes = tuple({int64_t{1} << 30, 4}), .strides = tuple({0, 1})},
                 "far larger than what the file holds", kUnsupported),
      bad_tensor("a negative view", {.rest = "\x89)}" + text("neg") + "\x88s"},
                 "is a conjugate or negative view", kUnsupported),
      bad_tensor("no hooks", {.rest = "\x89"}, "not described as PyTorch does"),
      bad_tensor("a dtype with typed storage",
                 {.rest = "\x89)" + global("torch", "float32"), .function = "_rebuild_tensor_v3"},
                 "not described as PyTorch does"),
      bad_tensor("a dtype that is text",
                 {.type = global("torch.storage", "UntypedStorage"),
                  .count = 64,
                  .rest = "\x89)" + text("float32"),
                  .function = "_rebuild_tensor_v3"},
                 "not described as PyTorch does"),
  };
}

std::vector<PytorchRow> zip_rows() {
  const ZipEntry plain{.name = "a/data/0", .contents = std::string(64, 'x')};
  const auto with = [&](auto change) {
    ZipEntry entry = plain;
    change(entry);
    return archive(entry);
  };
  constexpr const char* kGive = "give one that is";
  return {
      bad_zip("no container", "version https://git-lfs.github.com/spec/v1\n",
              "is no PyTorch checkpoint", kBadFile, "get the file again"),
      bad_zip("only the signature", "PK", "directory is not at the end"),
      bad_zip("no data.pkl", stored_zip({plain}), "without data.pkl", kBadFile, kGive),
      bad_zip("no entries", stored_zip({}), "without data.pkl", kBadFile, kGive),
      bad_zip("two data.pkl", archive({.name = "b/data.pkl", .contents = kSound}),
              "holds two data.pkl"),
      bad_zip("compressed", with([](ZipEntry& e) { e.method = 8; }),
              "entry a/data/0 of the archive is compressed (zip method 8)", kUnsupported, "zip -0"),
      bad_zip("encrypted", with([](ZipEntry& e) { e.flags = 1; }),
              "entry a/data/0 of the archive is encrypted", kUnsupported, "without a password"),
      bad_zip("an entry twice", archive({.name = "a/data.pkl", .contents = kSound}),
              "entry a/data.pkl of the archive stands there twice"),
      bad_zip("two sizes", with([](ZipEntry& e) { e.bytes = 63; }), "has 64 bytes for 63"),
      bad_zip("an entry too long", with([](ZipEntry& e) { e.bytes = e.stored = 65; }),
              "entry a/data/0 of the archive ends outside the file"),
      bad_zip("an entry of 2^64",
              with([](ZipEntry& e) { e.bytes = e.stored = INT64_MAX, e.in_64 = true; }),
              "ends outside the file"),
      bad_zip("a place behind the end", with([](ZipEntry& e) { e.header = 100000; }),
              "lies outside the file"),
      bad_zip("a place of 2^63", with([](ZipEntry& e) { e.header = INT64_MAX, e.in_64 = true; }),
              "lies outside the file"),
      bad_zip("the place of another", with([](ZipEntry& e) { e.header = 0; }),
              "is not where the directory says"),
      bad_zip("overlapping entries",
              stored_zip({{.name = "a/data.pkl", .contents = stored_zip({plain}) + plain.contents},
                          {.name = "a/data/0", .contents = plain.contents, .header = 40}}),
              "entry a/data/0 of the archive overlaps a/data.pkl"),
      bad_zip("fewer entries", archive(plain, {.entries = 1}), "holds 2 entries, not 1"),
      bad_zip("more entries", archive(plain, {.in_64 = true, .entries = 3}),
              "holds 2 entries, not 3"),
      bad_zip("a directory elsewhere", archive(plain, {.begin = 0}), "does not end where"),
      bad_zip("a directory outside", archive(plain, {.in_64 = true, .begin = INT64_MAX}),
              "does not end where"),
      bad_zip("a directory of no rows", archive(plain, {.begin = 5, .bytes = 500}), "does not end"),
      bad_zip("bytes behind the end", archive(plain) + "x", "directory is not at the end"),
      bad_zip("big-endian", archive({.name = "a/byteorder", .contents = "big"}),
              "byte order is big", kUnsupported, kSave),
      bad_zip("another version", archive({.name = "a/version", .contents = "11\n"}),
              "is of version 11", kUnsupported, kSave),
  };
}

std::vector<PytorchRow> legacy_rows() {
  const std::string magic = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.",
                    version = "\x80\x02M\xe9\x03.",
                    little = "\x80\x02}" + text("little_endian") + "\x88s.",
                    keys = pickle("]" + text("0") + "a"),
                    count = ZipText().number(int64_t{16}).str(), data(64, '\0');
  const std::string start = magic + version + little + kSound;
  const auto bad = [](const char* name, const std::string& bytes, const char* what) {
    return bad_zip(name, bytes, what);
  };
  return {
      bad_zip("a pickle of something else", kSound, "no PyTorch checkpoint", kBadFile,
              "give one that is"),
      bad_zip("a pickle that calls", pickle(call("os", "system", kEvil)), "names os.system, ",
              kUnsupported, kSave),
      bad_zip("legacy: version", magic + "\x80\x02M\xea\x03.", "unknown version", kUnsupported,
              kSave),
      bad_zip("legacy: byte order", magic + version + "\x80\x02}.", "byte order", kUnsupported,
              kSave),
      bad("legacy: no keys", start, "ends within an instruction"),
      bad("legacy: keys are no list", start + pickle("}"), "lacks the list"),
      bad("legacy: unknown key", start + pickle("]" + text("1") + "a"), "no tensor has"),
      bad("legacy: no data", start + keys, "lacks storage 0"),
      bad("legacy: other count", start + keys + ZipText().number(int64_t{15}).str() + data,
          "lacks storage 0"),
      bad("legacy: data is cut", start + keys + count + data.substr(1), "lacks storage 0"),
      bad("legacy: too much data", start + keys + count + data + "x", "more than its storages"),
      bad("legacy: a key twice",
          start + pickle("](" + text("0") + text("0") + "e") + count + data + count + data,
          "holds storage 0 twice"),
      bad("legacy: a storage is missing", start + pickle("]"), "has no storage 0 in the file"),
  };
}

void check_row(const PytorchRow& row) {
  INFO(row.name);
  try {
    PytorchFile::parse(std::as_bytes(std::span(row.bytes)), "test");
    FAIL_CHECK("was read");
  } catch (const Error& error) {
    const std::string message = error.what();
    INFO(message);
    CHECK(error.kind() == row.kind);
    CHECK_THAT(message, Catch::StartsWith("test: "));
    CHECK(message.size() < 600);
    CHECK(message.find('\n') == message.npos);
    for (const char* word : row.words) CHECK_THAT(message, Catch::Contains(word));
  }
}

}  // namespace

TEST_CASE("every malformed PyTorch file gives one clear line", "[pytorch][malformed]") {
  for (const auto& rows : {pickle_rows(), tensor_rows(), zip_rows(), legacy_rows()})
    for (const PytorchRow& row : rows) check_row(row);
}

TEST_CASE("what the rows damage is sound", "[pytorch][malformed]") {
  for (const std::string& bytes :
       {pytorch_archive(kSound), pytorch_archive(dict(TensorText{.rest = "\x89)N"}.str()))})
    CHECK(PytorchFile::parse(std::as_bytes(std::span(bytes)), "test").tensors().size() == 1);
}

TEST_CASE("PyTorch files with anything but tensors are refused by the C API too",
          "[pytorch][malformed]") {
  const auto [file, word] = GENERATE(table<const char*, const char*>(
      {{"evil.bin", "posix.getcwd"}, {"complex.bin", "torch.ComplexFloatStorage"}}));
  const TemporaryFolder folder;
  fs::copy(data_path("pytorch/mamba"), folder / "model");
  fs::remove(folder / "model/pytorch_model.bin");
  fs::copy_file(data_path(std::string("pytorch/") + file), folder / "model/pytorch_model.bin");
  for (const Outcome& outcome :
       {open_model(folder / "model", false), inspect_file(folder / "model", true)}) {
    CHECK(outcome.status == KLENS_UNSUPPORTED);
    CHECK(outcome.untouched);
    for (const char* part : {"model/pytorch_model.bin: ", word, kSave})
      CHECK_THAT(outcome.message, Catch::Contains(part));
  }
}

}  // namespace klens::testing
