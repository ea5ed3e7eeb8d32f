// The OpenCL device, on whatever drivers this machine has.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <random>
#include <thread>

#include "engine/cpu/cpu_device.h"
#include "engine/device/operation_cases.h"
#include "engine/jobs/profile_job.h"
#include "engine/jobs/students.h"
#include "tests/engine/opencl_device.h"

namespace klens {
namespace {

using namespace klens::testing;

// Where programs are cached while it lives.
class Cache {
 public:
  explicit Cache(const std::string& folder) {
    if (const char* before = std::getenv("XDG_CACHE_HOME")) before_ = before;
    ::setenv("XDG_CACHE_HOME", folder.c_str(), 1);
  }
  ~Cache() {
    if (before_)
      ::setenv("XDG_CACHE_HOME", before_->c_str(), 1);
    else
      ::unsetenv("XDG_CACHE_HOME");
  }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

 private:
  std::optional<std::string> before_;
};

// All the device has, and all but each.
std::vector<std::string> feature_lists() {
  std::vector<std::string> lists = {""};
  const OpenClInfo info = opencl_device(-1);
  for (const OpenClFeature& without : opencl_features()) {
    if (!(info.has.*without.flag)) continue;
    std::string list = "none";
    for (const OpenClFeature& feature : opencl_features())
      if (info.has.*feature.flag && feature.name != without.name)
        list += std::string(",") + feature.name;
    lists.push_back(list);
  }
  return lists;
}

// few: one size of each, where a feature is switched off.
std::vector<OperationCase> all_cases(bool few) {
  std::vector<OperationCase> all;
  const auto add = [&](std::vector<OperationCase> cases) {
    for (OperationCase& one : cases) all.push_back(std::move(one));
  };
  if (few) {
    add(elementwise_cases({7, 131, 2}));
    add(norm_cases({5, 67, 4}));
    add(scan_cases({9, 67, 7}));
    add(chunk_cases({86, 35, 15}, 6));
    add(score_cases({3, 1003, 9}));
    add(attention_cases({37, 17, 11}, KvType::kI8));
    add(linear_cases({19, 163, 13}, Layout::kTilesI8, false, true));
    add(linear_cases({19, 163, 13}, Layout::kTilesI4, true, false));
    return all;
  }
  add(elementwise_cases({1, 1, 1}));
  add(elementwise_cases({7, 131, 2}));
  add(norm_cases({1, 1, 3}));
  add(norm_cases({5, 67, 4}));
  add(norm_cases({3, 96, 4}));  // groups of activations in every part
  add(rope_cases({9, 13, 5}));
  add(scan_cases({1, 3, 6}));
  add(scan_cases({9, 67, 7}));
  add(scan_cases({131, 9, 14}));  // over the CPU's chunks
  add(chunk_cases({150, 35, 15}, 6));
  add(chunk_cases({197, 5, 16}, 69));  // over a tile of states
  add(score_cases({3, 1, 8}));
  add(score_cases({3, 1003, 9}));
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kI8}) {
    add(attention_cases({3, 5, 10}, type));
    add(attention_cases({133, 17, 11}, type));
    add(attention_cases({530, 3, 11}, type));  // over a part of keys
  }
  for (int layout = 0; layout <= static_cast<int>(Layout::kTilesI3); ++layout)
    for (const bool minima : {false, true})
      for (const bool rounded : {false, true}) {
        const auto kind = static_cast<Layout>(layout);
        if (kind < Layout::kTilesI8 && (minima || rounded)) continue;
        if (kind == Layout::kTilesI8 && minima) continue;
        add(linear_cases({1, 7, 12}, kind, minima, rounded));
        add(linear_cases({33, 163, 13}, kind, minima, rounded));
      }
  return all;
}

