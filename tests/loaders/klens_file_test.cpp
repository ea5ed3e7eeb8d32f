#include "loaders/klens_file.h"

#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>

#include "base/error.h"
#include "loaders/checksum.h"
#include "loaders/profile_json.h"
#include "quant/quantizers/rtn.h"
#include "tests/loaders/damage.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;
namespace fs = std::filesystem;

constexpr TinySizes kOdd = {.d_model = 9,
                            .d_inner = 7,
                            .blocks = 2,
                            .vocab = 5,
                            .d_state = 3,
                            .d_conv = 3,
                            .dt_rank = 3,
                            .tied = false};

PackedWeight by_rtn(const StoredUnit& unit, const Choice& choice) {
  return quantize_rtn(*find_format(choice.format), unit.view, {});
}

// The units in the given formats, in turn.
KlensHeader header_for(const Checkpoint& source, const std::vector<std::string>& formats) {
  KlensHeader header{.plan = {}, .provenance = {{"tool", "test"}, {"note", "caf\xc3\xa9\n"}}};
  header.plan.method = "given";
  header.plan.measured_kl = 0.125;
  size_t i = 0;
  for (const LinearSpec& unit : source.spec.units)
    header.plan.units[unit.name] = {.format = formats[i++ % formats.size()]};
  return header;
}

std::vector<std::string> all_formats() {
  std::vector<std::string> names;
  for (const Format& format : kFormats) names.push_back(format.name);
  return names;
}

bool same_bytes(const void* a, const AlignedBuffer& b) {
  return b.size() == 0 || std::memcmp(a, b.data(), b.size()) == 0;
}

// While it lives, no file of this process grows past so many bytes.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

}  // namespace

TEST_CASE("a model file holds what was packed, in every format and size", "[klens-file]") {
  const TemporaryFolder folder;
  const bool odd = GENERATE(true, false);
  write_tiny_checkpoint(folder / "model", odd ? kOdd : TinySizes{.d_model = 64, .d_inner = 160});
  const Checkpoint source = open_checkpoint(folder / "model", false);
  std::vector<std::vector<std::string>> plans = {all_formats()};
  for (const std::string& format : all_formats()) plans.push_back({format});
  for (const std::vector<std::string>& formats : plans) {
    CAPTURE(odd, formats);
    const KlensHeader header = header_for(source, formats);
    const std::string path = folder / "model.klens";
    const size_t bytes = write_klens_file(path, source, header, by_rtn);
    CHECK(bytes == fs::file_size(path));
    const Checkpoint read = read_klens_file(path, true);
    CHECK(read.file_bytes == bytes);
    CHECK(read.name == "model");
    CHECK(small_values(read) == small_values(source));
    CHECK(read.texts.config == source.texts.config);
    CHECK(read.provenance == header.provenance);
    CHECK(read.plan->units == header.plan.units);
    CHECK(read.plan->measured_kl == 0.125);
    size_t unit_bytes = 0;
    for (const auto& [name, unit] : read.units) {
      CAPTURE(name);
      const PackedWeight packed = by_rtn(source.units.at(name), header.plan.units.at(name));
      CHECK(unit.format == packed.format);
      CHECK(unit.choice == header.plan.units.at(name));
      CHECK(unit.bytes == packed.qweight.size() + packed.scale.size());
      CHECK(same_bytes(unit.view.data, packed.qweight));
      CHECK(same_bytes(unit.view.scale, packed.scale));
      unit_bytes += unit.bytes;
    }
    CHECK(read.tensor_bytes == unit_bytes + klens_fixed_bytes(source));
    CHECK(bytes == read.tensor_bytes + klens_header_bytes(source, header));
    CHECK(run_model(path).status == KLENS_OK);
  }
}

TEST_CASE("a file with activations of 16 bits says so, and older readers refuse it",
          "[klens-file]") {
  const TemporaryFolder folder;
  write_tiny_checkpoint(folder / "model", kOdd);
  const Checkpoint source = open_checkpoint(folder / "model", false);
  KlensHeader header = header_for(source, {"int8"});
  header.plan.units.at("lm_head").activation_bits = 16;
  const std::string path = folder / "model.klens";
  write_klens_file(path, source, header, by_rtn);
  const Checkpoint read = read_klens_file(path, true);
  CHECK(read.plan->units == header.plan.units);
  CHECK(read.units.at("lm_head").choice->activation_bits == 16);
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.metadata().at("klens.format_version") == "2.0");
  CHECK(run_model(path).status == KLENS_OK);
}

