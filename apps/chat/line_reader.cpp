#include "apps/chat/line_reader.h"

#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <cwctype>
#include <deque>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "apps/cli/error.h"
#include "apps/terminal/interrupt.h"
#include "apps/terminal/style.h"
#include "apps/terminal/text.h"

namespace klens::apps {
namespace {

static_assert(sizeof(wchar_t) == sizeof(char32_t), "libedit's characters are code points");

// libedit shows and widens characters as the locale says, and "C" knows none beyond ASCII.
void use_utf8_locale() {
  for (const char* name : {"", "C.UTF-8", "C.utf8", "en_US.UTF-8"}) {
    if (std::setlocale(LC_CTYPE, name) != nullptr &&
        std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
      return;
  }
}

// Characters from standard input's bytes, without a locale's help.
class Utf8Input {
 public:
  // As if it were typed before what is read next.
  void put(const std::wstring& text) { put_.insert(put_.end(), text.begin(), text.end()); }
  // Forgets what is left of that.
  void drop() { put_.clear(); }

  // False at the end of input and after an interrupt.
  bool next(wchar_t& character) {
    if (!put_.empty()) {
      character = put_.front();
      put_.pop_front();
      return true;
    }
    char bytes[4];
    size_t have = 0, want = 1;
    while (have < want) {
      const std::optional<char> byte = take();
      if (!byte && have == 0) return false;
      if (byte && have > 0 && (static_cast<unsigned char>(*byte) & 0xc0) != 0x80) {
        kept_ = byte;  // the sequence was cut short; this begins another
        break;
      }
      if (!byte) break;
      bytes[have++] = *byte;
      if (have == 1) want = length_of(static_cast<unsigned char>(*byte));
    }
    std::string_view text(bytes, have);
    character = static_cast<wchar_t>(next_character(text));
    return true;
  }

 private:
  static size_t length_of(unsigned char lead) {
    return lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : 1;
  }

  std::optional<char> take() {
    if (kept_) return *std::exchange(kept_, std::nullopt);
    char byte = 0;
    ssize_t got = 0;
    do {
      if (interrupted()) {
        errno = EINTR;
        return std::nullopt;
      }
      got = ::read(STDIN_FILENO, &byte, 1);
    } while (got < 0 && errno == EINTR);
    return got == 1 ? std::optional(byte) : std::nullopt;
  }

  std::optional<char> kept_;
  std::deque<wchar_t> put_;
};

std::string utf8_of(const wchar_t* text, size_t count) {
  std::string utf8;
  for (size_t i = 0; i < count; ++i) append_utf8(utf8, static_cast<char32_t>(text[i]));
  return utf8;
}

std::wstring wide_of(std::string_view text) {
  std::wstring wide;
  while (!text.empty()) wide += static_cast<wchar_t>(next_character(text));
  return wide;
}

constexpr const char* kMarkPastes = "\033[?2004h";
constexpr const char* kDoNotMarkPastes = "\033[?2004l";
constexpr wchar_t kPasteKey[] = L"\\e[200~";  // as libedit writes keys
constexpr wchar_t kPasteBegins[] = L"\033[200~", kPasteEnds[] = L"\033[201~";

}  // namespace

struct LineReader::Editor {
  EditLine* line = nullptr;
  HistoryW* history = nullptr;
  const wchar_t* prompt = L"";
  Utf8Input input;
  bool marks_pastes = false;

