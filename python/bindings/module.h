#pragma once
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "python/bindings/errors.h"

namespace klens::python {

using namespace nb::literals;

void bind_model(nb::module_& m);
void bind_grammar(nb::module_& m);
void bind_session(nb::module_& m);
void bind_jobs(nb::module_& m);

// Token ids as callers have them: an array of int32 is read where it lies, anything else that
// numbers come out of is copied. Numbers that are not whole are not ids.
struct Ids {
  using Array = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
  std::optional<Array> array;
  std::vector<int32_t> copied;

  bool read(nb::handle source);  // whether there are ids in it
};
inline std::span<const int32_t> span_of(const Ids& ids) {
  // The library is given no null pointer, so that it says what is wrong.
  static constexpr int32_t kNone = 0;
  const std::span<const int32_t> all =
      ids.array ? std::span(ids.array->data(), ids.array->size()) : std::span(ids.copied);
  return all.empty() ? std::span(&kNone, 0) : all;
}

// A klens_progress that may be kept.
struct ProgressReport {
  std::string stage;
  double fraction, seconds_left, job_seconds_left;
  int64_t job_bytes;
};
// A callable that takes one and says whether to stop.
using ProgressCallable = std::optional<nb::typed<nb::callable, nb::object(ProgressReport)>>;
// With it, or without, a call can be ended by Ctrl-C: what a signal's handler raises comes out of
// the call.
Progress progress_of(const ProgressCallable& callable);

// JSON of klens.h as Python's own lists and dictionaries, and back; a text stays as it is.
using Report = nb::typed<nb::dict, nb::str, nb::any>;
using Table = nb::typed<nb::list, Report>;
Report report_of(const std::string& json);
Table table_of(const std::string& json);
std::string to_json(const nb::object& value);

// What an option's text stands for.
template <class Enum>
struct Choice {
  const char* name;
  Enum value;
};
template <class Enum, size_t N>
Enum choice(const std::string& given, const Choice<Enum> (&choices)[N], const char* what) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (given == name) return value;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  throw_bad_argument((std::string(what) + " must be one of " + names).c_str());
}
// "open", "complete" or "finished".
const char* name_of(klens_grammar_progress progress);

// Numbers [rows][width] as an array that owns them.
using Rows = nb::ndarray<nb::numpy, float, nb::ndim<2>, nb::c_contig>;
Rows rows_of(std::vector<float> numbers, size_t rows);

// NULL where there is none.
inline const char* text_or_null(const std::optional<std::string>& text) {
  return text ? text->c_str() : nullptr;
}

// Runs a call without the GIL.
template <class Call>
auto released(Call&& call) {
  const nb::gil_scoped_release release;
  return call();
}

}  // namespace klens::python

template <>
struct nanobind::detail::type_caster<klens::python::Ids> {
  NB_TYPE_CASTER(klens::python::Ids,
                 const_name("collections.abc.Sequence[int] | numpy.typing.NDArray[numpy.int32]"))
  bool from_python(handle source, uint8_t, cleanup_list*) { return value.read(source); }
};
