#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "klens/klens.h"

namespace klens::apps {

// What the command line says of a server.

struct ConnectionLimits {
  size_t header_bytes = size_t{64} << 10;  // of a request, its first line included
  size_t body_bytes = size_t{4} << 20;
  std::chrono::seconds request_time{60};  // to send a request, from its first byte
  std::chrono::seconds idle_time{30};     // between requests
  std::chrono::seconds write_time{30};    // that a client takes nothing
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0: any that is free
  size_t connections = 256;
  ConnectionLimits limits;
  // Names by which clients may call us, beside IP addresses, localhost and this machine's.
  std::vector<std::string> hosts;
  std::vector<std::string> origins;  // of pages that may ask, "https://chat.example"
  std::string key;                   // that clients must send; "": none
  std::string log;                   // as RequestLog has it
};

struct SchedulerLimits {
  size_t batch = 1;        // answers made at once
  size_t queue = 0;        // answers that may wait
  int32_t part = 512;      // tokens of prompts that a pass reads; fewer beside answers under way
  size_t cache_bytes = 0;  // of prompts that were read; 0: none are kept
  size_t drafts = 0;       // tokens guessed with each of an answer that is made alone; at most 63
};

struct ServiceOptions {
  std::string name;                 // of the model, as clients call it
  std::string path;                 // of the model
  klens_sampler_options sampler{};  // what a request does not say
  bool fixed_seed = false;          // a request without a seed has the sampler's, not one by chance
  int64_t context_tokens = 0;       // of a prompt and its answer together, at most
  int64_t answer_tokens = 0;        // at most
  SchedulerLimits scheduler;
};

}  // namespace klens::apps
