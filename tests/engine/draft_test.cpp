// Drafts: many tokens in one pass with the bits of one at a time, and taken back.
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/ngram.h"
#include "engine/session.h"
#include "tests/engine/golden.h"

namespace klens {
namespace {

using namespace klens::testing;

// Feeds ids in passes of `sizes` tokens, of which as many as `kept` says stay; the others are fed
// again. Checks each logit against one token at a time.
void check_drafts(const std::shared_ptr<const Model>& model, const std::vector<int32_t>& ids,
                  int64_t prompt) {
  const auto vocab = static_cast<size_t>(model->spec().vocab);
  const std::span<const int32_t> all(ids);
  Session drafted(model, 512), alone(model, 512);
  for (Session* session : {&drafted, &alone})
    session->eval(all.first(static_cast<size_t>(prompt)), nullptr);
  size_t at = static_cast<size_t>(prompt), round = 0;
  while (at < ids.size()) {
    const size_t count = std::min<size_t>(1 + round % 5, ids.size() - at);
    const size_t kept = 1 + (round * 7) % count;
    // Drafts that are wrong: they leave no trace.
    std::vector<int32_t> given(all.begin() + static_cast<std::ptrdiff_t>(at),
                               all.begin() + static_cast<std::ptrdiff_t>(at + count));
    for (size_t i = kept; i < count; ++i) given[i] = (given[i] + 1) % static_cast<int32_t>(vocab);
    std::vector<float> logits(count * vocab);
    REQUIRE(drafted.eval_drafts(given, logits.data()) == static_cast<int64_t>(count));
    REQUIRE(drafted.position() == static_cast<int64_t>(at + count));
    for (size_t i = 0; i < kept; ++i) {
      alone.eval(all.subspan(at + i, 1), nullptr);
      const std::vector<float> one(logits.begin() + static_cast<std::ptrdiff_t>(i * vocab),
                                   logits.begin() + static_cast<std::ptrdiff_t>((i + 1) * vocab));
      REQUIRE(one == std::vector<float>(alone.logits().begin(), alone.logits().end()));
    }
    const auto target = static_cast<int64_t>(at + kept);
    REQUIRE(drafted.reachable(target) == target);
    REQUIRE(drafted.rewind(target) == target);
    REQUIRE(std::equal(drafted.logits().begin(), drafted.logits().end(), alone.logits().begin()));
    at += kept;
    ++round;
  }
  REQUIRE(drafted.ids() == alone.ids());
  // And goes on as the other does, by a prompt too.
  const std::vector<int32_t> more(all.begin(), all.begin() + 9);
  drafted.eval(more, nullptr);
  alone.eval(more, nullptr);
  CHECK(std::equal(drafted.logits().begin(), drafted.logits().end(), alone.logits().begin()));
}

}  // namespace

TEST_CASE("drafts have the bits of one token at a time", "[draft]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const Golden golden = load_golden(name);
  std::vector<int32_t> ids = golden.input_ids;
  ids.insert(ids.end(), golden.greedy_ids.begin(), golden.greedy_ids.end());
  check_drafts(golden.model, ids, 5);
}

TEST_CASE("so have those of integers, and of caches of every type", "[draft]") {
  const std::string name = GENERATE(from_range(golden_names()));
  const KvType kv = GENERATE(KvType::kF16, KvType::kI8);
  CAPTURE(name);
  const ModelOptions options{.threads = 2, .activations = Activations::kInt8, .kv = kv};
  const Golden golden = load_golden(name, options);
  check_drafts(golden.model, golden.input_ids, 3);
}

TEST_CASE("drafts are taken back by whatever is fed next", "[draft]") {
  const Golden golden = load_golden("mamba2");
  const std::span<const int32_t> ids(golden.input_ids);
  const auto vocab = static_cast<size_t>(golden.model->spec().vocab);
  Session session(golden.model, 512);
  session.eval(ids.first(4), nullptr);
  std::vector<float> logits(4 * vocab);
  session.eval_drafts(ids.subspan(4, 4), logits.data());
  const Session copy(session);
  CHECK(copy.reachable(6) < 6);  // a copy has no drafts
  CHECK(session.reachable(6) == 6);
  CHECK(session.bytes() > copy.bytes());
  const TemporaryFolder folder;
  copy.save(folder / "session");
  Session loaded(golden.model, 512);
  loaded.eval(ids.first(4), nullptr);
  loaded.eval_drafts(ids.subspan(4, 4), logits.data());
  loaded.load(folder / "session");
  CHECK(loaded.reachable(6) < 6);  // nor has one that another was loaded into
  session.eval(ids.subspan(8, 1), nullptr);
  CHECK(session.reachable(6) < 6);
  CHECK_THROWS_AS(session.eval_drafts({}, logits.data()), Error);
  const std::vector<int32_t> beyond = {1, static_cast<int32_t>(vocab)};
  CHECK_THROWS_AS(session.eval_drafts(beyond, logits.data()), Error);
  CHECK(session.position() == 9);
}

TEST_CASE("a draft is what followed the same end", "[draft]") {
  using Tokens = std::vector<int32_t>;
  CHECK(ngram_draft(Tokens{}, 4).empty());
  CHECK(ngram_draft(Tokens{1}, 4).empty());
  CHECK(ngram_draft(Tokens{1, 2, 3, 4}, 4).empty());
  CHECK(ngram_draft(Tokens{5, 1, 6, 1}, 4).empty());  // one token is too little
  CHECK(ngram_draft(Tokens{1, 2, 3, 4, 1, 2, 3}, 2) == Tokens{4, 1});
  CHECK(ngram_draft(Tokens{1, 2, 3, 4, 1, 2, 3}, 9) == Tokens{4, 1, 2});
  CHECK(ngram_draft(Tokens{1, 2, 3, 4, 1, 2, 3}, 0).empty());
  // The longer what agrees, the longer the draft.
  CHECK(ngram_draft(Tokens{1, 2, 3, 4, 1, 2}, 9) == Tokens{3});
  CHECK(ngram_draft(Tokens{1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4}, 9) == Tokens{5, 6, 7, 1, 2});
  // The place that agrees furthest, of two such the later one.
  CHECK(ngram_draft(Tokens{9, 1, 2, 7, 8, 1, 2, 6, 9, 1, 2}, 1) == Tokens{7});
  CHECK(ngram_draft(Tokens{1, 2, 7, 1, 2, 6, 1, 2}, 1) == Tokens{6});
  CHECK(ngram_draft(Tokens{3, 3, 3, 3}, 3) == Tokens{3});
}

}  // namespace klens