  // Everything the editor shows goes to standard error: standard output is the answers'.
  Editor() : line(el_init("klens", stdin, stderr, stderr)), history(history_winit()) {
    if (!sound()) return;
    HistEventW event;
    history_w(history, &event, H_SETSIZE, 1000);
    history_w(history, &event, H_SETUNIQUE, 1);
    el_wset(line, EL_CLIENTDATA, this);
    el_wset(line, EL_PROMPT, show_prompt);
    el_wset(line, EL_EDITOR, L"emacs");
    el_wset(line, EL_HIST, history_w, history);
    el_wset(line, EL_SIGNAL, 0);  // Ctrl-C is ours
    el_wset(line, EL_GETCFN, read_character);
    el_source(line, nullptr);  // the user's ~/.editrc
    bind_keys();
  }
  ~Editor() {
    if (marks_pastes) std::fputs(kDoNotMarkPastes, stderr);
    write_when_killed(nullptr);
    if (line != nullptr) el_end(line);
    if (history != nullptr) history_wend(history);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  bool sound() const { return line != nullptr && history != nullptr; }

  void bind_keys() {
    // Without a UTF-8 locale libedit takes U+0080 to U+00FF for Alt and a letter.
    for (wchar_t key[] = {0x80, 0}; key[0] <= 0xff; ++key[0])
      if (std::iswprint(static_cast<wint_t>(key[0])) == 0)
        el_wset(line, EL_BIND, key, L"ed-insert", nullptr);
    int edits = 0;  // `edit off` in ~/.editrc
    el_wget(line, EL_EDITMODE, &edits);
    if (edits == 0 || !can_rewrite_lines(STDERR_FILENO)) return;
    el_wset(line, EL_ADDFN, L"klens-paste", L"Insert what is pasted, line breaks too", paste);
    el_wset(line, EL_BIND, kPasteKey, L"klens-paste", nullptr);
    std::fputs(kMarkPastes, stderr);
    marks_pastes = true;
    write_when_killed(kDoNotMarkPastes);
  }

  static Editor& of(EditLine* editor) {
    void* self = nullptr;
    el_wget(editor, EL_CLIENTDATA, &self);
    return *static_cast<Editor*>(self);
  }
  static wchar_t* show_prompt(EditLine* editor) { return const_cast<wchar_t*>(of(editor).prompt); }
  static int read_character(EditLine* editor, wchar_t* character) {
    *character = 0;
    return of(editor).input.next(*character) ? 1 : interrupted() ? -1 : 0;
  }
  // What lies between the marks of a paste. Terminals send a carriage return for a line's end.
  static unsigned char paste(EditLine* editor, wint_t) {
    constexpr size_t kEndLength = std::size(kPasteEnds) - 1;
    std::wstring text;
    wchar_t character = 0;
    while (!text.ends_with(kPasteEnds) && el_wgetc(editor, &character) == 1) {
      if (character != 0) text += character;
    }
    if (text.ends_with(kPasteEnds)) text.resize(text.size() - kEndLength);
    std::wstring lines;
    for (size_t i = 0; i < text.size(); ++i) {
      const bool pair = text[i] == L'\r' && i + 1 < text.size() && text[i + 1] == L'\n';
      if (!pair) lines += text[i] == L'\r' ? L'\n' : text[i];
    }
    el_winsertstr(editor, lines.c_str());
    return CC_REFRESH;
  }
};

LineReader::LineReader() : interactive_(is_terminal(STDIN_FILENO)) {
  // Without a terminal to show it on, typing is better left to the terminal's own line mode.
  if (!interactive_ || !is_terminal(STDERR_FILENO)) return;
  use_utf8_locale();
  editor_ = std::make_unique<Editor>();
  if (!editor_->sound()) editor_.reset();
}

LineReader::~LineReader() = default;

LineReader::Result LineReader::read_line(const wchar_t* prompt, std::string& line) {
  if (editor_ == nullptr) {
    if (std::getline(std::cin, line)) return Result::kLine;
    // Streams swallow a lack of memory: half a line is not to pass for the last one.
    if (std::cin.bad()) throw Error("standard input cannot be read, or there is no memory for it");
    return Result::kEnd;
  }
  const InterruptScope interrupts;
  editor_->prompt = prompt;
  // libedit shows the prompt first: what is typed in between would be edited by the terminal.
  el_wset(editor_->line, EL_PREP_TERM, 1);
  int count = 0;
  const wchar_t* text = el_wgets(editor_->line, &count);
  editor_->input.drop();
  if (interrupted()) {
    std::fputs("\n", stderr);
    return Result::kInterrupted;
  }
  if (text == nullptr || count <= 0) {
    std::fputs("\n", stderr);
    return Result::kEnd;
  }
  size_t length = static_cast<size_t>(count);
  while (length > 0 && (text[length - 1] == L'\n' || text[length - 1] == L'\r')) --length;
  line = utf8_of(text, length);
  HistEventW event;
  const std::wstring said(text, length);
  if (!said.empty()) history_w(editor_->history, &event, H_ENTER, said.c_str());
  return Result::kLine;
}

bool LineReader::edits() const { return editor_ != nullptr && editor_->marks_pastes; }

LineReader::Result LineReader::read(std::string& text, const std::string& given) {
  text.clear();
  // As a paste, which keeps line breaks.
  if (!given.empty()) editor_->input.put(kPasteBegins + wide_of(given) + kPasteEnds);
  const wchar_t* prompt = L"> ";
  for (;;) {
    std::string line;
    const Result result = read_line(prompt, line);
    if (result == Result::kEnd && !text.empty()) return Result::kLine;
    if (result != Result::kLine) return result;
    if (!line.ends_with('\\')) {
      text += line;
      return result;
    }
    line.back() = '\n';
    text += line;
    prompt = L". ";
  }
}

}  // namespace klens::apps
