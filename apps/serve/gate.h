#pragma once
#include <httplib.h>

#include <string>
#include <vector>

namespace klens::apps {

// Who may ask. A page on another site can make a browser send requests to a server on loopback, and
// a name that its owner points to 127.0.0.1 makes that server the page's own: so the Host must be a
// name of ours, and a request that a page sends must be our own page's or an allowed one's.
class Gate {
 public:
  // hosts: names by which clients may call us, beside IP addresses, localhost and this machine's.
  // origins: of pages that may ask, "https://chat.example". key: "" where none is asked for.
  Gate(std::vector<std::string> hosts, std::vector<std::string> origins, std::string key);

  // Throws ApiError unless the request may pass. open: without the key, too.
  void check(const httplib::Request& request, bool open) const;
  bool allows_origin(const std::string& origin) const;

 private:
  bool is_ours(const std::string& host) const;
  bool has_key(const httplib::Request& request) const;

  std::vector<std::string> hosts_, origins_;
  std::string key_;
};

}  // namespace klens::apps
