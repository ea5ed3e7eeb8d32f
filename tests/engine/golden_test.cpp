// The contracts of every architecture's FP32 path against the reference implementation's outputs.
#include "tests/engine/golden.h"

#include <filesystem>

namespace klens {

using namespace klens::testing;

TEST_CASE("logits hold to the reference, in prefill chunks of any size", "[golden]") {
  const std::string name = GENERATE(from_range(golden_names()));
  const size_t chunk = GENERATE(1, 7, 16, 53);
  CAPTURE(name, chunk);
  const Golden golden = load_golden(name);
  Session session(golden.model, 512);
  check_close(eval_in_chunks(session, golden.input_ids, chunk), golden.logits.data(), 0);
  CHECK(session.position() == 53);
}

// tests/data/make_long_references.py: prompts of more than three chunks of the delta rule's 64.
TEST_CASE("long prompts hold to the reference, cut anywhere, saved and rewound", "[golden]") {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data_path("long")))
    names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  REQUIRE(names.size() >= 7);
  const std::string name = GENERATE_COPY(from_range(names));
  CAPTURE(name);
  const SafetensorsFile reference =
      SafetensorsFile::open(data_path("long/" + name + ".safetensors"));
  const auto ids = tensor_values<int32_t>(reference, "input_ids");
  const auto positions = tensor_values<int32_t>(reference, "positions");
  const auto want = tensor_values<float>(reference, "logits");
  const auto model = load_golden(name).model;
  const auto vocab = static_cast<size_t>(model->spec().vocab);
  for (const size_t chunk : {1, 7, 16, 53, 64, 230}) {
    CAPTURE(chunk);
    Session session(model, 512);
    const std::vector<float> all = eval_in_chunks(session, ids, chunk);
    std::vector<float> got;
    for (const int32_t at : positions)
      got.insert(got.end(), all.begin() + at * static_cast<int64_t>(vocab),
                 all.begin() + (at + 1) * static_cast<int64_t>(vocab));
    check_close(got, want.data(), 0);
  }

  // From the middle of a chunk.
  const std::span<const int32_t> prompt(ids);
  const TemporaryFolder folder;
  Session session(model, 512), restored(model, 512);
  session.eval(prompt.first(100), nullptr);
  session.checkpoint();
  session.save(folder / "session");
  const auto rest = [&](Session& other) {
    other.eval(prompt.subspan(100), nullptr);
    return std::vector<float>(other.logits().begin(), other.logits().end());
  };
  const std::vector<float> last = rest(session);
  check_close(last, want.data() + want.size() - vocab, want.size() - vocab);
  CHECK(session.rewind(100) == 100);
  CHECK(rest(session) == last);
  restored.load(folder / "session");
  CHECK(rest(restored) == last);
}

TEST_CASE("greedy decoding gives the reference's ids", "[golden]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const Golden golden = load_golden(name);
  Session session(golden.model, 512);
  std::vector<int32_t> ids(golden.greedy_ids.begin(), golden.greedy_ids.begin() + 20);
  session.eval(ids, nullptr);
  while (ids.size() < golden.greedy_ids.size()) {
    ids.push_back(best(session.logits()));
    session.eval({&ids.back(), 1}, nullptr);
  }
  CHECK(ids == golden.greedy_ids);
}

TEST_CASE("forked, saved and restored sessions go on bit-equal", "[golden]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const Golden golden = load_golden(name);
  const TemporaryFolder folder;
  const std::span<const int32_t> ids(golden.input_ids);
  Session session(golden.model, 512);
  session.eval(ids.first(20), nullptr);
  Session fork(session);
  session.save(folder / "session");
  Session restored(golden.model, 512);
  restored.load(folder / "session");
  CHECK(restored.position() == 20);
  CHECK(std::equal(restored.logits().begin(), restored.logits().end(), session.logits().begin()));

  session.eval(ids.subspan(20), nullptr);
  const std::vector<float> want(session.logits().begin(), session.logits().end());
  check_close(want, golden.logits.data() + 52 * want.size(), 52 * want.size());
  fork.eval(ids.subspan(20, 9), nullptr);
  fork.eval(ids.subspan(29), nullptr);
  check_close({fork.logits().begin(), fork.logits().end()}, want.data(), 0);
  restored.eval(ids.subspan(20), nullptr);
  CHECK(std::equal(want.begin(), want.end(), restored.logits().begin()));
  // A fork is independent: resetting it leaves its origin alone.
  fork.reset();
  CHECK(fork.position() == 0);
  CHECK(fork.logits().empty());
  CHECK(std::equal(want.begin(), want.end(), session.logits().begin()));
}

TEST_CASE("any number of threads gives the same bits", "[golden]") {
  const std::string name = GENERATE(from_range(golden_names()));
  const Golden golden = load_golden(name);
  const auto run = [&](int threads) {
    Session session(open_model(data_path("goldens/" + name), threads), 512);
    return eval_in_chunks(session, golden.input_ids, 53);
  };
  CHECK(run(1) == run(2));
}

TEST_CASE("ids outside the vocabulary are refused and change nothing", "[golden]") {
  const Golden golden = load_golden("mamba");
  Session session(golden.model, 512);
  session.eval(std::span(golden.input_ids).first(3), nullptr);
  const std::vector<float> before(session.logits().begin(), session.logits().end());
  for (const int32_t bad : {-1, 160, INT32_MAX}) {
    const int32_t ids[] = {5, bad};
    CHECK_THROWS_WITH(session.eval(ids, nullptr), Catch::Contains("outside the vocabulary of 160"));
  }
  CHECK(session.position() == 3);
  CHECK(std::equal(before.begin(), before.end(), session.logits().begin()));
}

}  // namespace klens
