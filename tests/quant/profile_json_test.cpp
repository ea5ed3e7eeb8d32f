#include "loaders/profile_json.h"

#include <catch2/catch.hpp>

#include "base/error.h"

namespace klens {
namespace {

Profile sample_profile() {
  Profile p;
  p.model_name = "tiny";
  p.architecture = "mamba";
  p.checkpoint_xxh3 = "0123456789abcdef";
  p.parameters = 130000000;
  p.calibration_source = "teacher";
  p.activations = "int8";
  p.tokens = 4096;
  p.windows = 16;
  p.window = 256;
  p.seed = 18446744073709551615u;
  p.fixed_bytes = 12345;
  p.header_bytes = 4096;
  Unit u;
  u.name = "backbone.layers.0.mixer.in_proj";
  u.kind = "in_proj";
  u.block = 0;
  u.rows = 1024;
  u.cols = 256;
  u.weights[kKurtosis] = 3.0089138398938453;
  Candidate c;
  c.choice.format = "fp16";
  c.bytes = 524288;
  c.kl = 0;
  u.candidates.push_back(c);
  c.choice.format = "int4g64";
  c.choice.quantizer = "hqq";
  c.bytes = 139264;
  c.kl = 0.1 + 0.2;  // 0.30000000000000004
  c.kl_stderr = 5e-324;
  c.others[kKlReverse] = 0.005284892588121888;
  c.others[kDeltaCe] = -2.8563724596253337e-05;
  c.others[kMse] = 1.0 / 3;
  c.others[kSqnrDb] = 28.79300298327555;
  c.others[kPpl] = 106.67121696633396;
  c.kl_windows = {0.1, -1e-9, 1e15};
  u.candidates.push_back(c);
  p.units.push_back(u);
  u.name = "lm_head";
  u.block = -1;
  u.weights = {};
  u.candidates.resize(1);
  p.units.push_back(u);
  return p;
}

void check_equal(const Candidate& a, const Candidate& b) {
  CHECK(a.choice == b.choice);
  CHECK(a.bytes == b.bytes);
  CHECK(a.kl == b.kl);
  CHECK(a.kl_stderr == b.kl_stderr);
  CHECK(a.kl_windows == b.kl_windows);
  CHECK(a.others == b.others);
}

// `text` with the first `from` replaced by `to`.
std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string message_of(const std::string& text, bool profile) {
  try {
    profile ? static_cast<void>(profile_from_json(text, "some.json"))
            : static_cast<void>(plan_from_json(text, "some.json"));
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::kBadFile);
    return e.what();
  }
  return "accepted";
}

struct Malformed {
  const char *from, *to;
  const char* part;  // of the message
};

void check_refused(const std::string& good, const Malformed& c, bool profile) {
  const std::string message = message_of(with(good, c.from, c.to), profile);
  CAPTURE(c.from, c.to, message);
  CHECK_THAT(message, Catch::StartsWith("some.json: "));
  CHECK_THAT(message, Catch::Contains(c.part));
  CHECK(message.find('\n') == std::string::npos);
}

}  // namespace

TEST_CASE("a profile reads back equal", "[profile_json]") {
  const Profile a = sample_profile();
  const std::string text = profile_to_json(a);
  const Profile b = profile_from_json(text, "x");
  CHECK(profile_to_json(b) == text);
  CHECK(a.model_name == b.model_name);
  CHECK(a.architecture == b.architecture);
  CHECK(a.checkpoint_xxh3 == b.checkpoint_xxh3);
  CHECK(a.parameters == b.parameters);
  CHECK(a.calibration_source == b.calibration_source);
  CHECK(a.activations == b.activations);
  CHECK(a.tokens == b.tokens);
  CHECK(a.windows == b.windows);
  CHECK(a.window == b.window);
  CHECK(a.seed == b.seed);
  CHECK(a.fixed_bytes == b.fixed_bytes);
  CHECK(a.header_bytes == b.header_bytes);
  REQUIRE(a.units.size() == b.units.size());
  for (size_t u = 0; u < a.units.size(); ++u) {
    CHECK(a.units[u].name == b.units[u].name);
    CHECK(a.units[u].kind == b.units[u].kind);
    CHECK(a.units[u].block == b.units[u].block);
    CHECK(a.units[u].rows == b.units[u].rows);
    CHECK(a.units[u].cols == b.units[u].cols);
    CHECK(a.units[u].weights == b.units[u].weights);
    REQUIRE(a.units[u].candidates.size() == b.units[u].candidates.size());
    for (size_t c = 0; c < a.units[u].candidates.size(); ++c)
      check_equal(a.units[u].candidates[c], b.units[u].candidates[c]);
  }
}

