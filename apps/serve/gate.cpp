#include "apps/serve/gate.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "apps/serve/api_error.h"

namespace klens::apps {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

// "localhost" of "LocalHost:8080", "::1" of "[::1]:8080".
std::string without_port(const std::string& host) {
  if (!host.empty() && host[0] == '[') return lower(host.substr(1, host.find(']') - 1));
  return lower(host.substr(0, host.find(':')));
}

bool is_address(const std::string& name) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, name.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

std::string this_machine() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return lower(name);
}

// In a time that does not depend on where they differ.
bool same(const std::string& given, const std::string& key) {
  unsigned char differs = given.size() != key.size();
  for (size_t i = 0; i < key.size(); ++i)
    differs |= static_cast<unsigned char>(key[i] ^ (given.empty() ? 0 : given[i % given.size()]));
  return differs == 0;
}

}  // namespace

Gate::Gate(std::vector<std::string> hosts, std::vector<std::string> origins, std::string key)
    : hosts_(std::move(hosts)), origins_(std::move(origins)), key_(std::move(key)) {
  for (std::string& host : hosts_) host = without_port(host);
  for (std::string& origin : origins_) origin = lower(origin);
  hosts_.push_back("localhost");
  if (const std::string name = this_machine(); !name.empty()) hosts_.push_back(name);
}

bool Gate::is_ours(const std::string& host) const {
  const std::string name = without_port(host);
  return is_address(name) || std::find(hosts_.begin(), hosts_.end(), name) != hosts_.end();
}

bool Gate::allows_origin(const std::string& origin) const {
  return std::find(origins_.begin(), origins_.end(), lower(origin)) != origins_.end();
}

bool Gate::has_key(const httplib::Request& request) const {
  const std::string given = request.get_header_value("Authorization"), kind = "Bearer ";
  return given.compare(0, kind.size(), kind) == 0 && same(given.substr(kind.size()), key_);
}

void Gate::check(const httplib::Request& request, bool open) const {
  const std::string host = request.get_header_value("Host");
  if (request.get_header_value_count("Host") != 1 || !is_ours(host))
    throw ApiError(403,
                   "this server does not go by the name in Host; --allow-host NAME allows one");
  const std::string origin = request.get_header_value("Origin");
  const bool allowed = allows_origin(origin);
  const bool own = lower(origin) == "http://" + lower(host);
  if (!origin.empty() && !own && !allowed)
    throw ApiError(403, "pages of this origin may not ask; --allow-origin URL allows one");
  if (origin.empty() && request.get_header_value("Sec-Fetch-Site") == "cross-site" &&
      request.get_header_value("Sec-Fetch-Mode") != "navigate")
    throw ApiError(403, "pages of other sites may not ask; --allow-origin URL allows one");
  const bool preflight = request.method == "OPTIONS" && allowed;
  if (!key_.empty() && !open && !preflight && !has_key(request))
    throw ApiError(401, "the API key is missing or wrong: send Authorization: Bearer KEY", "",
                   "invalid_api_key");
}

}  // namespace klens::apps
