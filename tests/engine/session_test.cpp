// Sessions: several in one pass, going back, prompts that are not read twice, caches of every type.
#include "engine/session.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/error.h"
#include "engine/prefix_cache.h"
#include "loaders/checksum.h"
#include "loaders/mapped_file.h"
#include "tests/testing.h"

namespace klens {
namespace {

using namespace klens::testing;

std::vector<int32_t> golden_ids(const std::string& name) {
  const SafetensorsFile reference =
      SafetensorsFile::open(data_path("goldens/" + name + "/reference.safetensors"));
  return tensor_values<int32_t>(reference, "input_ids");
}

std::vector<float> session_logits(const Session& session) {
  return {session.logits().begin(), session.logits().end()};
}

// The contract for what may differ in rounding.
bool close(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::fabs(a[i] - b[i]) <= 2e-4 * (1 + std::fabs(b[i])))) return false;
  return true;
}

bool only_attends(const Model& model) { return model.states().bytes() == 0; }

// A model's quantised copy, which runs on integer kernels.
std::shared_ptr<const Model> open_with_kv(const std::string& name, KvType kv) {
  return std::make_shared<const Model>(
      open_checkpoint(data_path("goldens/" + name), true),
      ModelOptions{.threads = 2, .activations = Activations::kInt8, .kv = kv});
}

}  // namespace

TEST_CASE("sessions that are fed together decode as each would alone, bit for bit", "[session]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const auto model = open_model(data_path("goldens/" + name));
  const std::vector<int32_t> ids = golden_ids(name);
  const std::span<const int32_t> all(ids);
  Session a(model, 512), b(model, 512), c(model, 512);
  a.eval(all.first(20), nullptr);
  b.eval(all.first(7), nullptr);
  Session alone_a(a), alone_b(b), alone_c(c);
  // a and b decode while c reads its prompt, three tokens at a time.
  for (size_t step = 0; step < 9; ++step) {
    const Feed feeds[] = {{.session = &a, .ids = all.subspan(20 + step, 1)},
                          {.session = &c, .ids = all.subspan(3 * step, 3)},
                          {.session = &b, .ids = all.subspan(7 + step, 1)}};
    eval_together(feeds);
    alone_a.eval(all.subspan(20 + step, 1), nullptr);
    alone_b.eval(all.subspan(7 + step, 1), nullptr);
    CHECK(session_logits(a) == session_logits(alone_a));
    CHECK(session_logits(b) == session_logits(alone_b));
  }
  alone_c.eval(all.first(27), nullptr);
  CHECK(close(c.logits(), alone_c.logits()));
  CHECK(a.position() == 29);
  CHECK(c.position() == 27);

  // Prompts of different lengths at once, longer than a round has room for.
  Session d(model, 16), e(model, 16);
  const Feed prompts[] = {{.session = &d, .ids = all.first(50)},
                          {.session = &e, .ids = all.first(3)}};
  eval_together(prompts);
  Session whole(model, 512);
  whole.eval(all.first(3), nullptr);
  CHECK(close(e.logits(), whole.logits()));
  whole.eval(all.subspan(3, 47), nullptr);
  CHECK(close(d.logits(), whole.logits()));
}

TEST_CASE("a session is fed once at a time, with others of its model", "[session]") {
  const auto model = open_model(data_path("goldens/mamba"));
  Session a(model, 512), b(open_model(data_path("goldens/llama")), 512);
  const int32_t ids[] = {1, 2};
  const Feed twice[] = {{.session = &a, .ids = ids}, {.session = &a, .ids = ids}};
  CHECK_THROWS_WITH(eval_together(twice), Catch::Contains("fed twice"));
  const Feed mixed[] = {{.session = &a, .ids = ids}, {.session = &b, .ids = ids}};
  CHECK_THROWS_WITH(eval_together(mixed), Catch::Contains("different models"));
  CHECK(a.position() == 0);
}