TEST_CASE("keys stand in the schema's order", "[profile_json]") {
  const std::string text = profile_to_json(sample_profile());
  CHECK_THAT(text,
             Catch::StartsWith("{\n \"klens_profile\": 1,\n \"model\": {\n  \"name\": \"tiny\""));
  size_t last = 0;
  for (const char* key :
       {"klens_profile", "\"model\"",   "\"name\"", "architecture", "parameters", "checkpoint_xxh3",
        "calibration",   "source",      "tokens",   "windows",      "\"window\"", "seed",
        "activations",   "fixed_bytes", "units",    "kind",         "rows",       "cols",
        "kurtosis",      "candidates",  "format",   "quantizer",    "\"bytes\"",  "\"kl\"",
        "kl_stderr",     "kl_reverse",  "delta_ce", "mse",          "sqnr_db",    "ppl"}) {
    const size_t at = text.find(key, last);
    CAPTURE(key);
    REQUIRE(at != std::string::npos);
    last = at;
  }
}

TEST_CASE("what is not needed may be missing, and what is unknown is ignored", "[profile_json]") {
  const Profile p = profile_from_json(
      R"({"klens_profile":1,"future":[{"x":null}],"model":{"parameters":10},"fixed_bytes":0,
          "units":[{"name":"u","candidates":[{"format":"fp16","bytes":20,"kl":null,"new":"x"}]}]})",
      "x");
  REQUIRE(p.units.size() == 1);
  CHECK(p.units[0].block == -1);
  CHECK(p.units[0].candidates[0].choice.quantizer == "rtn");
  CHECK_FALSE(p.units[0].candidates[0].kl);
  const Plan plan =
      plan_from_json(R"({"klens_plan":1,"units":{"u":{"format":"int8","why":1}}})", "x");
  CHECK(plan.method == "given");
  CHECK(plan.units.at("u") == Choice{"int8", "rtn"});
}

TEST_CASE("numbers that JSON cannot hold are left out", "[profile_json]") {
  Profile p = sample_profile();
  p.model_name = "caf\xe9";  // Latin-1
  p.units[0].candidates[1].others[kSqnrDb] = INFINITY;
  p.units[0].candidates[1].kl_windows = {0, NAN};
  const Profile back = profile_from_json(profile_to_json(p), "x");
  CHECK_FALSE(back.units[0].candidates[1].others[kSqnrDb]);
  CHECK(back.units[0].candidates[1].kl_windows.empty());
  p.units[0].candidates[1].kl = NAN;  // then it is no candidate
  CHECK(profile_from_json(profile_to_json(p), "x").units[0].candidates.size() == 1);
}

