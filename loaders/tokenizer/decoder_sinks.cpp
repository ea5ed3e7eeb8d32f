#include "loaders/tokenizer/decoder_sinks.h"

#include <cctype>

#include "loaders/tokenizer/byte_level.h"
#include "loaders/tokenizer/normalizer.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
std::optional<unsigned char> byte_of(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  // Rust's from_str_radix, which the package uses, takes a plus sign too.
  const std::string digits = token[3] == '+' ? token.substr(4, 1) : token.substr(3, 2);
  unsigned value = 0;
  for (const char c : digits) {
    const auto u = static_cast<unsigned char>(c);
    if (!std::isxdigit(u)) return std::nullopt;
    value =
        value * 16 + static_cast<unsigned>(std::isdigit(u) ? u - '0' : std::tolower(u) - 'a' + 10);
  }
  return static_cast<unsigned char>(value);
}

void JoinSink::part(std::string_view text) {
  if (pending_) next_.part(" ");
  pending_ = false;
  next_.part(text);
}

void JoinSink::finish() {
  next_.end_token();
  next_.finish();
}

void FuseSink::finish() {
  next_.end_token();
  next_.finish();
}

void ByteLevelSink::token(const std::string& text) {
  byte_level::append_bytes(bytes_, text);
  const size_t decided = utf8::decided_length(bytes_);
  std::string out;
  utf8::append_lossy(out, std::string_view(bytes_).substr(0, decided));
  bytes_.erase(0, decided);
  next_.part(out);
}

void ByteLevelSink::finish() {
  std::string out;
  utf8::append_lossy(out, bytes_);
  bytes_.clear();
  pass(out);
  next_.finish();
}

void ByteFallbackSink::token(const std::string& text) {
  if (const auto byte = byte_of(text)) {
    bytes_ += static_cast<char>(*byte);
    return;
  }
  flush();
  pass(text);
}

void ByteFallbackSink::flush() {
  if (bytes_.empty()) return;
  if (utf8::is_valid(bytes_)) {
    pass(bytes_);
  } else {
    for (size_t i = 0; i < bytes_.size(); ++i) pass("\uFFFD");
  }
  bytes_.clear();
}

void ByteFallbackSink::finish() {
  flush();
  next_.finish();
}

void ReplaceSink::token(const std::string& text) {
  size_t lead = 0;
  pass(replace_all(pattern_, text, content_, lead, Deadline::for_bytes(text.size())));
}

void StripSink::part(std::string_view text) {
  size_t at = 0;
  while (at_begin_ && at < text.size()) {
    size_t next = at;
    if (cut_ >= start_ || utf8::next(text, next) != content_) {
      at_begin_ = false;
      break;
    }
    ++cut_;
    at = next;
  }
  text.remove_prefix(at);
  if (stop_ == 0) return next_.part(text);
  held_ += text;
  // All but the last run of the character is safe, and of that run all but its last `stop_`.
  size_t keep = held_.size();
  for (int64_t run = 0; run < stop_ && keep > 0; ++run) {
    size_t before = keep;
    if (utf8::previous(held_, before) != content_) break;
    keep = before;
  }
  next_.part(std::string_view(held_).substr(0, keep));
  held_.erase(0, keep);
}

void StripSink::end_token() {
  held_.clear();
  cut_ = 0;
  at_begin_ = true;
  next_.end_token();
}

void MetaspaceSink::part(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = utf8::next(text, at);
    if (c != replacement_) {
      utf8::append(out, c);
    } else if (!drop_) {
      out += ' ';
    }
  }
  next_.part(out);
}

void MetaspaceSink::end_token() {
  drop_ = false;
  next_.end_token();
}

void SuffixSink::token(const std::string& text) {
  if (has_last_) flush(" ");
  last_ = text;
  has_last_ = true;
}

void SuffixSink::flush(std::string_view instead) {
  std::string out;
  // An empty suffix is found between all characters, as by Rust's replace().
  for (size_t at = 0; at <= last_.size();) {
    const bool found = last_.compare(at, suffix_.size(), suffix_) == 0;
    if (found) out += instead;
    if (found && !suffix_.empty()) {
      at += suffix_.size();
      continue;
    }
    const size_t length = at < last_.size() ? utf8::length_at(last_, at) : 1;
    out.append(last_, at, length);
    at += length;
  }
  pass(out);
}

void SuffixSink::finish() {
  if (has_last_) flush("");
  has_last_ = false;
  next_.finish();
}

}  // namespace klens
