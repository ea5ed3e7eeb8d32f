#include "apps/serve/answer_parser.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "apps/cli/handles.h"
#include "apps/serve/answer_text.h"

namespace klens::apps {
namespace {

struct Thoughts {
  std::string_view open, close;
};
constexpr std::array<Thoughts, 2> kThoughts = {{{"<think>", "</think>"}, {"[THINK]", "[/THINK]"}}};
constexpr std::string_view kWhiteSpace = " \t\r\n";

size_t space_before(std::string_view text) {
  return std::min(text.find_first_not_of(kWhiteSpace), text.size());
}

// The length of text without the space at its end.
size_t without_space_after(std::string_view text) {
  const size_t last = text.find_last_not_of(kWhiteSpace);
  return last == std::string_view::npos ? 0 : last + 1;
}

void add(AnswerParts& to, AnswerParts&& more) {
  to.reasoning += more.reasoning;
  to.content += more.content;
  std::move(more.calls.begin(), more.calls.end(), std::back_inserter(to.calls));
}

}  // namespace

AnswerParser::AnswerParser(bool thinking, const Tools* tools)
    : tools_(tools != nullptr && !tools->empty() ? tools : nullptr),
      state_(thinking ? State::kThinking : State::kBeginning),
      trims_(thinking) {}

AnswerParts AnswerParser::push(std::string_view text) {
  text_ += text;
  return advance(false);
}

AnswerParts AnswerParser::finish() { return advance(true); }

AnswerParts AnswerParser::advance(bool all) {
  AnswerParts parts;
  for (bool more = true; more;) {
    if (trims_ && state_ != State::kCalling) {
      text_.erase(0, space_before(text_));
      if (!text_.empty()) trims_ = false;
    }
    switch (state_) {
      case State::kBeginning:
        more = begin(all);
        break;
      case State::kThinking:
        more = think(all, parts);
        break;
      case State::kSaying:
        more = say(all, parts);
        break;
      case State::kCalling:
        more = call(all, parts);
        break;
    }
  }
  return parts;
}

bool AnswerParser::begin(bool all) {
  const std::string_view text = std::string_view(text_).substr(space_before(text_));
  for (const Thoughts& thoughts : kThoughts) {
    if (text.starts_with(thoughts.open)) {
      text_.erase(0, space_before(text_) + thoughts.open.size());
      close_ = thoughts.close;
      state_ = State::kThinking;
      trims_ = true;
      return true;
    }
    if (!all && thoughts.open.starts_with(text)) return false;  // it may still become one
  }
  state_ = State::kSaying;
  return true;
}

bool AnswerParser::think(bool all, AnswerParts& parts) {
  size_t end = std::string::npos, length = 0, kept = 0;
  for (const Thoughts& thoughts : kThoughts) {
    if (!close_.empty() && close_ != thoughts.close) continue;
    kept = std::max(kept, begun(text_, thoughts.close));
    if (const size_t at = text_.find(thoughts.close); at < end) {
      end = at;
      length = thoughts.close.size();
    }
  }
  const bool closed = end != std::string::npos;
  const std::string_view told = std::string_view(text_).substr(0, closed ? end
                                                                  : all  ? text_.size()
                                                                         : text_.size() - kept);
  const size_t count = without_space_after(told);  // more of it may come
  parts.reasoning += told.substr(0, count);
  text_.erase(0, closed ? end + length : all ? text_.size() : count);
  if (!closed) return false;
  state_ = State::kSaying;
  trims_ = true;
  return true;
}

void AnswerParser::say_text(std::string text, AnswerParts& parts) {
  if (text.empty()) return;
  said_ = true;
  parts.content += text;
}

bool AnswerParser::say(bool all, AnswerParts& parts) {
  if (text_.empty()) return false;
  if (tools_ == nullptr) {
    say_text(std::exchange(text_, ""), parts);
    return false;
  }
  // Bare JSON is a call where it is the whole answer.
  if (!said_ && !called_ && begins_bare_call(text_)) {
    if (!all) return false;
    if (auto calls = parse_bare_calls(text_, *tools_); !calls.empty()) {
      text_.clear();
      made(std::move(calls), parts);
      return false;
    }
  }
  size_t at = std::string::npos, kept = 0;
  for (const ToolStyle& style : tool_styles()) {
    kept = std::max(kept, begun(text_, style.open));
    if (const size_t found = text_.find(style.open); found < at) {
      at = found;
      style_ = &style;
    }
  }
  const bool opened = at != std::string::npos;
  const std::string_view told = std::string_view(text_).substr(0, opened ? at
                                                                  : all  ? text_.size()
                                                                         : text_.size() - kept);
  // Space before a call belongs to the call.
  const size_t count = opened || !all ? without_space_after(told) : told.size();
  say_text(std::string(told.substr(0, count)), parts);
  if (opened) space_ = told.substr(count);
  text_.erase(0, opened ? at : count);
  if (!opened) return false;
  state_ = State::kCalling;
  searched_ = std::string_view(style_->open).size();
  return true;
}

bool AnswerParser::call(bool all, AnswerParts& parts) {
  const std::string_view open = style_->open, close = style_->close;
  const std::string_view text = text_;
  for (size_t end; !close.empty() && (end = text.find(close, searched_)) != std::string_view::npos;
       searched_ = end + 1) {
    auto calls = style_->parse(text.substr(open.size(), end - open.size()), *tools_, true);
    if (calls.empty()) continue;  // the end may stand within a text
    text_.erase(0, end + close.size());
    made(std::move(calls), parts);
    state_ = State::kSaying;
    trims_ = true;
    return true;
  }
  if (!all) {
    const size_t tail = text_.size() - begun(text_, close.empty() ? open : close);
    searched_ = std::max(searched_, tail);
    return false;
  }
  // Models may stop where the end would come.
  if (auto calls = style_->parse(text.substr(open.size()), *tools_, close.empty());
      !calls.empty()) {
    text_.clear();
    made(std::move(calls), parts);
    return false;
  }
  // It is no call: what it began with is text, and what follows may be one.
  say_text(space_ + text_.substr(0, open.size()), parts);
  text_.erase(0, open.size());
  state_ = State::kSaying;
  return true;
}

void AnswerParser::made(std::vector<ToolCall> calls, AnswerParts& parts) {
  called_ = true;
  add(parts, AnswerParts{"", "", std::move(calls)});
}

std::string end_of_thoughts(std::string_view prompt) {
  prompt = prompt.substr(0, without_space_after(prompt));
  for (const Thoughts& thoughts : kThoughts)
    if (prompt.ends_with(thoughts.open)) return std::string(thoughts.close);
  return "";
}

std::vector<int32_t> special_markers(const klens_tokenizer* tokenizer) {
  std::vector<std::string> texts = {"[ARGS]", "[CALL_ID]"};
  for (const Thoughts& thoughts : kThoughts) {
    texts.emplace_back(thoughts.open);
    texts.emplace_back(thoughts.close);
  }
  for (const ToolStyle& style : tool_styles()) {
    texts.emplace_back(style.open);
    texts.emplace_back(style.close);
  }
  std::vector<int32_t> markers;
  for (const std::string& text : texts) {
    const std::vector<int32_t> ids = tokenize(tokenizer, text, false);
    if (ids.size() == 1 && detokenize(tokenizer, ids, true).empty() &&
        detokenize(tokenizer, ids, false) == text)
      markers.push_back(ids[0]);
  }
  return markers;
}

}  // namespace klens::apps