TEST_CASE("a model file is a safetensors file as FORMAT.md says", "[klens-file]") {
  const TemporaryFolder folder;
  write_tiny_checkpoint(folder / "model", kOdd);
  const Checkpoint source = open_checkpoint(folder / "model", false);
  const KlensHeader header = header_for(source, all_formats());
  const std::string path = folder / "model.klens";
  write_klens_file(path, source, header, by_rtn);
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.header_bytes() % 64 == 0);
  CHECK(file.header_bytes() == klens_header_bytes(source, header));
  const auto& metadata = file.metadata();
  for (const char* key : {"format_version", "name", "architecture", "config", "units", "plan",
                          "provenance", "checksums"})
    CHECK(metadata.count(std::string("klens.") + key) == 1);
  CHECK(metadata.count("klens.tokenizer") == 0);
  CHECK(metadata.at("klens.format_version") == kKlensFormatVersion);
  CHECK(metadata.at("klens.architecture") == "MambaForCausalLM");
  const auto checksums = nlohmann::json::parse(metadata.at("klens.checksums"));
  const auto units = nlohmann::json::parse(metadata.at("klens.units"));
  CHECK(checksums.size() == file.tensors().size());
  CHECK(units.size() == source.units.size());
  for (const auto& [name, tensor] : file.tensors()) {
    CAPTURE(name);
    CHECK(tensor.bytes.size() % 64 == 0);
    CHECK(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % 64 == 0);
    CHECK(checksums.at(name) == xxh3_hex(tensor.bytes));
    if (name.ends_with(".qweight") || name.ends_with(".scale")) {
      CHECK(tensor.dtype == DType::kU8);
      CHECK(units.contains(name.substr(0, name.rfind('.'))));
    }
  }
  CHECK(units.at("lm_head") == nlohmann::json({{"tensor", "lm_head.weight"},
                                               {"kind", "head"},
                                               {"format", header.plan.units.at("lm_head").format},
                                               {"quantizer", "rtn"},
                                               {"rows", 5},
                                               {"cols", 9}}));
  CHECK(plan_from_json(metadata.at("klens.plan"), "plan").units == header.plan.units);
}

TEST_CASE("small tensors are F16 where that loses nothing", "[klens-file]") {
  const TemporaryFolder folder;
  const DType dtype = GENERATE(DType::kF16, DType::kF32);
  write_tiny_checkpoint(folder / "model", {.dtype = dtype});
  const Checkpoint source = open_checkpoint(folder / "model", false);
  write_klens_file(folder / "model.klens", source, header_for(source, {"fp16"}), by_rtn);
  const SafetensorsFile file = SafetensorsFile::open(folder / "model.klens");
  for (const SmallSpec& small : source.spec.smalls) {
    CAPTURE(small.tensor);
    CHECK(file.tensors().at(small.tensor).dtype == dtype);
  }
  CHECK(small_values(read_klens_file(folder / "model.klens", true)) == small_values(source));
}

TEST_CASE("the same plan gives the same bytes, through the texts of a real model", "[klens-file]") {
  const TemporaryFolder folder;
  copy_golden(folder / "model");
  write_bytes(folder / "model/generation_config.json", R"({"eos_token_id":[7,9]})");
  write_bytes(folder / "model/tokenizer_config.json", R"({"chat_template":"{{ messages }}"})");
  const Checkpoint source = open_checkpoint(folder / "model", false);
  const KlensHeader header = header_for(source, all_formats());
  write_klens_file(folder / "a.klens", source, header, by_rtn);
  write_klens_file(folder / "b.klens", source, header, by_rtn);
  CHECK(read_bytes(folder / "a.klens") == read_bytes(folder / "b.klens"));
  const Checkpoint read = read_klens_file(folder / "a.klens", true);
  CHECK(read.texts.tokenizer == read_bytes(folder / "model/tokenizer.json"));
  CHECK(read.texts.generation_config == source.texts.generation_config);
  CHECK(read.texts.tokenizer_config == source.texts.tokenizer_config);
  CHECK(read.texts.chat_template == "{{ messages }}");
  REQUIRE(read.stop_tokens.size() >= 2);
  CHECK(read.stop_tokens[0].id == 7);
  CHECK(read.stop_tokens[1].id == 9);
  CHECK(inspect_file(folder / "a.klens", true).status == KLENS_OK);
}

