#pragma once
#include <string>

#include "loaders/checkpoint.h"

namespace klens {

// Whether the model's author gave a chat template, or several of which none is the default.
bool has_chat_template(const ModelTexts& texts);

// The prompt that the chat template makes of messages, in the context that the `transformers`
// package gives it: messages, tools and documents (null where there are none),
// add_generation_prompt and the special tokens that tokenizer_config.json names. A template that
// prints contents only where they are lists of parts is given such lists.
//
// `messages` is JSON: a list of messages, or an object with `messages` and whatever else the
// template may know (`tools`, `documents`, `enable_thinking`, ...). Members keep their order.
// `name` begins messages of errors. Throws Error.
std::string chat_prompt(const ModelTexts& texts, const std::string& name,
                        const std::string& messages, bool add_generation_prompt);

}  // namespace klens