TEST_CASE("a session goes back to its checkpoints, and further where nothing recurs", "[session]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const auto model = open_model(data_path("goldens/" + name));
  const std::vector<int32_t> ids = golden_ids(name);
  const std::span<const int32_t> all(ids);
  Session session(model, 512);
  session.eval(all.first(20), nullptr);
  session.checkpoint();
  const std::vector<float> at_20 = session_logits(session);
  session.eval(all.subspan(20, 10), nullptr);
  const std::vector<float> at_30 = session_logits(session);
  session.checkpoint();
  session.eval(all.subspan(30), nullptr);

  CHECK(session.reachable(100) == 53);
  CHECK(session.reachable(30) == 30);
  CHECK(session.rewind(30) == 30);
  CHECK(session_logits(session) == at_30);
  const int64_t reached = session.rewind(27);
  CHECK(reached == (only_attends(*model) ? 27 : 20));
  CHECK(session.position() == reached);
  if (reached == 27) CHECK(session.logits().empty());
  if (reached == 20) CHECK(session_logits(session) == at_20);
  session.eval(all.subspan(static_cast<size_t>(reached), static_cast<size_t>(30 - reached)),
               nullptr);
  CHECK(close(session.logits(), at_30));
  // Going back below a checkpoint forgets it; what comes instead is another text.
  CHECK(session.rewind(20) == 20);
  session.eval(all.subspan(40, 10), nullptr);
  CHECK(session.reachable(29) == (only_attends(*model) ? 29 : 20));
  CHECK(session.rewind(3) == (only_attends(*model) ? 3 : 0));
}

TEST_CASE("a prompt that begins alike is not read twice", "[session]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const auto model = open_model(data_path("goldens/" + name));
  const std::vector<int32_t> ids = golden_ids(name);
  const std::span<const int32_t> all(ids);
  std::vector<int32_t> other(ids.begin(), ids.begin() + 40);
  other.insert(other.end(), {9, 8, 7});
  const auto alone = [&](std::span<const int32_t> prompt) {
    Session session(model, 512);
    session.eval(prompt, nullptr);
    return session_logits(session);
  };

  Session session(model, SessionOptions{.batch = 512, .checkpoints = 16, .checkpoint_every = 16});
  CHECK(session.prompt(all.first(45)) == 0);
  CHECK(session.prompt(all.first(45)) == 45);
  CHECK(session.prompt(all) == 45);
  CHECK(session.prompt(other) == (only_attends(*model) ? 40 : 32));
  CHECK(close(session.logits(), alone(other)));

  PrefixCache cache(model, size_t{1} << 30);
  const SessionOptions every{.batch = 512, .checkpoints = 16, .checkpoint_every = 16};
  Session first(model, every), second(model, every), third(model, every);
  CHECK(cache.prompt(first, all.first(45)) == 0);
  CHECK(cache.prompt(second, other) == (only_attends(*model) ? 40 : 32));
  CHECK(close(second.logits(), alone(other)));
  CHECK(cache.prompt(third, all) == 45);
  CHECK(close(third.logits(), alone(all)));
  CHECK(cache.bytes() >= second.bytes());
  // One that may hold nothing reads everything.
  PrefixCache empty(model, 1);
  Session fourth(model, every), fifth(model, every);
  CHECK(empty.prompt(fourth, all) == 0);
  CHECK(empty.prompt(fifth, all) == 0);
  CHECK(empty.bytes() == 0);
}

// A golden's tokens, over and over.
std::vector<int32_t> long_ids(const std::string& name, size_t count) {
  const std::vector<int32_t> ids = golden_ids(name);
  std::vector<int32_t> many;
  while (many.size() < count) many.insert(many.end(), ids.begin(), ids.end());
  many.resize(count);
  return many;
}

