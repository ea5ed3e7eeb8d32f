#pragma once
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace klens::apps {

// What a client did wrong, or could not be given: an HTTP status and OpenAI's error object.
class ApiError : public std::runtime_error {
 public:
  // param: the field that is at fault; "": none is.
  ApiError(int http_status, const std::string& message, std::string field = "",
           std::string error_code = "")
      : std::runtime_error(message),
        status(http_status),
        param(std::move(field)),
        code(std::move(error_code)) {}

  int status;
  std::string param, code;
};

// {"error":{"message","type","param","code"}}
nlohmann::ordered_json error_json(const ApiError& error);

}  // namespace klens::apps