// What gives a device another product of matrices, by sub-groups of `lanes`, that no driver at hand
// has: a model of it, of dot products.
std::optional<OpenClInfo> with_matrix_model(int lanes) {
  OpenClInfo info = opencl_device(-1);
  if (!info.uses.sub_groups) return std::nullopt;
  info.uses.matrix = info.matrix_model = true;
  info.matrix_lanes = lanes;
  return info;
}

std::vector<float> logits_of(const std::shared_ptr<const Model>& model,
                             std::span<const int32_t> ids) {
  Session session(model, 512);
  std::vector<float> logits(ids.size() * static_cast<size_t>(model->spec().vocab));
  session.eval(ids, logits.data());
  return logits;
}

}  // namespace

// The reference is the scalar one where the build runs this (KLENS_ISA).
TEST_CASE("every operation holds to its contract on OpenCL", "[opencl][operations]") {
  if (!has_opencl()) return;
  CpuDevice reference(1);
  const double slack = reference.level() == "scalar" ? 1 : 2;
  for (const std::string& list : feature_lists()) {
    const std::vector<OperationCase> cases = all_cases(!list.empty());
    const Features features(list);
    OpenClDevice device(1, -1);
    std::cout << cases.size() << " cases on " << device.level() << "\n";
    for (const OperationCase& test : cases) {
      INFO(device.level());
      CHECK(difference(test, device, reference, slack) == "");
    }
  }
  CHECK(device_notes() == "");  // so features are what was looked at
}

TEST_CASE("linear layers have the same bits whatever is used of a device", "[opencl][operations]") {
  if (!has_opencl()) return;
  const OpenClInfo all = opencl_device(-1);
  OpenClInfo none = all;
  none.uses = {};
  OpenClDevice portable(1, none);
  std::vector<OpenClInfo> others = {all};
  for (const int lanes : {8, 16})
    if (const auto info = with_matrix_model(lanes)) others.push_back(*info);
  for (const OpenClInfo& info : others) {
    OpenClDevice device(1, info);
    for (int layout = 0; layout <= static_cast<int>(Layout::kTilesI3); ++layout)
      for (const bool minima : {false, true}) {
        const auto kind = static_cast<Layout>(layout);
        if (minima && kind <= Layout::kTilesI8) continue;
        for (const CaseSizes& sizes : {CaseSizes{17, 37, 3}, CaseSizes{37, 327, 4}})
          for (const OperationCase& test :
               linear_cases(sizes, kind, minima, kind >= Layout::kTilesI8)) {
            INFO(device.level() << ", " << info.matrix_lanes << " lanes: " << test.what);
            CHECK(test.run(device, false) == test.run(portable, false));
          }
      }
  }
  if (others.size() == 1) std::cout << "skip: the driver has no sub-groups\n";
}

TEST_CASE("what differs is told", "[opencl][operations]") {
  CpuDevice device(1), reference(1);
  OperationCase test = elementwise_cases({2, 3, 1}).front();
  CHECK(difference(test, device, reference, 1) == "");
  const auto run = test.run;
  test.run = [&](Device& on, bool magnitudes) {
    std::vector<double> values = run(on, magnitudes);
    if (&on == &device) values[4] += 1e-6;
    return values;
  };
  CHECK_THAT(difference(test, device, reference, 1), Catch::Contains("value 4"));
}

TEST_CASE("goldens hold on OpenCL, in prefill chunks of any size", "[opencl][golden]") {
  if (!has_opencl()) return;
  for (const std::string& name : golden_names()) {
    const Golden golden = load_golden(name, on_opencl());
    // The last of 53 is alone in the first; greedy decoding goes by such.
    for (const size_t chunk : {4, 53}) {
      CAPTURE(name, chunk);
      Session session(golden.model, 512);
      check_close(eval_in_chunks(session, golden.input_ids, chunk), golden.logits.data(), 0);
      CHECK(session.position() == 53);
    }
    std::vector<int32_t> ids(golden.greedy_ids.begin(), golden.greedy_ids.begin() + 20);
    Session session(golden.model, 512);
    session.eval(ids, nullptr);
    while (ids.size() < golden.greedy_ids.size()) {
      ids.push_back(best(session.logits()));
      session.eval({&ids.back(), 1}, nullptr);
    }
    CHECK(ids == golden.greedy_ids);
  }
}