TEST_CASE("where a prompt is cut does not show at multiples of 64", "[session]") {
  const std::string name = GENERATE(from_range(golden_names()));
  const KvType kv = GENERATE(KvType::kF32, KvType::kF16);
  const size_t count = GENERATE(256, 257, 300, 333);
  CAPTURE(name, static_cast<int>(kv), count);
  const auto model = open_with_kv(name, kv);
  const std::vector<int32_t> ids = long_ids(name, count);
  const std::span<const int32_t> all(ids);
  const auto next = [&](Session& session) {  // and after two more tokens
    std::vector<float> logits = session_logits(session);
    for (const int32_t id : {3, 5}) session.eval({&id, 1}, nullptr);
    logits.insert(logits.end(), session.logits().begin(), session.logits().end());
    return logits;
  };
  Session whole(model, 512);
  whole.eval(all, nullptr);
  const std::vector<float> want = next(whole);
  for (const int64_t batch : {1, 100, 128}) {
    CAPTURE(batch);
    Session batched(model, batch);
    batched.eval(all, nullptr);
    CHECK(next(batched) == want);
  }
  Session parts(model, 512);
  for (size_t t = 0; t < count; t += 64)
    parts.eval(all.subspan(t, std::min<size_t>(64, count - t)), nullptr);
  CHECK(next(parts) == want);
  // In company, which takes room in its rounds.
  Session one(model, 192), other(model, 192), alone(model, 512);
  const Feed feeds[] = {{.session = &one, .ids = all}, {.session = &other, .ids = all.first(100)}};
  eval_together(feeds);
  CHECK(next(one) == want);
  alone.eval(all.first(100), nullptr);
  CHECK(next(other) == next(alone));
  // Gone on with from a checkpoint.
  Session kept(model, SessionOptions{.checkpoint_every = 64});
  kept.prompt(all.first(150));
  const int64_t back = kept.rewind(130);  // anywhere, where nothing recurs
  CHECK(back >= 128);
  if (!only_attends(*model)) CHECK(back == 128);
  CHECK(kept.prompt(all) == back);
  CHECK(next(kept) == want);
}

TEST_CASE("a prompt is there again after an answer", "[session]") {
  const std::string name = GENERATE(from_range(golden_names()));
  CAPTURE(name);
  const auto model = open_model(data_path("goldens/" + name));
  const std::vector<int32_t> ids = golden_ids(name);
  const std::span<const int32_t> all(ids);
  const auto answer = [&](Session& session) {
    for (size_t t = 30; t < 40; ++t) session.eval(all.subspan(t, 1), nullptr);
  };
  Session session(model, 512);
  CHECK(session.prompt(all.first(30)) == 0);
  const std::vector<float> after = session_logits(session);
  answer(session);
  CHECK(session.prompt(all.first(30)) == 30);
  CHECK(session_logits(session) == after);

  PrefixCache cache(model, size_t{1} << 30);
  Session first(model, 512), second(model, 512), third(model, 512);
  cache.prompt(first, all.first(30));
  answer(first);
  CHECK(cache.prompt(first, all.first(50)) == 40);  // what was answered is part of it
  const size_t bytes = cache.bytes();
  CHECK(cache.prompt(second, all.first(30)) >= (only_attends(*model) ? 29 : 30));
  CHECK(close(second.logits(), after));
  CHECK(cache.prompt(third, all.first(50)) == 50);
  CHECK(cache.bytes() == bytes);  // both were there
}

// Of a text that ends otherwise each time, all but the end is read once.
TEST_CASE("a long prompt leaves a checkpoint before its end", "[session]") {
  const std::string name = GENERATE("mamba", "mamba2", "zamba2");
  const auto model = open_model(data_path("goldens/" + name));
  std::vector<int32_t> ids = long_ids(name, 300);
  PrefixCache cache(model, size_t{1} << 30);
  Session first(model, 128), second(model, 128), alone(model, 512);
  CHECK(cache.prompt(first, ids) == 0);
  ids[280] = (ids[280] + 1) % 100;
  CHECK(cache.prompt(second, ids) == 256);
  alone.eval(ids, nullptr);
  CHECK(session_logits(second) == session_logits(alone));
}

