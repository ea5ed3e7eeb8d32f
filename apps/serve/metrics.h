#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace klens::apps {

class Counter {
 public:
  void add(uint64_t more = 1) { value_.fetch_add(more, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Durations by size.
class Histogram {
 public:
  void observe(double seconds);
  std::string text(const std::string& name) const;  // as Prometheus reads it

 private:
  static constexpr std::array<double, 10> kBounds = {0.005, 0.02, 0.05, 0.1, 0.25,
                                                     0.5,   1,    2.5,  10,  60};
  mutable std::mutex mutex_;
  std::array<uint64_t, kBounds.size() + 1> counts_{};
  double sum_ = 0;
};

// What /metrics tells. Any thread may add to it.
struct Metrics {
  Counter prompt_tokens, generated_tokens;
  Counter prefix_queries, prefix_hits;  // tokens
  Counter drafted, accepted;            // tokens fed as drafts, and those of them that were right
  Counter cancelled, rejected;  // answers that nobody waited for; requests told to come later
  Histogram rounds, first_token, requests;

  void count(const std::string& path, int status);
  std::map<std::pair<std::string, int>, uint64_t> counted() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> by_status_;
};

// What is so at the moment.
struct Gauges {
  size_t active, waiting, batch, queue, cache_bytes, connections;
  double uptime_seconds;
};

// In Prometheus's text format, version 0.0.4.
std::string prometheus_text(const Metrics& metrics, const Gauges& gauges,
                            const std::string& version);

}  // namespace klens::apps
