// The page to chat with. Its own script and styles are all that it may run or load, so that nothing
// a model writes can: they carry a word that nobody can guess.
#include "apps/serve/page_files.h"
#include "apps/serve/service.h"

namespace klens::apps {

void add_page(HttpServer& server) {
  server.get(
      "/",
      [](const auto&, const auto&, httplib::Response& response) {
        const std::string nonce = new_id(""), place = "{{nonce}}";
        std::string text = page_files().front().text;
        for (size_t at; (at = text.find(place)) != std::string::npos;)
          text.replace(at, place.size(), nonce);
        response.set_header("Content-Security-Policy",
                            "default-src 'none'; script-src 'nonce-" + nonce +
                                "'; style-src 'nonce-" + nonce +
                                "'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                                "frame-ancestors 'none'");
        response.set_header("X-Content-Type-Options", "nosniff");
        response.set_header("Referrer-Policy", "no-referrer");
        response.set_header("Cache-Control", "no-store");
        response.set_content(text, "text/html; charset=utf-8");
      },
      true);
}

}  // namespace klens::apps
