// What a decoded token takes on OpenCL: launches, and what is done in one.
#include <catch2/catch.hpp>
#include <iostream>
#include <optional>
#include <random>

#include "tests/engine/opencl_device.h"

namespace klens {

using namespace klens::testing;

TEST_CASE("a decoded token takes few launches", "[opencl][launches]") {
  if (!has_opencl()) return;
  // Of mamba2, in_proj is three units; of zamba2, two of six layers have attention and an MLP
  // besides.
  const std::pair<const char*, double> models[] = {{"mamba", 7}, {"mamba2", 6}, {"zamba2", 10.2}};
  for (const auto& [name, most] : models) {
    const Quantised made = quantised(name, *find_format("int4g32"), 8, on_opencl());
    auto& device = dynamic_cast<OpenClDevice&>(made.model->device());
    const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7};
    Session session(made.model, 512);
    session.eval(std::span(ids).first(5), nullptr);
    const auto launches_of = [&](size_t at) {
      const int64_t before = device.launches();
      session.eval({&ids[at], 1}, nullptr);
      return static_cast<double>(device.launches() - before);
    };
    launches_of(5);  // the first may check programs
    // Embedding, the row that logits are asked of, its norm, and the head.
    const double layers = (launches_of(6) - 4) / static_cast<double>(made.model->blocks());
    std::cout << name << ": " << layers << " launches a layer\n";
    CHECK(layers <= most);
  }
}

TEST_CASE("a decoded token's launches are replayed, to the same bits", "[opencl][launches]") {
  if (!has_opencl()) return;
  const OpenClInfo info = opencl_device(-1);
  if (!info.uses.command_buffers) {
    std::cout << "skip: the driver has no command buffers\n";
    return;
  }
  std::string without = "none";
  for (const OpenClFeature& feature : opencl_features())
    if (info.has.*feature.flag && feature.flag != &OpenClFeatures::command_buffers)
      without += std::string(",") + feature.name;
  for (const char* name : {"mamba", "mamba2", "zamba2", "llama"}) {
    CAPTURE(name);
    int64_t replayed = 0;
    const auto decode = [&](const std::string& list) {
      const Features features(list);
      const Quantised made = quantised(name, *find_format("int4g32"), 8, on_opencl());
      auto& device = dynamic_cast<OpenClDevice&>(made.model->device());
      std::vector<float> all;
      Session session(made.model, 512);
      std::optional<Session> fork;
      for (int32_t token = 1; token < 16; ++token) {
        session.eval({&token, 1}, nullptr);
        all.insert(all.end(), session.logits().begin(), session.logits().end());
        if (token == 6) fork.emplace(session);
        if (!fork) continue;
        const int32_t other = 20 - token;  // by turns, with states elsewhere
        fork->eval({&other, 1}, nullptr);
        all.insert(all.end(), fork->logits().begin(), fork->logits().end());
      }
      replayed = device.replayed();
      return all;
    };
    const std::vector<float> plain = decode(without);
    CHECK(replayed == 0);
    const bool same = decode("") == plain;
    CHECK(same);
    std::cout << name << ": " << replayed << " lists of launches of 25 tokens replayed\n";
    CHECK(replayed >= 16);
  }
}

TEST_CASE("what is put off reads memory that was given back as it was", "[opencl]") {
  if (!has_opencl()) return;
  const Quantised made = quantised("mamba2", *find_format("int4g32"), 8, {.threads = 1});
  OpenClDevice device(1, -1);
  const WeightView view = made.packed.front().view();
  Weight weight;
  const Device::Adopted adopted = device.adopt(view);
  weight.view = adopted.view;
  weight.memory = adopted.memory;
  weight.activation_group = 32;
  constexpr int64_t kRows = 200;  // so that all fits one slab of scratch memory
  const auto product = [&](bool at_once) {
    std::mt19937 random(3);
    const auto fill = [&](Lane& lane, const Rows& rows) {
      std::vector<float> values(static_cast<size_t>(rows.count() * rows.width()));
      for (float& v : values) v = static_cast<float>(random() % 1000) * 0.001f;
      lane.write(values.data(), rows);
    };
    std::vector<float> found;
    device.run([&](Lane& lane) {
      const Rows x = lane.take(kRows, view.cols), y = lane.take(kRows, view.rows);
      fill(lane, x);
      {
        const Lane::Frame frame(lane);
        const Rows gate = lane.take(kRows, 4 * view.cols).columns(0, view.cols);
        fill(lane, gate);
        lane.gated_norm({gate, x, {}, 1e-5f, 1, GatedNormArgs::Order::kGateThenNorm});
        if (at_once) lane.zero(lane.take(1, 1));
      }
      LinearInput input(x);
      lane.linear({&weight, 1}, input, {}, y);
      const float* values = lane.host(y);
      found.assign(values, values + kRows * view.rows);
    });
    return found;
  };
  CHECK(product(true) == product(false));
}

}  // namespace klens
