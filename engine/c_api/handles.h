#pragma once
#include <memory>
#include <optional>
#include <string>

#include "engine/model.h"
#include "engine/prefix_cache.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "klens/klens.h"
#include "loaders/tokenizer/tokenizer.h"

// What the opaque handles of klens.h hold.

struct klens_tokenizer {
  klens::Tokenizer tokenizer;
};

// Whom a model tells what a person may want to know, if anyone.
struct Notice {
  klens_notice_fn fn = nullptr;
  void* user = nullptr;
  void operator()(const std::string& line) const {
    if (fn != nullptr) fn(user, line.c_str());
  }
};

struct klens_model {
  std::shared_ptr<const klens::Model> model;
  std::optional<klens_tokenizer> tokenizer;
  std::string quantised = {};          // quantised_formats of it
  int64_t context_length = 0;          // 0: no limit is known
  std::string tokenizer_problem = {};  // why there is none
  std::string device = {};             // what computes
  Notice notice = {};
};

struct klens_session {
  klens::Session session;
  Notice notice = {};
  klens_progress_fn progress = nullptr;
  void* progress_user = nullptr;
  int32_t wide_caches = 0;  // that `notice` was told of
};

struct klens_sampler {
  klens::Sampler sampler;
};

struct klens_prefix_cache {
  klens::PrefixCache cache;
};

struct klens_decoder {
  klens::StreamDecoder decoder;
  std::string text;  // what the last call returned
};