// What klens serve does: prompts in parts, beside others, each from what is kept of another.
TEST_CASE("what is taken from a prefix cache changes no bit", "[session]") {
  const std::string name = GENERATE(from_range(golden_names()));
  const KvType kv = GENERATE(KvType::kF32, KvType::kF16);
  CAPTURE(name, static_cast<int>(kv));
  const auto model = open_with_kv(name, kv);
  const std::vector<int32_t> ids = long_ids(name, 290);
  const auto after = [&](Session& session, std::span<const int32_t> rest) {
    session.eval(rest, nullptr);
    std::vector<float> logits = session_logits(session);
    for (const int32_t id : {3, 5}) session.eval({&id, 1}, nullptr);
    logits.insert(logits.end(), session.logits().begin(), session.logits().end());
    return logits;
  };
  const auto cold = [&](std::span<const int32_t> prompt) {
    Session session(model, 512);
    return after(session, prompt);
  };
  PrefixCache cache(model, size_t{1} << 30);
  // Reads what is not kept, leaves a checkpoint where it is told to, and keeps whole blocks.
  const auto warm = [&](std::span<const int32_t> prompt, int64_t reused, int64_t shared,
                        size_t cut) {
    Session session(model, 128);
    const PrefixCache::Taken taken = cache.take(session, prompt);
    // Attention goes back anywhere, as far as its windows reach.
    CHECK((taken.reused == reused || (only_attends(*model) && taken.reused > reused)));
    CHECK(taken.shared == shared);
    CHECK(session.position() == taken.reused);
    size_t at = static_cast<size_t>(taken.reused);
    const auto read_to = [&](size_t end) {
      if (end <= at) return;
      session.eval(prompt.subspan(at, end - at), nullptr);
      session.checkpoint();
      at = end;
    };
    read_to(cut);
    read_to(prompt.size() / 64 * 64);
    cache.keep(session);
    return at == prompt.size() ? session_logits(session) : after(session, prompt.subspan(at));
  };
  const std::span<const int32_t> all(ids);
  CHECK(warm(all.first(200), 0, 0, 64) == cold(all.first(200)));
  CHECK(warm(all, 192, 192, 0) == cold(all));
  CHECK(warm(all.first(257), 256, 256, 0) == cold(all.first(257)));
  // One that parts from them between two checkpoints.
  std::vector<int32_t> other(ids);
  other[150] = (other[150] + 1) % 100;
  CHECK(warm(other, 64, 150, 128) == cold(other));
  other[149] = (other[149] + 1) % 100;
  CHECK(warm(other, 128, 149, 0) == cold(other));
  // A whole prompt is there with its logits, but where going back leaves none.
  Session again(model, 512);
  const int64_t whole = cache.take(again, all.first(256)).reused;
  CHECK(whole >= (only_attends(*model) ? 192 : 256));
  if (whole == 256) {
    Session alone(model, 512);
    alone.eval(all.first(256), nullptr);
    CHECK(session_logits(again) == session_logits(alone));
  }
  // What is less than a block, or another text, is not there, and the session is as new.
  CHECK(cache.take(again, all.first(63)).reused == 0);
  CHECK(again.position() == 0);
  CHECK(cache.take(again, std::vector<int32_t>(70, 1)).reused == 0);
}

TEST_CASE("checkpoints take no more memory than they may", "[session]") {
  const auto model = open_model(data_path("goldens/mamba2"));
  const std::vector<int32_t> ids = long_ids("mamba2", 640);
  const auto read = [&](SessionOptions options) {
    options.checkpoint_every = 64;
    Session session(model, options);
    session.prompt(ids);
    return session;
  };
  const Session one = read({.checkpoints = 1});
  REQUIRE(one.checkpoints().size() == 1);
  const size_t size = one.checkpoints().front()->bytes();
  CHECK(one.bytes() == one.state_bytes() + size);
  const auto bound = [&](size_t bytes) {
    return read({.checkpoint_bytes = static_cast<int64_t>(bytes)});
  };
  CHECK(bound(3 * size).checkpoints().size() == 3);
  CHECK(bound(3 * size).reachable(639) == 576);
  CHECK(bound(3 * size + 5).bytes() == one.state_bytes() + 3 * size);
  CHECK(bound(4 * size - 1).reachable(511) == 0);
  CHECK(bound(4 * size).reachable(511) == 448);
  CHECK(bound(1).checkpoints().empty());
  CHECK(read({.checkpoint_bytes = -1}).checkpoints().empty());
  CHECK(read({}).checkpoints().size() == 10);
  // One that takes over another's state keeps to its own bounds.
  Session less(model, SessionOptions{.checkpoints = 2});
  less.become(read({}));
  CHECK(less.checkpoints().size() == 2);
}

