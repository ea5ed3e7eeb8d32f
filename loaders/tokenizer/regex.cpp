#include "loaders/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <new>
#include <optional>

#include "base/error.h"
#include "base/thread_owned.h"
#include "loaders/tokenizer/regex_syntax.h"
#include "loaders/tokenizer/unicode.h"
#include "loaders/tokenizer/utf8.h"

namespace klens {
namespace {

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

// A first try gives up early and looks at few starting points, so that the clock is read often;
// only a starting point that proves hard is tried again, alone and with patience.
constexpr uint32_t kQuickLimit = 100'000, kPatientLimit = 20'000'000;
constexpr size_t kQuickStarts = 1024;
constexpr uint32_t kHeapKib = 128 * 1024;

// What matching needs besides the pattern; one per thread, as making it costs more than a short
// match.
struct Scratch {
  Owned<pcre2_match_data> data{pcre2_match_data_create(1, nullptr)};
  Owned<pcre2_match_context> context{pcre2_match_context_create(nullptr)};
  Owned<pcre2_jit_stack> stack{pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, nullptr)};

  Scratch() {
    if (!data || !context) throw std::bad_alloc();
    pcre2_set_heap_limit(context.get(), kHeapKib);
    // Without a stack of its own compiled code uses 32 KiB of the thread's.
    if (stack) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};

Scratch& scratch() { return thread_owned<Scratch>(); }

std::string error_text(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

Owned<pcre2_code> compile(const std::string& pattern, std::string_view original,
                          const std::string& where) {
  int error = 0;
  PCRE2_SIZE at = 0;
  const Owned<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  const uint32_t options =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C;
  Owned<pcre2_code> code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       options, &error, &at, context.get()));
  if (!code)
    throw Error(ErrorKind::kUnsupported, where + ": pattern \"" + std::string(original) +
                                             "\" cannot be compiled: " + error_text(error));
  // Not every machine allows code to be made at run time; matching works without.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
}

[[noreturn]] void give_up() {
  throw Error(ErrorKind::kUnsupported,
              "a pattern of the tokenizer takes too long on this text; encode it in smaller parts");
}

struct Span {
  size_t begin, end;
};

// The first match that begins at `from` or later.
std::optional<Span> search(const pcre2_code* code, std::string_view subject, size_t from,
                           const Deadline& deadline) {
  Scratch& s = scratch();
  const auto* data = reinterpret_cast<PCRE2_SPTR>(subject.data());
  bool patient = false;
  for (;;) {
    const size_t last = std::min(subject.size(), patient ? from : from + kQuickStarts);
    pcre2_set_offset_limit(s.context.get(), last);
    pcre2_set_match_limit(s.context.get(), patient ? kPatientLimit : kQuickLimit);
    pcre2_set_depth_limit(s.context.get(), patient ? kPatientLimit : kQuickLimit);
    int rc = pcre2_match(code, data, subject.size(), from, PCRE2_NO_UTF_CHECK, s.data.get(),
                         s.context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(code, data, subject.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       s.data.get(), s.context.get());
    if (rc >= 0) {
      const PCRE2_SIZE* span = pcre2_get_ovector_pointer(s.data.get());
      // \K is refused, so a match cannot begin after its end.
      return Span{span[0], std::max(span[0], span[1])};
    }
    const bool out_of_patience =
        rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT;
    if (rc == PCRE2_ERROR_NOMATCH) {
      if (last == subject.size()) return std::nullopt;
      // Go on behind the last starting point that was tried.
      from = last + 1;
      while (from < subject.size() && (static_cast<unsigned char>(subject[from]) & 0xC0) == 0x80)
        ++from;
    } else if (out_of_patience && !patient) {
      patient = true;
    } else if (rc == PCRE2_ERROR_NOMEMORY) {
      throw std::bad_alloc();
    } else {
      give_up();
    }
    if (deadline.passed()) give_up();
  }
}

std::optional<Span> search_text(const std::string& text, std::string_view subject, size_t from) {
  const size_t at = subject.find(text, from);
  if (at == subject.npos) return std::nullopt;
  return Span{at, at + text.size()};
}

}  // namespace

Deadline Deadline::for_bytes(size_t bytes) {
  Deadline deadline;
  deadline.end_ = std::chrono::steady_clock::now() + std::chrono::seconds(10 + bytes / 100'000);
  return deadline;
}

struct Pattern::Compiled {
  Owned<pcre2_code> plain, exact;  // `exact` is empty where both are the same
};

Pattern::Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Pattern Pattern::text(std::string_view text) {
  Pattern p;
  p.text_ = text;
  return p;
}

Pattern Pattern::regex(std::string_view pattern, const std::string& where) {
  const PcrePattern translated = translate_pattern(pattern, where);
  Pattern p;
  p.compiled_ = std::make_unique<Compiled>();
  p.compiled_->plain = compile(translated.plain, pattern, where);
  if (translated.exact != translated.plain)
    p.compiled_->exact = compile(translated.exact, pattern, where);
  return p;
}

void Pattern::find(std::string_view subject, const Deadline& deadline,
                   std::vector<Match>& out) const {
  out.clear();
  if (subject.empty()) {
    out.push_back({0, 0, false});
    return;
  }
  const pcre2_code* code = nullptr;
  if (compiled_)
    code = compiled_->exact && unicode::has_new_characters(subject) ? compiled_->exact.get()
                                                                    : compiled_->plain.get();
  size_t covered = 0;
  std::optional<size_t> last_end;
  int matches = 0;
  for (size_t from = 0; from <= subject.size();) {
    const std::optional<Span> m =
        code ? search(code, subject, from, deadline) : search_text(text_, subject, from);
    if (!m) break;
    // The clock is read now and then only: it costs as much as a match.
    if ((++matches & 0x3FF) == 0 && deadline.passed()) give_up();
    if (m->begin == m->end && last_end == m->end) {
      // As the package does: an empty match right behind a match does not count.
      from += from < subject.size() ? utf8::length_at(subject, from) : 1;
      continue;
    }
    from = m->end;
    last_end = m->end;
    if (covered != m->begin) out.push_back({covered, m->begin, false});
    out.push_back({m->begin, m->end, true});
    covered = m->end;
  }
  if (covered != subject.size()) out.push_back({covered, subject.size(), false});
}

}  // namespace klens