TEST_CASE("writing that fails leaves the old file and nothing else", "[klens-file]") {
  const TemporaryFolder folder;
  const TemporaryFolder models;
  write_tiny_checkpoint(models / "model", kOdd);
  const Checkpoint source = open_checkpoint(models / "model", false);
  const KlensHeader header = header_for(source, {"int8"});
  const std::string path = folder / "model.klens";
  write_bytes(path, "old");

  int calls = 0;
  CHECK_THROWS_WITH(write_klens_file(path, source, header,
                                     [&](const StoredUnit& unit, const Choice& choice) {
                                       if (++calls == 3)
                                         throw Error(ErrorKind::kInterrupted, "stop");
                                       return by_rtn(unit, choice);
                                     }),
                    "stop");
  CHECK(read_bytes(path) == "old");
  CHECK(files_in(folder) == 1);

  const size_t bytes = klens_header_bytes(source, header);
  for (const size_t room : {size_t{0}, size_t{100}, bytes, bytes + 100}) {
    CAPTURE(room);
    std::string message;
    {
      const FileSizeLimit full_disk(room);
      try {
        write_klens_file(path, source, header, by_rtn);
      } catch (const Error& error) {
        message = error.what();
      }
    }
    CHECK_THAT(message,
               Catch::StartsWith(path + ": cannot write: ") && Catch::Contains("free some space"));
    CHECK(read_bytes(path) == "old");
    CHECK(files_in(folder) == 1);
  }

  CHECK_THROWS_WITH(write_klens_file(folder / "none/model.klens", source, header, by_rtn),
                    Catch::Contains("name a file in a folder that is there"));
  if (::geteuid() != 0) {
    fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec);
    CHECK_THROWS_WITH(write_klens_file(path, source, header, by_rtn),
                      Catch::Contains("can be written to"));
    fs::permissions(folder.path(), fs::perms::owner_all);
  }
  CHECK(read_bytes(path) == "old");
}

TEST_CASE("a model file can be written over the one it is made from", "[klens-file]") {
  const TemporaryFolder folder;
  write_tiny_checkpoint(folder / "model", {});
  const std::string path = folder / "model.klens";
  const Checkpoint source = open_checkpoint(folder / "model", false);
  write_klens_file(path, source, header_for(source, {"fp16"}), by_rtn);
  const Checkpoint again = read_klens_file(path, true);
  write_klens_file(path, again, header_for(again, {"int8"}), by_rtn);
  CHECK(read_klens_file(path, true).units.at("lm_head").format == find_format("int8"));
}

TEST_CASE("the writer keeps a plan's size itself", "[klens-file]") {
  const TemporaryFolder folder;
  const Checkpoint source = read_checkpoint_folder(data_path("goldens/mamba"));
  const std::string path = folder / "model.klens";
  KlensHeader header = header_for(source, {"fp16"});
  // Budgets of one length, so that the header is of one length.
  header.plan.budget = "999999999 bytes";
  const size_t bytes = write_klens_file(path, source, header, by_rtn);
  header.plan.budget = "000000000" + std::to_string(bytes) + " bytes";
  header.plan.budget.erase(0, header.plan.budget.size() - std::string("999999999 bytes").size());
  CHECK(write_klens_file(path, source, header, by_rtn) == bytes);
  header.plan.budget = "000000000" + std::to_string(bytes - 1) + " bytes";
  header.plan.budget.erase(0, header.plan.budget.size() - std::string("999999999 bytes").size());
  fs::remove(path);
  CHECK_THROWS_WITH(write_klens_file(path, source, header, by_rtn),
                    Catch::Contains("more than the budget of " + header.plan.budget));
  CHECK(fs::is_empty(folder.path()));
}

}  // namespace klens