TEST_CASE("keys and values in FP16 and INT8 stay close, and take less", "[session]") {
  const std::string name = GENERATE("llama", "qwen3", "mistral", "hymba", "falcon_h1", "zamba2");
  CAPTURE(name);
  const std::vector<int32_t> ids = golden_ids(name);
  const auto run = [&](KvType type, size_t& bytes) {
    Session session(open_with_kv(name, type), 512);
    session.eval(ids, nullptr);
    bytes = session.bytes();
    return session_logits(session);
  };
  size_t full_bytes = 0, half_bytes = 0, int8_bytes = 0;
  const std::vector<float> full = run(KvType::kF32, full_bytes);
  const std::vector<float> half = run(KvType::kF16, half_bytes);
  const std::vector<float> int8 = run(KvType::kI8, int8_bytes);
  CHECK(half_bytes < full_bytes);
  CHECK(int8_bytes < half_bytes);
  const auto worst = [&](const std::vector<float>& got) {
    float error = 0, size = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      error = std::max(error, std::fabs(got[i] - full[i]));
      size = std::max(size, std::fabs(full[i]));
    }
    return error / size;
  };
  CHECK(worst(half) > 0);
  CHECK(worst(half) < 1e-2);
  CHECK(worst(int8) > worst(half));
  CHECK(worst(int8) < 0.15);
}

TEST_CASE("saved sessions are restored with every kind of cache", "[session]") {
  const std::string name = GENERATE("llama", "hymba", "mistral", "zamba", "falcon_h1", "mamba2");
  const KvType kv = GENERATE(KvType::kF32, KvType::kF16, KvType::kI8);
  CAPTURE(name, static_cast<int>(kv));
  const auto model = open_with_kv(name, kv);
  const std::vector<int32_t> ids = golden_ids(name);
  const std::span<const int32_t> all(ids);
  const TemporaryFolder folder;
  Session session(model, 512);
  // The last tokens alone: Mamba-2 keeps them beside its states.
  session.eval(all.first(26), nullptr);
  for (size_t t = 26; t < 30; ++t) session.eval(all.subspan(t, 1), nullptr);
  session.save(folder / "session");
  Session restored(model, 512);
  restored.load(folder / "session");
  CHECK(restored.position() == 30);
  CHECK(session_logits(restored) == session_logits(session));
  for (size_t t = 30; t < ids.size(); ++t) {
    session.eval(all.subspan(t, 1), nullptr);
    restored.eval(all.subspan(t, 1), nullptr);
    REQUIRE(session_logits(restored) == session_logits(session));
  }
  Session other(open_with_kv(name, kv == KvType::kI8 ? KvType::kF32 : KvType::kI8), 512);
  CHECK_THROWS_WITH(other.load(folder / "session"), Catch::Contains("--kv"));
}

