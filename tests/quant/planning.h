#pragma once
// Profiles and requests that tests of planning share.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "quant/format.h"
#include "quant/planner.h"

namespace klens::planning {

inline Candidate candidate(const char* format, int64_t bytes, double kl, double stderr_ = 0) {
  Candidate c;
  c.choice.format = format;
  c.bytes = bytes;
  c.kl = kl;
  if (stderr_ > 0) c.kl_stderr = stderr_;
  return c;
}

inline Unit unit(const std::string& name, std::vector<Candidate> candidates) {
  Unit u;
  u.name = name;
  u.candidates = std::move(candidates);
  return u;
}

inline Profile profile_of(std::vector<Unit> units) {
  Profile p;
  for (size_t u = 0; u < units.size();
       ++u) {  // 8000 weights in all, so that bpw = unit bytes / 1000
    units[u].rows = u == 0;
    units[u].cols = 8000;
  }
  p.fixed_bytes = 100;
  p.header_bytes = 50;
  p.units = std::move(units);
  return p;
}

// Two units: in "a" 4 bits cost little, in "b" much.
inline Profile small_profile() {
  return profile_of({unit("a", {candidate("fp16", 2000, 0), candidate("int8", 1000, 0.001),
                                candidate("int4g64", 600, 0.01)}),
                     unit("b", {candidate("fp16", 4000, 0), candidate("int8", 2000, 0.002),
                                candidate("int4g64", 1200, 0.5)})});
}

// Shapes of a Mamba model; sensitivities spread over four orders of magnitude, the KL of a format
// about proportional to its error.
inline Profile realistic_profile(int blocks, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> normal;
  struct Shape {
    const char* kind;
    int64_t rows, cols;
  };
  const Shape shapes[] = {
      {"in_proj", 3072, 768}, {"x_proj", 80, 1536}, {"dt_proj", 1536, 48}, {"out_proj", 768, 1536}};
  // Two bits more are a sixteenth of the error.
  const auto error = [](size_t f) {
    const double bits = bits_per_weight(kFormats[f]) - bits_per_weight(*std::rbegin(kFormats));
    return f == 0 ? 0 : std::exp2(-2 * bits);
  };
  Profile p;
  p.fixed_bytes = 1000000;
  p.parameters = 500000;
  for (int b = 0; b < blocks; ++b)
    for (const Shape& s : shapes) {
      Unit u;
      u.name = std::to_string(b) + "." + s.kind;
      u.rows = s.rows;
      u.cols = s.cols;
      const double sensitivity = std::exp(2 * normal(rng) - 6);
      for (size_t f = 0; f < std::size(kFormats); ++f) {
        const auto bytes = static_cast<int64_t>(packed_bytes(kFormats[f], s.rows, s.cols));
        const double kl = sensitivity * error(f) * std::exp(0.1 * normal(rng));
        Candidate c = candidate(kFormats[f].name, bytes, kl);
        c.others[kMse] = kl * std::exp(0.5 * normal(rng));
        c.others[kSqnrDb] = f == 0 ? 150.0 : -10 * std::log10(*c.others[kMse]);
        u.candidates.push_back(c);
      }
      p.parameters += s.rows * s.cols;
      p.units.push_back(u);
    }
  return p;
}

inline PlanRequest request(const char* method, std::optional<double> bpw = {}) {
  PlanRequest r;
  r.method = method;
  r.budget.bpw = bpw;
  return r;
}
inline PlanRequest kl_request(const char* method, double max_kl) {
  PlanRequest r;
  r.method = method;
  r.budget.max_kl = max_kl;
  return r;
}
inline PlanRequest size_request(const char* method, int64_t bytes) {
  PlanRequest r;
  r.method = method;
  r.budget.file_bytes = bytes;
  return r;
}

inline Plan plan(const Profile& profile, const PlanRequest& r) {
  const auto result = make_plan(profile, r);
  if (const auto* why = std::get_if<std::string>(&result)) FAIL(*why);
  return std::get<Plan>(result);
}
inline std::string refusal(const Profile& profile, const PlanRequest& r) {
  const auto result = make_plan(profile, r);
  if (const auto* why = std::get_if<std::string>(&result)) return *why;
  FAIL("a plan was made");
  return "";
}

inline std::string formats(const Profile& profile, const Plan& p) {
  std::string text;
  for (const Unit& u : profile.units) text += (text.empty() ? "" : " ") + p.units.at(u.name).format;
  return text;
}

}  // namespace klens::planning
