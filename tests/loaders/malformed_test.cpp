// Every malformed input gives one clear line, the right status, and changes nothing.
#include "tests/loaders/malformed.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <set>

#include "tests/testing.h"

namespace klens::testing {
namespace {

namespace fs = std::filesystem;

const std::string& golden_klens() {
  static const std::string bytes = [] {
    const TemporaryFolder folder;
    copy_golden(folder / "model");
    quantise(folder / "model", folder / "model.klens", "int4g64");
    return read_bytes(folder / "model.klens");
  }();
  return bytes;
}

struct GoldenModel {
  GoldenModel() {
    REQUIRE(klens_model_open(data_path("goldens/mamba").c_str(), nullptr, &handle, nullptr) ==
            KLENS_OK);
  }
  ~GoldenModel() { klens_model_free(handle); }
  GoldenModel(const GoldenModel&) = delete;
  GoldenModel& operator=(const GoldenModel&) = delete;
  klens_model* handle = nullptr;
};

struct GoldenSession {
  GoldenSession(klens_model* model, size_t tokens) {
    const int32_t ids[] = {3, 1, 4};
    REQUIRE(klens_session_new(model, nullptr, &handle, nullptr) == KLENS_OK);
    REQUIRE(klens_session_eval(handle, ids, tokens, nullptr) == KLENS_OK);
    REQUIRE(klens_session_checkpoint(handle, nullptr) == KLENS_OK);
  }
  ~GoldenSession() { klens_session_free(handle); }
  GoldenSession(const GoldenSession&) = delete;
  GoldenSession& operator=(const GoldenSession&) = delete;
  std::vector<float> logits(klens_model* model) const {
    const float* first = klens_session_logits(handle);
    return {first, first + klens_model_vocab(model)};
  }
  klens_session* handle = nullptr;
};

// Makes the sound input of a base; returns what is to be damaged.
std::string make_base(Base base, const TemporaryFolder& folder) {
  switch (base) {
    case Base::kF16Folder:
      write_tiny_checkpoint(folder / "model", {.dtype = DType::kF16});
      return folder / "model";
    case Base::kBf16Folder:
      write_tiny_checkpoint(folder / "model", {.dtype = DType::kBf16});
      return folder / "model";
    case Base::kKlens:
    case Base::kVerified:
      write_bytes(folder / "model.klens", golden_klens());
      return folder / "model.klens";
    case Base::kSession: {
      static const GoldenModel model;
      const GoldenSession session(model.handle, 3);
      REQUIRE(klens_session_save(session.handle, (folder / "saved.session").c_str(), nullptr) ==
              KLENS_OK);
      return folder / "saved.session";
    }
    default:
      copy_golden(folder / "model");
      return folder / "model";
  }
}

Outcome load_session(const std::string& path) {
  static const GoldenModel model;
  const GoldenSession session(model.handle, 2);
  const std::vector<float> before = session.logits(model.handle);
  klens_error error{};
  const klens_status status = klens_session_load(session.handle, path.c_str(), &error);
  return {status, error.message,
          klens_session_position(session.handle) == 2 && session.logits(model.handle) == before};
}

// Everything that reads an input of this base.
std::vector<Outcome> read_all_ways(Base base, const std::string& target) {
  const bool verify = base == Base::kVerified;
  if (base == Base::kTokenizer) return {open_tokenizer(target)};
  if (base == Base::kSession) return {load_session(target)};
  std::vector<Outcome> outcomes = {open_model(target, verify)};
  // inspect describes a model without its tokenizer.
  if (outcomes.front().message.find("tokenizer") == std::string::npos)
    outcomes.push_back(inspect_file(target, verify));
  return outcomes;
}

void check_message(const std::string& message) {
  CHECK(!message.empty());
  CHECK(message.size() < sizeof(klens_error::message) - 1);
  CHECK(std::none_of(message.begin(), message.end(),
                     [](char c) { return static_cast<unsigned char>(c) < ' '; }));
}

void check_row(const MalformedRow& row) {
  INFO(row.name);
  const TemporaryFolder folder;
  const std::string target = make_base(row.base, folder);
  for (const Outcome& sound : read_all_ways(row.base, target)) {
    INFO("before the damage: " << sound.message);
    REQUIRE(sound.status == KLENS_OK);
  }
  row.damage(target);
  for (const Outcome& outcome : read_all_ways(row.base, target)) {
    INFO("message: " << outcome.message);
    CHECK(outcome.status == row.status);
    CHECK(outcome.untouched);
    check_message(outcome.message);
    for (const char* word : row.words) CHECK_THAT(outcome.message, Catch::Contains(word));
  }
  if (row.base == Base::kTokenizer || row.base == Base::kSession) return;
  // Without verify it may open; it is run then.
  const Outcome run = run_model(target);
  if (run.status != KLENS_OK) check_message(run.message);
  CHECK(run.status != KLENS_INTERNAL);
}

}  // namespace

TEST_CASE("every malformed input gives one clear line", "[malformed]") {
  size_t count = 0;
  std::set<std::string> names;
  for (const auto rows : {malformed_configs(), malformed_safetensors(), malformed_klens_files()})
    for (const MalformedRow& row : rows) {
      check_row(row);
      CHECK(names.insert(row.name).second);
      ++count;
    }
  CHECK(count >= 60);
}

TEST_CASE("paths that are nothing to open give one clear line", "[malformed]") {
  const TemporaryFolder folder;
  fs::create_symlink("loop", folder / "loop");
  const std::string paths[] = {"",
                               folder / "none",
                               folder / "none/none",
                               folder / "loop",
                               folder / std::string(5000, 'x'),
                               "/dev/null",
                               folder.path(),
                               folder / "new\nline"};
  for (const std::string& path : paths) {
    CAPTURE(path);
    for (const Outcome& outcome :
         {open_model(path, false), inspect_file(path, true), open_tokenizer(path)}) {
      CAPTURE(outcome.message);
      CHECK((outcome.status == KLENS_IO || outcome.status == KLENS_BAD_FILE));
      CHECK(outcome.untouched);
      CHECK(outcome.message.find('\n') == std::string::npos);
      CHECK(!outcome.message.empty());
    }
  }
}

}  // namespace klens::testing
