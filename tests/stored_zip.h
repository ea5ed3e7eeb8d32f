#pragma once
// Zip archives as torch.save writes them, of any contents, with what may go wrong in one.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace klens::testing {

struct ZipEntry {
  std::string name = "", contents = "";
  // Said of the entry, sound or not; -1: what is true.
  uint16_t flags = 0, method = 0;
  int64_t header = -1, bytes = -1, stored = -1;
  bool in_64 = false;  // sizes and place in a zip64 field
};

struct ZipEnd {
  bool in_64 = false;  // a zip64 end record
  int64_t begin = -1, bytes = -1, entries = -1;
  std::string comment = "";
};

class ZipText {
 public:
  template <class T>
  ZipText& number(T value) {
    for (size_t i = 0; i < sizeof value; ++i)
      text_ += static_cast<char>(static_cast<uint64_t>(value) >> 8 * i);
    return *this;
  }
  ZipText& text(const std::string& more) {
    text_ += more;
    return *this;
  }
  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

inline std::string stored_zip(const std::vector<ZipEntry>& entries, const ZipEnd& end = {}) {
  const auto u16 = [](auto value) { return static_cast<uint16_t>(value); };
  const auto u32 = [](auto value) { return static_cast<uint32_t>(value); };
  const auto said = [](int64_t value, size_t truth) {
    return value >= 0 ? static_cast<uint64_t>(value) : uint64_t{truth};
  };
  ZipText zip, rows;
  for (const ZipEntry& e : entries) {
    const uint64_t header = said(e.header, zip.str().size()),
                   bytes = said(e.bytes, e.contents.size()),
                   stored = said(e.stored, e.contents.size());
    zip.number(uint32_t{0x04034b50}).number(u16(20)).number(e.flags).number(e.method);
    zip.number(uint64_t{0}).number(u32(stored)).number(u32(bytes));  // time, date, CRC
    zip.number(u16(e.name.size())).number(u16(0)).text(e.name).text(e.contents);
    rows.number(uint32_t{0x02014b50}).number(uint32_t{0}).number(e.flags).number(e.method);
    rows.number(uint64_t{0}).number(e.in_64 ? ~0u : u32(stored)).number(e.in_64 ? ~0u : u32(bytes));
    rows.number(u16(e.name.size())).number(u16(e.in_64 ? 28 : 0)).number(u16(0)).number(u16(0));
    rows.number(u16(0)).number(uint32_t{0}).number(e.in_64 ? ~0u : u32(header)).text(e.name);
    if (e.in_64) rows.number(u16(1)).number(u16(24)).number(bytes).number(stored).number(header);
  }
  const uint64_t begin = said(end.begin, zip.str().size()),
                 bytes = said(end.bytes, rows.str().size()),
                 count = said(end.entries, entries.size());
  const uint64_t place = zip.str().size() + rows.str().size();
  zip.text(rows.str());
  if (end.in_64) {
    zip.number(uint32_t{0x06064b50}).number(uint64_t{44}).number(uint32_t{0}).number(uint64_t{0});
    zip.number(count).number(count).number(bytes).number(begin);
    zip.number(uint32_t{0x07064b50}).number(uint32_t{0}).number(place).number(uint32_t{1});
  }
  zip.number(uint32_t{0x06054b50}).number(uint32_t{0}).number(u16(count)).number(u16(count));
  zip.number(end.in_64 ? ~0u : u32(bytes)).number(end.in_64 ? ~0u : u32(begin));
  return zip.number(u16(end.comment.size())).text(end.comment).str();
}

// A checkpoint of this pickle, with storages "0" of 64 bytes and "1" of 24.
inline std::string pytorch_archive(const std::string& pickle) {
  return stored_zip({{.name = "a/data.pkl", .contents = pickle},
                     {.name = "a/byteorder", .contents = "little"},
                     {.name = "a/data/0", .contents = std::string(64, '\x3c')},
                     {.name = "a/data/1", .contents = std::string(24, '\0')},
                     {.name = "a/version", .contents = "3\n"}});
}

}  // namespace klens::testing
