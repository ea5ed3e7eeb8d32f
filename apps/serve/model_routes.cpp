// What the server tells of itself: models, health, metrics.
#include <ctime>

#include "apps/serve/service.h"

namespace klens::apps {
namespace {

Json model_json(const Service& service) {
  Json meta = Json::object();
  for (const char* key : {"architecture", "parameters", "bytes", "bpw", "vocab", "layers"})
    if (service.facts.contains(key)) meta[key] = service.facts[key];
  meta["context"] = service.options.context_tokens;
  meta["chat"] = klens_model_has_chat_template(service.model) != 0;
  meta["quantised"] = klens_model_quantised(service.model);
  meta["device"] = klens_model_device(service.model);
  meta["threads"] = klens_model_threads(service.model);
  return {{"id", service.options.name},
          {"object", "model"},
          {"created", service.created},
          {"owned_by", "klens"},
          {"meta", meta}};
}

}  // namespace

void add_model_routes(HttpServer& server, Service& service) {
  server.get(
      "/health",
      [&server](const auto&, const auto&, httplib::Response& response) {
        const bool stopping = server.stopping();
        answer_json(response, {{"status", stopping ? "stopping" : "ok"}}, stopping ? 503 : 200);
      },
      true);
  server.get("/v1/models", [&service](const auto&, const auto&, httplib::Response& response) {
    answer_json(response, {{"object", "list"}, {"data", Json::array({model_json(service)})}});
  });
  server.get("/v1/models/" + service.options.name,
             [&service](const auto&, const auto&, httplib::Response& response) {
               answer_json(response, model_json(service));
             });
  server.get("/metrics", [&](const auto&, const auto&, httplib::Response& response) {
    const Gauges gauges = {
        .active = service.scheduler.active(),
        .waiting = service.scheduler.waiting(),
        .batch = service.options.scheduler.batch,
        .queue = service.options.scheduler.queue,
        .cache_bytes = service.scheduler.cache_bytes(),
        .connections = server.connections(),
        .uptime_seconds = static_cast<double>(std::time(nullptr) - service.created)};
    response.set_content(prometheus_text(service.metrics, gauges, klens_version()),
                         "text/plain; version=0.0.4");
  });
}

}  // namespace klens::apps
