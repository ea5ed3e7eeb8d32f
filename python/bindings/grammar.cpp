#include "python/bindings/module.h"

namespace klens::python {
namespace {

using Mask = nb::ndarray<nb::numpy, bool, nb::ndim<1>, nb::c_contig>;

Grammar make_grammar(const Model& model, klens_grammar_kind kind, const std::string& text,
                     const std::string& name) {
  return released([&] { return Grammar(model, kind, text, name); });
}

// A byte for each id, as numpy indexes logits by.
Mask mask_of(const std::vector<uint64_t>& bits, size_t vocab) {
  auto kept = std::make_unique<bool[]>(vocab);
  for (size_t id = 0; id < vocab; ++id) kept[id] = (bits[id / 64] >> (id % 64) & 1) != 0;
  bool* data = kept.release();
  const nb::capsule owner(data, [](void* ids) noexcept { delete[] static_cast<bool*>(ids); });
  return Mask(data, {vocab}, owner);
}

// Keeps what says how many ids there are.
struct State {
  GrammarState state;
  size_t vocab;
};

void bind_state(nb::module_& m) {
  nb::class_<State>(m, "GrammarState",
                    "How far one text is in a grammar, for who chooses tokens alone; of one thread "
                    "at a time.")
      .def(
          "__init__",
          [](State* self, const Grammar& grammar) {
            new (self) State{GrammarState(grammar), static_cast<size_t>(grammar.vocab())};
          },
          "grammar"_a)
      .def(
          "fork",
          [](const State& self) {
            return State{self.state.fork(), self.vocab};
          },
          "An independent copy.")
      .def(
          "reset", [](State& self) { self.state.reset(); }, "Back to the empty text.")
      .def(
          "accept", [](State& self, int32_t id) { self.state.accept(id); }, "id"_a,
          "The text goes on with this token; BadArgument, and it stays as it was, where it may "
          "not.")
      .def(
          "mask", [](State& self) { return mask_of(self.state.mask(), self.vocab); },
          "Which ids may be next, [vocab]: logits[~mask] = -inf.")
      .def_prop_ro(
          "progress", [](const State& self) { return name_of(self.state.progress()); },
          "\"open\": the text is not complete; \"complete\": it is, and may go on; \"finished\": "
          "nothing may follow but the end of a turn.");
}

}  // namespace

const char* name_of(klens_grammar_progress progress) {
  switch (progress) {
    case KLENS_GRAMMAR_OPEN:
      return "open";
    case KLENS_GRAMMAR_COMPLETE:
      return "complete";
    case KLENS_GRAMMAR_FINISHED:
      return "finished";
  }
  return "open";
}

void bind_grammar(nb::module_& m) {
  nb::class_<Grammar>(m, "Grammar",
                      "A language of texts, made ready for the tokens of a model. Any number of "
                      "threads may use it.")
      .def_static(
          "gbnf",
          [](const Model& model, const std::string& text, const std::string& name) {
            return make_grammar(model, KLENS_GRAMMAR_GBNF, text, name);
          },
          "model"_a, "text"_a, "name"_a = "",
          "A grammar in llama.cpp's notation; texts begin with `root`. name: what messages call "
          "it.")
      .def_static(
          "json_schema",
          [](const Model& model, const nb::object& schema, const std::string& name) {
            return make_grammar(model, KLENS_GRAMMAR_JSON_SCHEMA, to_json(schema), name);
          },
          "model"_a, "schema"_a, "name"_a = "",
          nb::sig(
              "def json_schema(model: Model, schema: collections.abc.Mapping[str, typing.Any] | "
              "str | bool, name: str = '') -> Grammar"),
          "JSON that a schema allows; the schema is a text or what json.loads makes of it. What it "
          "asks for and klens cannot enforce is refused by name.")
      .def_static(
          "json_object",
          [](const Model& model) { return make_grammar(model, KLENS_GRAMMAR_JSON_OBJECT, "", ""); },
          "model"_a, "Any JSON object.");
  bind_state(m);
}

}  // namespace klens::python
