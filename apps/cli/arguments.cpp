#include "apps/cli/arguments.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
// Its regular expressions would be made before main(), where nobody can catch what they throw when
// there is no memory.
#define CXXOPTS_NO_REGEX true
#include <cxxopts.hpp>
#include <sstream>

#include "apps/cli/error.h"

namespace klens::apps {
namespace {

bool is_flag(const OptionSpec& option) { return option.value[0] == '\0'; }

// All values are strings here: cxxopts' own number parsing would accept hexadecimal and its
// messages name no option. Vectors would be cut at commas, which regular expressions may hold.
cxxopts::ParseResult parse(const Command& command, const std::vector<std::string>& arguments) {
  cxxopts::Options options("klens");
  for (const OptionGroup& group : command.groups) {
    for (const OptionSpec& option : group.options) {
      const auto value = cxxopts::value<std::string>();
      if (is_flag(option)) value->implicit_value("1");
      options.add_options()(option.names, "", value);
    }
  }
  std::vector<const char*> argv = {"klens"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return options.parse(static_cast<int>(argv.size()), argv.data());
}

// cxxopts puts names between typographic quotes.
std::string plain_quotes(std::string text) {
  for (const char* quote : {"\xe2\x80\x98", "\xe2\x80\x99"}) {
    for (size_t at; (at = text.find(quote)) != std::string::npos;) text.replace(at, 3, "'");
  }
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

// cxxopts keeps the names of an option in an order of its own, so its key may be any of them.
std::map<std::string, std::string> canonical_names(const Command& command) {
  std::map<std::string, std::string> canonical;
  for (const OptionGroup& group : command.groups) {
    for (const OptionSpec& option : group.options) {
      std::istringstream names(option.names);
      for (std::string name; std::getline(names, name, ',');)
        canonical[name] = first_long_name(option.names);
    }
  }
  return canonical;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

}  // namespace

std::string first_long_name(const char* names) {
  std::istringstream in(names);
  std::string name;
  while (std::getline(in, name, ',')) {
    if (name.size() > 1) break;
  }
  return name;
}

std::string environment_name(const std::string& name) {
  std::string variable = "KLENS_ARG_" + name;
  for (char& c : variable) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return variable;
}

Arguments::Arguments(const Command& command, const std::vector<std::string>& arguments) {
  try {
    const cxxopts::ParseResult result = parse(command, arguments);
    const std::map<std::string, std::string> canonical = canonical_names(command);
    for (const cxxopts::KeyValue& argument : result.arguments()) {
      const std::string& name = canonical.at(argument.key());
      Given& given = given_[name];
      given.values.push_back(argument.value());
      given.spelled = "--" + name;
    }
    positionals_ = result.unmatched();
  } catch (const cxxopts::exceptions::exception& e) {
    throw UsageError(plain_quotes(e.what()));
  }
  for (const OptionGroup& group : command.groups) {
    for (const OptionSpec& option : group.options) {
      const std::string name = first_long_name(option.names);
      if (name == "help" || given_.count(name) != 0) continue;
      const std::string variable = environment_name(name);
      const char* value = std::getenv(variable.c_str());
      if (value == nullptr || value[0] == '\0') continue;
      given_[name] = {{value}, variable, true};
    }
  }
}

const Arguments::Given* Arguments::find(const std::string& name) const {
  const auto it = given_.find(name);
  return it == given_.end() ? nullptr : &it->second;
}

bool Arguments::given(const std::string& name) const { return find(name) != nullptr; }

bool Arguments::on_command_line(const std::string& name) const {
  const Given* given = find(name);
  return given != nullptr && !given->from_environment;
}

bool Arguments::flag(const std::string& name) const {
  const Given* given = find(name);
  if (given == nullptr) return false;
  const std::string& value = given->values.back();
  for (const char* yes : {"1", "true", "yes", "on"}) {
    if (value == yes) return true;
  }
  for (const char* no : {"0", "false", "no", "off"}) {
    if (value == no) return false;
  }
  throw UsageError(given->spelled + " is either on or off (1 or 0), not '" + value + "'");
}

std::optional<std::string> Arguments::text(const std::string& name) const {
  const Given* given = find(name);
  if (given == nullptr) return std::nullopt;
  return given->values.back();
}

std::string Arguments::text_or(const std::string& name, const std::string& otherwise) const {
  return text(name).value_or(otherwise);
}

std::string Arguments::choice(const std::string& name,
                              std::initializer_list<const char*> allowed) const {
  const Given* given = find(name);
  if (given == nullptr) return *allowed.begin();
  const std::string& value = given->values.back();
  std::string list;
  for (const char* word : allowed) {
    if (value == word) return value;
    list += (list.empty() ? "" : ", ") + std::string(word);
  }
  throw UsageError(given->spelled + " takes one of " + list + ", not '" + value + "'");
}

std::vector<std::string> Arguments::texts(const std::string& name) const {
  const Given* given = find(name);
  if (given == nullptr) return {};
  return given->from_environment ? lines_of(given->values.back()) : given->values;
}

int64_t Arguments::count(const std::string& name, int64_t otherwise, int64_t least,
                         int64_t most) const {
  const Given* given = find(name);
  if (given == nullptr) return otherwise;
  const std::string& value = given->values.back();
  const std::optional<int64_t> number = parse_integer(value);
  if (!number || *number < least || *number > most) {
    throw UsageError(given->spelled + " takes a whole number from " + std::to_string(least) +
                     " to " + std::to_string(most) + ", not '" + value + "'");
  }
  return *number;
}

double Arguments::number(const std::string& name, double otherwise, double least,
                         double most) const {
  const Given* given = find(name);
  if (given == nullptr) return otherwise;
  const std::string& value = given->values.back();
  const std::optional<double> number = parse_number(value);
  if (!number || *number < least || *number > most) {
    std::ostringstream range;
    range << " from " << least << " to " << most;
    throw UsageError(given->spelled + " takes a number" + range.str() + ", not '" + value + "'");
  }
  return *number;
}

std::vector<double> Arguments::numbers(const std::string& name, double least, double most) const {
  std::vector<double> numbers;
  const Given* given = find(name);
  if (given == nullptr) return numbers;
  for (const std::string& word : words_of(given->values.back())) {
    const std::optional<double> number = parse_number(word);
    if (!number || *number < least || *number > most) {
      std::ostringstream range;
      range << least << " to " << most;
      throw UsageError(given->spelled + " takes numbers from " + range.str() +
                       " with commas, not '" + word + "'");
    }
    numbers.push_back(*number);
  }
  return numbers;
}

uint64_t Arguments::seed() const { return static_cast<uint64_t>(count("seed", 0, 0, INT64_MAX)); }

std::optional<int64_t> Arguments::bytes(const std::string& name) const {
  const Given* given = find(name);
  if (given == nullptr) return std::nullopt;
  const std::optional<int64_t> size = parse_bytes(given->values.back());
  if (!size) {
    throw UsageError(given->spelled +
                     " takes a number of bytes such as 2500000, 2.5M or 3G, not '" +
                     given->values.back() + "'");
  }
  return size;
}

std::string Arguments::one_of(std::initializer_list<const char*> names) const {
  const Given* chosen = nullptr;
  std::string chosen_name;
  for (const char* name : names) {
    const Given* given = find(name);
    if (given == nullptr) continue;
    if (chosen != nullptr && chosen->from_environment == given->from_environment)
      throw UsageError(chosen->spelled + " and " + given->spelled + " exclude each other");
    if (chosen != nullptr && given->from_environment) continue;
    chosen = given;
    chosen_name = name;
  }
  return chosen_name;
}

std::vector<std::string> words_of(const std::string& list) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    words.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::optional<int64_t> parse_integer(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!std::isfinite(value)) return std::nullopt;  // from_chars reads "inf" and "nan"
  return value;
}

std::optional<int64_t> parse_bytes(const std::string& text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string suffix = text.substr(digits);
  const std::optional<double> number = parse_number(text.substr(0, digits));
  double unit = 1;
  if (!suffix.empty()) {
    const std::string letters = "KMGT";
    const size_t power = letters.find(static_cast<char>(std::toupper(suffix[0])));
    const std::string rest = suffix.substr(1);
    if (power == std::string::npos || (rest != "" && rest != "B" && rest != "iB"))
      return std::nullopt;
    unit = std::pow(rest == "B" ? 1000.0 : 1024.0, static_cast<double>(power + 1));
  } else if (text.find('.') != std::string::npos) {
    return std::nullopt;  // half a byte
  }
  if (!number) return std::nullopt;
  const double size = std::floor(*number * unit);
  if (size < 1 || size > 0x1p53) return std::nullopt;
  return static_cast<int64_t>(size);
}

}  // namespace klens::apps