TEST_CASE("malformed profiles are refused by key", "[profile_json]") {
  const std::string good = profile_to_json(sample_profile());
  const Malformed cases[] = {
      {"{\n \"klens_profile\"", "[{\n \"klens_profile\"", "not valid JSON"},
      {"\"klens_profile\": 1", "\"klens_profile\": 2", "version 2"},
      {"\"klens_profile\": 1", "\"klens_profile\": 1.5", "'klens_profile'"},
      {"\"klens_profile\": 1", "\"klens_plan\": 1", "is a plan, not a profile"},
      {"\"klens_profile\": 1", "\"x\": 1", "'klens_profile' is missing"},
      {"\"model\": {", "\"model\": [], \"x\": {", "'model' is not a JSON object"},
      {"\"name\": \"tiny\"", "\"name\": 3", "model: key 'name'"},
      {"\"parameters\": 130000000", "\"parameters\": -1", "'parameters' is not a whole number"},
      {"\"parameters\": 130000000", "\"parameters\": 1e8", "'parameters'"},
      {"\"tokens\": 4096", "\"tokens\": \"many\"", "calibration: key 'tokens'"},
      {"\"seed\": 18446744073709551615", "\"seed\": -1", "'seed'"},
      {"\"fixed_bytes\": 12345", "\"fixed_bytes\": -5", "'fixed_bytes'"},
      {"\"fixed_bytes\": 12345", "\"fixed\": 0", "'fixed_bytes' is missing"},
      {"\"fixed_bytes\": 12345", "\"fixed_bytes\": 9223372036854775808", "'fixed_bytes'"},
      {"\"units\": [", "\"units\": [], \"x\": [", "'units' is empty"},
      {"\"units\": [", "\"units\": {}, \"x\": [", "'units' is not a list"},
      {"\"units\": [", "\"units\": [7,", "'units[0]' is not a JSON object"},
      {"\"name\": \"lm_head\"", "\"name\": \"backbone.layers.0.mixer.in_proj\"", "twice"},
      {"\"name\": \"lm_head\"", "\"name\": \"\"", "units[1]: key 'name'"},
      {"\"name\": \"lm_head\"", "\"name\": \"lm_head[7:7]\"", "'name' ends in brackets"},
      {"\"name\": \"lm_head\"", "\"name\": \"lm_head[0:512]\"",
       "'rows' is 1024, but its name says 512"},
      {"\"name\": \"lm_head\"", "\"name\": \"backbone.layers.0.mixer.in_proj[512:1536]\"",
       "give rows of backbone.layers.0.mixer.in_proj to two units"},
      {"\"block\": 0", "\"block\": -2", "'block'"},
      {"\"kurtosis\": 3.", "\"kurtosis\": -3.", "'kurtosis' is negative"},
      {"\"candidates\": [", "\"candidates\": [], \"x\": [", "'candidates' is empty"},
      {"\"candidates\": [", "\"other\": [", "'candidates' is missing"},
      {"\"format\": \"int4g64\"", "\"format\": \"int3\"", "fp16, int8"},
      {"\"format\": \"int4g64\",\n     \"quantizer\": \"hqq\"", "\"format\": \"fp16\"", "twice"},
      {"\"bytes\": 139264", "\"bytes\": -139264", "in_proj: candidates[1]: key 'bytes'"},
      {"\"bytes\": 139264", "\"bytes\": 139264.5", "'bytes'"},
      {"\"bytes\": 139264", "\"bytes\": true", "'bytes'"},
      {"\"kl\": 0.30000000000000004", "\"kl\": \"0.3\"", "'kl' is not a number"},
      {"\"kl\": 0.30000000000000004", "\"kl\": NaN", "not valid JSON"},
      {"\"kl\": 0.30000000000000004", "\"kl\": 1e999", "out of range"},
      {"\"kl\": 0.30000000000000004", "\"kl\": 1e30", "'kl' is not a number of at most"},
      {"\"kl_stderr\": 5e-324", "\"kl_stderr\": -1", "'kl_stderr' is negative"},
      {"\"ppl\": 106", "\"ppl\": 1e101, \"x\": 106", "'ppl' is not a number"},
      {"\"mse\": 0.3", "\"mse\": -0.3", "'mse' is negative"},
      {"\"kl_windows\": [", "\"kl_windows\": [null,", "'kl_windows'"},
      {"\"kl_windows\": [", "\"kl_windows\": 3, \"x\": [", "'kl_windows' is not a list"},
  };
  for (const Malformed& c : cases) check_refused(good, c, true);
  CHECK_THAT(message_of("3", true), Catch::Contains("not a JSON object"));
  CHECK_THAT(message_of("", true), Catch::Contains("not valid JSON"));
}

TEST_CASE("every truncation of a profile is refused", "[profile_json]") {
  const std::string good = profile_to_json(sample_profile());
  for (size_t length = 0; length + 2 < good.size(); ++length)
    REQUIRE(message_of(good.substr(0, length), true) != "accepted");
}

