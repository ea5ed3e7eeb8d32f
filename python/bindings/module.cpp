#include "python/bindings/module.h"

namespace klens::python {

Progress progress_of(const ProgressCallable& callable) {
  return [&callable](const klens_progress& progress) {
    const nb::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) nb::raise_python_error();
    if (!callable) return false;
    const ProgressReport report{progress.stage, progress.fraction, progress.seconds_left,
                                progress.job_seconds_left, progress.job_bytes};
    const int stop = PyObject_IsTrue((*callable)(report).ptr());
    if (stop < 0) nb::raise_python_error();
    return stop != 0;
  };
}

bool Ids::read(nb::handle source) {
  // Lists are read into one of these, item by item.
  array.reset();
  copied.clear();
  Array view;
  if (nb::ndarray_check(source) && nb::try_cast(source, view, false)) {
    array = std::move(view);
    return true;
  }
  const nb::object items =
      nb::steal(PySequence_Fast(source.ptr(), "token ids are a sequence of integers"));
  if (!items.is_valid()) {
    PyErr_Clear();
    return false;
  }
  for (Py_ssize_t i = 0; i < PySequence_Size(items.ptr()); ++i) {
    const nb::object item = nb::steal(PySequence_GetItem(items.ptr(), i));
    const nb::object index = nb::steal(item.is_valid() ? PyNumber_Index(item.ptr()) : nullptr);
    int32_t id = 0;
    if (!index.is_valid() || !nb::try_cast(index, id)) {
      PyErr_Clear();
      return false;
    }
    copied.push_back(id);
  }
  return true;
}

Rows rows_of(std::vector<float> numbers, size_t rows) {
  const size_t width = rows == 0 ? 0 : numbers.size() / rows;
  auto kept = std::make_unique<std::vector<float>>(std::move(numbers));
  float* data = kept->data();
  const nb::capsule owner(kept.release(), [](void* vector) noexcept {
    delete static_cast<std::vector<float>*>(vector);
  });
  return Rows(data, {rows, width}, owner);
}

Report report_of(const std::string& json) {
  return nb::cast<Report>(nb::module_::import_("json").attr("loads")(json));
}

Table table_of(const std::string& json) {
  return nb::cast<Table>(nb::module_::import_("json").attr("loads")(json));
}

std::string to_json(const nb::object& value) {
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  return nb::cast<std::string>(nb::module_::import_("json").attr("dumps")(value));
}

}  // namespace klens::python

NB_MODULE(_klens, m) {
  using namespace klens::python;
  m.doc() = "The bindings of klens.h; import klens instead.";
  bind_errors();
  nb::class_<ProgressReport>(m, "Progress", "How far a call is.")
      .def_ro("stage", &ProgressReport::stage, "What is being done.")
      .def_ro("fraction", &ProgressReport::fraction, "Of the stage, from 0 to 1.")
      .def_ro("seconds_left", &ProgressReport::seconds_left,
              "Of the stage, an estimate; negative while unknown.")
      .def_ro("job_seconds_left", &ProgressReport::job_seconds_left,
              "Of the whole job; negative where there is none.")
      .def_ro("job_bytes", &ProgressReport::job_bytes,
              "Memory that the job holds at most beside the model's file; 0: unknown.");
  bind_model(m);
  bind_grammar(m);
  bind_session(m);
  bind_jobs(m);
}
