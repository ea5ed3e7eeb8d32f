#include "apps/serve/metrics.h"

#include <algorithm>

#include "apps/cli/output.h"

namespace klens::apps {
namespace {

std::string head(const std::string& name, const char* type, const char* about) {
  return "# HELP " + name + " " + about + "\n# TYPE " + name + " " + type + "\n";
}

std::string counter(const std::string& name, const char* about, uint64_t value) {
  return head(name, "counter", about) + name + " " + std::to_string(value) + "\n";
}

std::string gauge(const std::string& name, const char* about, double value) {
  return head(name, "gauge", about) + name + " " + formatted("%.17g", value) + "\n";
}

}  // namespace

void Histogram::observe(double seconds) {
  const auto bucket = static_cast<size_t>(
      std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin());
  const std::lock_guard lock(mutex_);
  ++counts_[bucket];
  sum_ += seconds;
}

std::string Histogram::text(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  std::string text;
  uint64_t total = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i];
    const std::string bound = i < kBounds.size() ? formatted("%g", kBounds[i]) : "+Inf";
    text += name + "_bucket{le=\"" + bound + "\"} " + std::to_string(total) + "\n";
  }
  return text + name + "_sum " + formatted("%.9g", sum_) + "\n" + name + "_count " +
         std::to_string(total) + "\n";
}

void Metrics::count(const std::string& path, int status) {
  const std::lock_guard lock(mutex_);
  ++by_status_[{path, status}];
}

std::map<std::pair<std::string, int>, uint64_t> Metrics::counted() const {
  const std::lock_guard lock(mutex_);
  return by_status_;
}

std::string prometheus_text(const Metrics& metrics, const Gauges& gauges,
                            const std::string& version) {
  std::string text = head("klens_build_info", "gauge", "The version that runs.") +
                     "klens_build_info{version=\"" + version + "\"} 1\n";
  text += head("klens_requests_total", "counter", "Requests by path and HTTP status.");
  for (const auto& [key, value] : metrics.counted())
    text += "klens_requests_total{path=\"" + key.first + "\",status=\"" +
            std::to_string(key.second) + "\"} " + std::to_string(value) + "\n";
  text += counter("klens_prompt_tokens_total", "Tokens of prompts.", metrics.prompt_tokens.value());
  text += counter("klens_generated_tokens_total", "Tokens generated.",
                  metrics.generated_tokens.value());
  text += counter("klens_prefix_queries_total", "Prompt tokens looked up in the prefix cache.",
                  metrics.prefix_queries.value());
  text += counter("klens_prefix_hits_total",
                  "Prompt tokens that the prefix cache had, which were not read again.",
                  metrics.prefix_hits.value());
  text += counter("klens_drafted_tokens_total", "Tokens fed as drafts (--draft).",
                  metrics.drafted.value());
  text +=
      counter("klens_accepted_drafts_total", "Drafts that were right.", metrics.accepted.value());
  text += counter("klens_cancelled_total", "Answers that were dropped as their client went away.",
                  metrics.cancelled.value());
  text += counter("klens_rejected_total", "Requests refused with 429, as the queue was full.",
                  metrics.rejected.value());
  const auto count = [](size_t value) { return static_cast<double>(value); };
  text += gauge("klens_answers_active", "Answers being made.", count(gauges.active));
  text += gauge("klens_answers_waiting", "Answers waiting in the queue.", count(gauges.waiting));
  text += gauge("klens_answers_active_limit", "--batch.", count(gauges.batch));
  text += gauge("klens_answers_waiting_limit", "--queue.", count(gauges.queue));
  text +=
      gauge("klens_prefix_cache_bytes", "Memory of the prefix cache.", count(gauges.cache_bytes));
  text += gauge("klens_connections", "Open connections.", count(gauges.connections));
  text += gauge("klens_uptime_seconds", "Seconds since the start.", gauges.uptime_seconds);
  const auto histogram = [&](const char* name, const char* about, const Histogram& of) {
    text += head(name, "histogram", about) + of.text(name);
  };
  histogram("klens_round_seconds", "Passes over the weights.", metrics.rounds);
  histogram("klens_first_token_seconds", "From a request to the first token of an answer.",
            metrics.first_token);
  histogram("klens_request_seconds", "Requests, from their first byte to their last.",
            metrics.requests);
  return text;
}

}  // namespace klens::apps