TEST_CASE("a plan reads back equal", "[profile_json]") {
  Plan a;
  a.method = "klens";
  a.budget = "4.5 bpw";
  a.bytes = 73125000;
  a.bpw = 4.4999999999999996;
  a.predicted_kl = -1e-7;
  a.measured_kl = 0.021;
  a.measured_kl_stderr = 0.0004;
  a.optimality_gap = 0;
  a.units = {{"lm_head", {"fp16", "rtn"}}, {"a.b", {"int4g32", "hqq"}}};
  const Plan b = plan_from_json(plan_to_json(a), "x");
  CHECK(a.method == b.method);
  CHECK(a.budget == b.budget);
  CHECK(a.bytes == b.bytes);
  CHECK(a.bpw == b.bpw);
  CHECK(a.predicted_kl == b.predicted_kl);
  CHECK(a.measured_kl == b.measured_kl);
  CHECK(a.measured_kl_stderr == b.measured_kl_stderr);
  CHECK(a.optimality_gap == b.optimality_gap);
  CHECK(a.units == b.units);
}

TEST_CASE("units may be rows of a matrix", "[profile_json]") {
  Profile p = sample_profile();
  p.units[0].name = "in_proj[0:1024]";
  p.units[1].name = "in_proj[1024:2048]";
  const std::string text = profile_to_json(p);
  CHECK(profile_to_json(profile_from_json(text, "x")) == text);
  Plan plan;
  plan.units = {{"in_proj[0:1024]", {"fp16"}}, {"in_proj[1024:2048]", {"int8"}}};
  CHECK(plan_from_json(plan_to_json(plan), "x").units == plan.units);
}

TEST_CASE("malformed plans are refused by key", "[profile_json]") {
  Plan plan;
  plan.method = "klens";
  plan.budget = "4.5 bpw";
  plan.bytes = 100;
  plan.bpw = 4.5;
  plan.units = {{"u", {"int8", "rtn"}}};
  const std::string good = plan_to_json(plan);
  const Malformed cases[] = {
      {"\"klens_plan\": 1", "\"klens_plan\": 7", "version 7"},
      {"\"klens_plan\": 1", "\"x\": 1", "'klens_plan' is missing"},
      {"\"method\": \"klens\"", "\"method\": []", "'method'"},
      {"\"budget\": \"4.5 bpw\"", "\"budget\": 4.5", "'budget' is not a text"},
      {"\"budget\": \"4.5 bpw\"", "\"budget\": \"4.5\"", "none of '4.5 bpw'"},
      {"\"budget\": \"4.5 bpw\"", "\"budget\": \"-1 bpw\"", "'budget'"},
      {"\"budget\": \"4.5 bpw\"", "\"budget\": \"1.5 bytes\"", "'budget'"},
      {"\"budget\": \"4.5 bpw\"", "\"budget\": \"kl lots\"", "'budget'"},
      {"\"budget\": \"4.5 bpw\"", "\"budget\": \"[1] bpw\"", "'budget'"},
      {"\"bytes\": 100", "\"bytes\": -100", "'bytes'"},
      {"\"bpw\": 4.5", "\"bpw\": -4.5", "'bpw' is negative"},
      {"\"bpw\": 4.5", "\"bpw\": \"4.5\"", "'bpw'"},
      {"\"units\": {", "\"units\": {}, \"x\": {", "'units' is empty"},
      {"\"units\": {", "\"units\": [], \"x\": {", "'units' is not a JSON object"},
      {"\"u\": {", "\"u\": \"int8\", \"v\": {", "units: key 'u' is not a JSON object"},
      {"\"u\": {", "\"u[4:2]\": {", "units: key 'u[4:2]' ends in brackets"},
      {"\"format\": \"int8\"", "\"format\": \"int9\"", "units: u: key 'format'"},
      {"\"format\": \"int8\"", "\"x\": 1", "'format' is missing"},
      {"\"quantizer\": \"rtn\"", "\"quantizer\": 1", "'quantizer'"},
  };
  for (const Malformed& c : cases) check_refused(good, c, false);
  for (const char* budget : {"", "2400000 bytes", "kl 0.02", "3 bpw", "kl 1e-05"})
    CHECK(message_of(with(good, "4.5 bpw", budget), false) == "accepted");
}

}  // namespace klens