TEST_CASE("sessions on OpenCL are forked, saved, taken back and fed together",
          "[opencl][session]") {
  if (!has_opencl()) return;
  for (const char* name : {"hymba", "jamba", "mistral_window", "zamba2"}) {
    CAPTURE(name);
    const Golden golden = load_golden(name, on_opencl());
    const std::span<const int32_t> ids(golden.input_ids);
    const TemporaryFolder folder;
    Session session(golden.model, 512);
    session.eval(ids.first(20), nullptr);
    Session fork(session), restored(golden.model, 512);
    session.save(folder / "session");
    restored.load(folder / "session");
    CHECK(std::ranges::equal(restored.logits(), session.logits()));
    session.eval(ids.subspan(20), nullptr);
    restored.eval(ids.subspan(20), nullptr);
    fork.eval(ids.subspan(20), nullptr);
    CHECK(std::ranges::equal(restored.logits(), session.logits()));
    CHECK(std::ranges::equal(fork.logits(), session.logits()));

    // A session of the CPU is not this device's.
    const Golden on_cpu = load_golden(name);
    Session other(on_cpu.model, 512);
    CHECK_THROWS_AS(other.load(folder / "session"), Error);

    check_in_company(golden);
  }
}

TEST_CASE("students on OpenCL score as on the CPU", "[opencl][profile]") {
  if (!has_opencl()) return;
  for (const char* name : {"mamba2", "qwen3", "granite_experts"}) {
    CAPTURE(name);
    const auto profile = [&](const ModelOptions& options) {
      const Golden golden = load_golden(name, options);
      Progress progress(nullptr);
      ProfileOptions asked;
      asked.ctx = 32;
      asked.windows = 2;
      asked.formats = default_formats();
      asked.metrics = "kl";
      return run_profile(*golden.model, nullptr, asked, progress, go_on).profile;
    };
    const Profile here = profile(on_opencl()), there = profile({.threads = 2});
    REQUIRE(here.units.size() == there.units.size());
    double sum_here = 0, sum_there = 0;
    for (size_t u = 0; u < here.units.size(); ++u)
      for (size_t c = 0; c < here.units[u].candidates.size(); ++c) {
        sum_here += here.units[u].candidates[c].kl.value_or(0);
        sum_there += there.units[u].candidates[c].kl.value_or(0);
      }
    CHECK(sum_here == Approx(sum_there).epsilon(0.05));
    CHECK(sum_there > 0);
  }
}

// With the scalar kernels: faster ones multiply in BF16 where activations have 8 bits.
TEST_CASE("models of every format run on OpenCL as on the CPU", "[opencl][operations]") {
  if (!has_opencl()) return;
  const std::string name = GENERATE("llama", "mamba2");
  const Golden golden = load_golden(name);
  const std::vector<float> full = logits_of(golden.model, golden.input_ids);
  for (const Format& format : kFormats)
    for (const int bits : {8, 16}) {
      if (bits == 16 && format.activation_group == 0) continue;
      CAPTURE(name, format.name, bits);
      const auto run = [&](const ModelOptions& options) {
        return logits_of(quantised(name, format, bits, options).model, golden.input_ids);
      };
      const std::vector<float> here = run(on_opencl()), there = run({.threads = 2});
      // Integers are the same; an activation next to the middle may round to either side.
      const auto distance = [](const std::vector<float>& a, const std::vector<float>& b) {
        double sum = 0;
        for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
        return std::sqrt(sum / static_cast<double>(a.size()));
      };
      CHECK(distance(here, there) <= 0.1 * distance(full, there) + 1e-4);
    }
}

