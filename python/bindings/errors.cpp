#include "python/bindings/errors.h"

#include <cstring>

namespace klens::python {
namespace {

const char* class_name(klens_status status) {
  switch (status) {
    case KLENS_BAD_ARGUMENT:
      return "BadArgument";
    case KLENS_IO:
      return "IoError";
    case KLENS_BAD_FILE:
      return "BadFile";
    case KLENS_UNSUPPORTED:
      return "Unsupported";
    case KLENS_NO_MEMORY:
      return "NoMemory";
    case KLENS_INTERRUPTED:
      return "Interrupted";
    default:
      return "InternalError";
  }
}

}  // namespace

nb::object error_class(klens_status status) {
  return nb::module_::import_("klens.errors").attr(class_name(status));
}

void bind_errors() {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Failure& failure) {
      const nb::object type = error_class(failure.status);
      PyErr_SetString(type.ptr(), failure.what());
    }
  });
}

void throw_bad_argument(const char* what) {
  klens_error error{};
  error.status = KLENS_BAD_ARGUMENT;
  std::strncpy(error.message, what, sizeof error.message - 1);
  throw Failure(error);
}

}  // namespace klens::python