TEST_CASE("checkpoints are saved with the session", "[session]") {
  const std::string name =
      GENERATE("llama", "hymba", "mistral_window", "zamba2", "mamba2", "mamba");
  const KvType kv = GENERATE(KvType::kF32, KvType::kF16, KvType::kI8);
  CAPTURE(name, static_cast<int>(kv));
  const auto model = open_with_kv(name, kv);
  const std::vector<int32_t> ids = golden_ids(name);
  const std::span<const int32_t> all(ids);
  const TemporaryFolder folder;
  Session session(model, 512);
  session.eval(all.first(10), nullptr);
  session.checkpoint();
  session.prompt(all.first(25));
  for (size_t t = 25; t < 30; ++t) session.eval(all.subspan(t, 1), nullptr);
  session.save(folder / "session");
  Session restored(model, 512), less(model, SessionOptions{.checkpoints = 1});
  restored.load(folder / "session");
  CHECK(restored.bytes() == session.bytes());
  CHECK(restored.prompt(all.first(25)) == 25);
  CHECK(restored.reachable(24) == session.reachable(24));
  session.rewind(25);
  CHECK(session_logits(restored) == session_logits(session));
  for (Session* s : {&session, &restored}) {
    CHECK(s->rewind(10) == 10);
    s->eval(all.subspan(40), nullptr);
  }
  CHECK(session_logits(restored) == session_logits(session));
  less.load(folder / "session");
  CHECK(less.checkpoints().size() == 1);
}

TEST_CASE("no byte of a saved session changes unseen", "[session]") {
  const auto model = open_model(data_path("goldens/mamba2"));
  const TemporaryFolder folder;
  Session session(model, 512);
  session.prompt(golden_ids("mamba2"));
  session.save(folder / "session");
  const std::string sound = read_text(folder / "session");
  Session loaded(model, 512);
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    std::string bytes = sound;
    // Half of them in the header, where names, positions and checksums are.
    const size_t at = random() % (i % 2 == 0 ? 1500 : bytes.size());
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 7));
    std::ofstream(folder / "damaged", std::ios::binary) << bytes;
    CAPTURE(at);
    try {
      loaded.load(folder / "damaged");
      // Spaces after the header's JSON, which nothing reads, or a letter that JSON writes two ways.
      CHECK(session_logits(loaded) == session_logits(session));
    } catch (const Error& e) {
      CHECK_THAT(e.what(), Catch::Contains(folder / "damaged"));
      ++refused;
    }
  }
  CHECK(refused > 250);
}

// As a hostile file would have it: whole, with a right checksum, and no numbers in its state.
TEST_CASE("a saved state that holds what is no number is refused", "[session]") {
  const std::string name = GENERATE("mamba", "mamba2", "llama", "qwen3_next");
  CAPTURE(name);
  const auto model = open_model(data_path("goldens/" + name));
  const TemporaryFolder folder;
  Session session(model, 512);
  session.eval(golden_ids(name), nullptr);
  session.save(folder / "session");
  Session loaded(model, 512);
  loaded.load(folder / "session");
  const std::vector<float> before = session_logits(loaded);
  int changed = 0;
  {
    const SafetensorsFile sound = SafetensorsFile::open(folder / "session");
    std::map<std::string, std::string> metadata = sound.metadata();
    metadata.erase("klens.xxh3");
    std::string checked, bytes;
    for (const auto& [key, value] : metadata) checked += key + "=" + value + "\n";
    std::vector<TensorEntry> entries;
    for (const auto& [tensor, view] : sound.tensors()) {
      std::string data(reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size());
      if (tensor == "state" || tensor == "cache.0.v") {
        std::fill(data.begin(), data.end(), '\xff');
        changed += !data.empty();
      }
      checked += tensor + " " + dtype_name(view.dtype) + " " +
                 xxh3_hex(std::as_bytes(std::span(data))) + "\n";
      entries.push_back({tensor, view.dtype, view.shape, data.size()});
      bytes += data;
    }
    metadata["klens.xxh3"] = xxh3_hex(std::as_bytes(std::span(checked)));
    std::ofstream(folder / "hostile", std::ios::binary)
        << safetensors_header(entries, metadata) << bytes;
  }
  REQUIRE(changed >= 1);
  CHECK_THROWS_WITH(loaded.load(folder / "hostile"), Catch::Contains("holds what is no number"));
  CHECK(session_logits(loaded) == before);
}