TEST_CASE("keys beyond FP16 are refused with the cure", "[opencl]") {
  if (!has_opencl()) return;
  OpenClDevice device(1, -1);
  const KvCacheSpec spec{.kv_heads = 1,
                         .k_dim = 3,
                         .v_dim = 3,
                         .reach = std::numeric_limits<int64_t>::max(),
                         .pinned = 0,
                         .first_block = 0,
                         .last_block = 0};
  const auto store = [&](float value) {
    device.run([&](Lane& lane) {
      SequenceState state;
      state.caches.emplace_back(device, spec, KvType::kF16);
      const Sequence sequence{.state = &state, .row = 0, .tokens = 1, .position = 0, .horizon = 1};
      const Rows x = lane.take(1, 3);
      const float values[] = {1, value, 2};
      lane.write(values, x);
      lane.store_kv(0, x, x, Batch({&sequence, 1}));
    });
  };
  store(65504);
  CHECK_THROWS_WITH(store(70000), Catch::Contains("--kv f32"));
  CHECK_THROWS_WITH(store(NAN), Catch::Contains("--kv f32"));
  store(-65504);
}

TEST_CASE("memory that a device lacks is told as such", "[opencl]") {
  if (!has_opencl()) return;
  OpenClDevice device(1, -1);
  CHECK_THROWS_AS(device.allocate(opencl_device(-1).largest_allocation + 1), std::bad_alloc);
  const Memory some(device, 100);
  CHECK(some.read() == std::vector<std::byte>(100));
}

TEST_CASE("devices are chosen by name", "[opencl]") {
  CHECK(find_device("cpu").entry == &devices().front());
  CHECK(find_device("opencl").index == -1);
  CHECK(find_device("opencl:3").index == 3);
  for (const char* wrong : {"cpu:1", "opencl:", "opencl:x", "opencl:-1", "opencl:1x", "gpu", ""})
    CHECK_THROWS_WITH(find_device(wrong), Catch::Contains("use cpu, opencl"));
  if (!has_opencl()) return;
  CHECK_THROWS_WITH(opencl_device(99), Catch::Contains("there is no device 99"));
  const Features features("fast");
  CHECK_THROWS_WITH(opencl_devices(), Catch::Contains("rounded-division"));
}

TEST_CASE("programs that compute wrongly are refused, and the verdict is kept", "[opencl]") {
  if (!has_opencl()) return;
  OpenClInfo info = opencl_device(-1);
  info.keeps_programs = false;  // so that binaries are used with any driver
  const TemporaryFolder folder;
  const Cache cache(folder.path());
  int checks = 0;
  std::string verdict;
  const auto use = [&] {
    OpenClQueue queue(info, [&](const std::string&, const std::string&) {
      ++checks;
      return verdict;
    });
    const uint64_t memory = queue.allocate(64);
    const Rows x(memory, 1, 16);
    for (int i = 0; i < 2; ++i)
      queue.launch({"elementwise", "", "fill_zeros"}, over_columns(16, 1), {x, x.width()});
    queue.finish();
  };
  use();
  use();
  CHECK(checks == 1);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
    if (entry.is_regular_file()) std::filesystem::resize_file(entry.path(), 20);
  verdict = "a case: value 3";
  const int programs = opencl_options(info, info.uses) == opencl_options(info, {}) ? 1 : 2;
  CHECK_THROWS_WITH(use(), Catch::Contains("computes elementwise.cl wrongly: a case: value 3"));
  verdict = "";
  CHECK_THROWS_WITH(use(), Catch::Contains("--backend cpu"));
  CHECK(checks == 1 + programs);  // with features and without
}

