#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "apps/serve/service.h"
#include "apps/serve/tools.h"

namespace klens::apps {

// The messages of a request as chat templates take them: contents are texts, arguments of calls are
// objects, and a developer is the system. Throws ApiError.
Json template_messages(const Json& list);

struct ChatPrompt {
  std::string text;
  std::vector<int32_t> ids;
  // Where the prompts of next turns, and of this one asked otherwise, are likely to part from it.
  std::vector<size_t> cuts;
  bool thinking = false;        // it ends within thoughts, which the answer goes on with
  std::string end_of_thoughts;  // what ends those
};

// What the model's chat template makes of messages, tools and variables of the template's own
// (chat_template_kwargs; null: none). Throws ApiError where the template has none of them.
ChatPrompt chat_prompt(const Service& service, const Json& messages, const Tools& tools,
                       const Json* variables);

// Makes ask's answer one call of these tools and nothing else, written as the model's template
// writes calls. prompt: as chat_prompt makes it, with the same tools and variables. Throws Failure.
void constrain_to_call(Service& service, const std::string& prompt, const Tools& tools,
                       const Json* variables, Ask& ask);

}  // namespace klens::apps