// The weights are read once at most: what is written over them later does not show.
TEST_CASE("saving and loading do not read the weights each time", "[session]") {
  const TemporaryFolder folder;
  std::filesystem::copy(data_path("goldens/mamba2"), folder / "model");
  const auto model = open_model(folder / "model");
  const std::vector<int32_t> ids = golden_ids("mamba2");
  Session session(model, 512);
  session.eval(ids, nullptr);
  session.save(folder / "session");
  const std::span<const std::byte> file = model->checkpoint().files.front()->bytes();
  const std::byte* weights = nullptr;  // of a unit that lies in the file
  for (const auto& [name, unit] : model->checkpoint().units) {
    const auto* data = static_cast<const std::byte*>(unit.view.data);
    if (data >= file.data() && data < file.data() + file.size()) weights = data;
  }
  REQUIRE(weights != nullptr);
  {
    std::fstream out(folder / "model/model.safetensors",
                     std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(weights - file.data());
    out.put(static_cast<char>(std::to_integer<int>(*weights) ^ 1));
  }
  REQUIRE(checkpoint_xxh3(model->checkpoint()) != model->identity());
  session.save(folder / "again");
  Session loaded(model, 512);
  loaded.load(folder / "session");
  loaded.load(folder / "again");
  CHECK(session_logits(loaded) == session_logits(session));
  // Who opens the changed file has another model.
  Session other(open_model(folder / "model"), 512);
  CHECK_THROWS_WITH(other.load(folder / "session"), Catch::Contains("another model"));
}

TEST_CASE("a window keeps what it needs and no more", "[session]") {
  // Hymba's golden has windows of 13 keys, 6 pinned rows and two global layers.
  const auto model = open_model(data_path("goldens/hymba"));
  const std::vector<int32_t> ids = golden_ids("hymba");
  Session session(model, 512);
  std::vector<int32_t> many;
  for (int i = 0; i < 40; ++i) many.insert(many.end(), ids.begin(), ids.end());
  session.eval(many, nullptr);
  int64_t global = 0;
  SequenceState state = model->transient_state();
  for (const KvCacheSpec& cache : model->spec().caches)
    global += cache.reach == std::numeric_limits<int64_t>::max();
  REQUIRE(global == 2);
  const int64_t rows = static_cast<int64_t>(many.size()) + 6;
  const KvCacheSpec& spec = model->spec().caches[0];
  const size_t row = static_cast<size_t>(spec.kv_heads * (spec.k_dim + spec.v_dim)) * sizeof(float);
  const size_t fixed = static_cast<size_t>(model->states().bytes()) + 160 * sizeof(float);
  const size_t windows = session.bytes() - fixed - 2 * static_cast<size_t>(rows) * row;
  CHECK(windows < (model->spec().caches.size() - 2) * (6 + 13 + 64 + 512) * row);
}

// One query reads thousands of keys in parts, which threads share; windows and pinned keys among
// them.
TEST_CASE("far into a text decoding is what prefill is, whatever the threads", "[session][long]") {
  const std::string name = GENERATE("llama", "hymba", "mistral");
  CAPTURE(name);
  const std::vector<int32_t> ids = golden_ids(name);
  std::vector<int32_t> many;
  while (many.size() < 4500) many.insert(many.end(), ids.begin(), ids.end());
  const std::span<const int32_t> all(many);
  const auto last = [&](int threads, bool apart) {
    const auto model = std::make_shared<const Model>(
        open_checkpoint(data_path("goldens/" + name), true), ModelOptions{.threads = threads});
    Session session(model, 512);
    // Two tokens at least at a time, or it would be decoding.
    session.eval(all.first(all.size() - 2), nullptr);
    if (apart) session.eval(all.subspan(all.size() - 2, 1), nullptr);
    session.eval(all.last(apart ? 1 : 2), nullptr);
    return session_logits(session);
  };
  const std::vector<float> decoded = last(1, true);
  CHECK(decoded == last(3, true));
  CHECK(close(decoded, last(1, false)));
}

}  // namespace klens