TEST_CASE("who is killed while programs are compiled leaves a sound cache", "[opencl][cache]") {
  const TemporaryFolder folder;
  const std::string key = "a program";
  const BinaryCache cache(folder.path());
  const std::vector<std::byte> program(3 << 20, std::byte{7});
  int complete = 0, written = 0, kills = 0;
  // A slow disk takes longer than the 20 ms of the first 40: then longer and longer, until one is
  // whole.
  for (useconds_t delay = 0; kills < 40 || (complete == 0 && delay < 10'000'000);
       delay = kills < 40 ? delay + 500 : 2 * delay) {
    ++kills;
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) cache.store(key, program);
    }
    ::usleep(delay);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const auto found = cache.load(key);
    complete += found.has_value();
    if (found) CHECK(*found == program);
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      if (entry.path().string() != cache.path(key)) {
        ++written;  // what it was at
        std::filesystem::remove(entry.path());
      }
  }
  CHECK(complete > 0);
  cache.store(key, program);
  CHECK(cache.load(key) == program);
  std::cout << complete << " of " << kills << " left a program, " << written << " a part of one\n";
}

TEST_CASE("a program that fails with features does without", "[opencl]") {
  if (!has_opencl()) return;
  OpenClInfo info = opencl_device(-1);
  info.uses = {.rounded_division = false,
               .integer_dot = true,
               .in_place = false,
               .sub_groups = false,
               .matrix = false};
  const TemporaryFolder folder;
  const Cache cache(folder.path());
  for (int run = 0; run < 2; ++run) {  // the second goes by what was kept
    int checks = 0;
    OpenClQueue queue(info, [&](const std::string&, const std::string&) {
      return ++checks == 1 && run == 0 ? "a case: value 3" : "";
    });
    CHECK_FALSE(queue.features("elementwise", "").integer_dot);
    CHECK(checks == (run == 0 ? 2 : 0));
    CHECK_THAT(device_notes(),
               Catch::Contains("elementwise.cl") && Catch::Contains("a case: value 3"));
    const uint64_t memory = queue.allocate(64);
    const Rows x(memory, 1, 16);
    queue.launch({"elementwise", "", "fill_zeros"}, over_columns(16, 1), {x, x.width()});
    queue.finish();
  }
}

TEST_CASE("no damaged entry of the cache is believed", "[opencl][cache]") {
  const TemporaryFolder folder;
  const BinaryCache cache(folder.path());
  const std::string key = "a key\nof two lines";
  std::vector<std::byte> program(300);
  for (size_t i = 0; i < program.size(); ++i) program[i] = static_cast<std::byte>(i * 7);
  CHECK_FALSE(cache.load(key));
  cache.store(key, program);
  REQUIRE(cache.load(key) == program);
  CHECK_FALSE(cache.load("another key"));
  const auto contents = [](const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string sound = contents(cache.path(key));
  const auto put = [&](const std::string& bytes) {
    std::ofstream(cache.path(key), std::ios::binary) << bytes;
  };
  std::mt19937 random(5);
  for (int i = 0; i < 1000; ++i) {
    std::string damaged = sound;
    const size_t at = random() % damaged.size();
    switch (i % 4) {
      case 0:
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
        break;
      case 1:
        damaged.resize(at);
        break;
      case 2:
        damaged.insert(at, 1, static_cast<char>(random()));
        break;
      default:
        for (char& c : damaged) c = static_cast<char>(random());
    }
    if (damaged == sound) continue;
    put(damaged);
    if (cache.load(key)) FAIL_CHECK("entry " << i << " was believed");
  }
  // Another key's entry under this one's name, as if hashes were equal.
  cache.store("another key", program);
  put(contents(cache.path("another key")));
  CHECK_FALSE(cache.load(key));
  std::filesystem::remove(cache.path(key));
  std::filesystem::create_directory(cache.path(key));
  CHECK_FALSE(cache.load(key));
  cache.store(key, program);  // cannot; nothing is thrown
  CHECK_FALSE(cache.load(key));
  CHECK_FALSE(BinaryCache("").load(key));
  BinaryCache("").store(key, program);

  // Who writes at once.
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) {
        cache.store("shared", program);
        const auto found = cache.load("shared");
        wrong += !found || *found != program;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

}  // namespace klens
