#include "loaders/pytorch/zip_archive.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "loaders/byte_reader.h"
#include "loaders/pytorch/messages.h"

namespace klens {
namespace {

using namespace pytorch;

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50,
                   kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr size_t kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56, kLocalBytes = 30;
constexpr uint32_t kIn64 = 0xffffffff;  // the number stands in the zip64 record
constexpr uint16_t kShortIn64 = 0xffff;
constexpr uint16_t kEncrypted = 1 | 1 << 6 | 1 << 13;

// One row of the directory, and where what it describes begins and ends.
struct Entry {
  std::string_view name;
  uint16_t flags, method;
  uint64_t stored, bytes, header;
  size_t data = 0;

  size_t end() const { return data + static_cast<size_t>(bytes); }
};

// Where the directory lies.
struct Directory {
  uint64_t begin = 0, bytes = 0, entries = 0;
};

class ZipParser {
 public:
  ZipParser(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name) {}

  std::vector<Entry> entries() {
    const Directory directory = find_directory();
    ByteReader reader(bytes_.subspan(directory.begin, directory.bytes));
    std::vector<Entry> entries;
    while (reader.left() > 0) {
      Entry entry = read_entry(reader);
      locate(entry, directory.begin);
      entries.push_back(entry);
    }
    if (entries.size() != directory.entries)
      damaged("its zip directory holds " + std::to_string(entries.size()) + " entries, not " +
              std::to_string(directory.entries));
    refuse_overlaps(entries);
    return entries;
  }

  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorKind::kBadFile, name_ + ": " + what + kGetAgain);
  }

 private:
  [[noreturn]] void damaged(const Entry& entry, const std::string& what) const {
    damaged("entry " + shown(entry.name) + " of the archive " + what);
  }
  [[noreturn]] void unsupported(const Entry& entry, const std::string& what) const {
    throw Error(ErrorKind::kUnsupported,
                name_ + ": entry " + shown(entry.name) + " of the archive is " + what);
  }

  // The end record stands at the end, behind it only its own comment.
  size_t find_end() const {
    constexpr size_t kLongestComment = 65535;
    for (size_t back = kEndBytes; back <= std::min(bytes_.size(), kEndBytes + kLongestComment);
         ++back) {
      ByteReader reader(bytes_.subspan(bytes_.size() - back));
      uint32_t magic = 0;
      uint16_t comment = 0;
      std::string_view skipped;
      if (reader.read(magic) && magic == kEnd && reader.take(16, skipped) && reader.read(comment) &&
          comment == back - kEndBytes)
        return bytes_.size() - back;
    }
    damaged("its zip directory is not at the end");
  }

  Directory find_directory() const {
    size_t end = find_end();
    ByteReader reader(bytes_.subspan(end + sizeof kEnd));
    uint16_t disk = 0, first_disk = 0, here = 0, all = 0;
    uint32_t size = 0, offset = 0;
    reader.read(disk), reader.read(first_disk), reader.read(here), reader.read(all);
    reader.read(size), reader.read(offset);
    if (disk != 0 || first_disk != 0 || here != all) damaged("is one part of a zip of several");
    Directory directory{.begin = offset, .bytes = size, .entries = all};
    if (find_end64(end, directory)) {
      if ((all != kShortIn64 && all != directory.entries) ||
          (size != kIn64 && size != directory.bytes) ||
          (offset != kIn64 && offset != directory.begin))
        damaged("its two zip end records disagree");
    } else if (all == kShortIn64 || size == kIn64 || offset == kIn64) {
      damaged("it lacks its zip64 end record");
    }
    if (directory.begin > end || directory.bytes != end - directory.begin)
      damaged("its zip directory does not end where the end record begins");
    return directory;
  }

  // The zip64 end record, where there is a locator of one before the end record; `end` becomes its
  // place.
  bool find_end64(size_t& end, Directory& directory) const {
    uint32_t magic = 0, disk = 0, first_disk = 0, disks = 0;
    uint64_t place = 0, size = 0, here = 0;
    std::string_view versions;
    if (end < kLocatorBytes) return false;
    ByteReader locator(bytes_.subspan(end - kLocatorBytes, kLocatorBytes));
    if (!locator.read(magic) || magic != kLocator64) return false;
    locator.read(disk), locator.read(place), locator.read(disks);
    const size_t before = end - kLocatorBytes;
    if (disk != 0 || disks > 1 || place > before || before - place < kEnd64Bytes)
      damaged("its zip64 locator points nowhere");
    ByteReader record(bytes_.subspan(place, before - place));
    record.read(magic), record.read(size), record.take(4, versions);
    record.read(disk), record.read(first_disk), record.read(here);
    record.read(directory.entries), record.read(directory.bytes), record.read(directory.begin);
    if (magic != kEnd64 || size != before - place - 12 || disk != 0 || first_disk != 0 ||
        here != directory.entries)
      damaged("its zip64 end record is not sound");
    end = place;
    return true;
  }

  Entry read_entry(ByteReader& reader) const {
    uint32_t magic = 0, crc = 0, stored = 0, bytes = 0, attributes = 0, header = 0;
    uint16_t name = 0, extra = 0, comment = 0, disk = 0;
    std::string_view skipped, extras;
    Entry entry{};
    const bool read = reader.read(magic) && magic == kCentral && reader.take(4, skipped) &&
                      reader.read(entry.flags) && reader.read(entry.method) &&
                      reader.take(4, skipped) && reader.read(crc) && reader.read(stored) &&
                      reader.read(bytes) && reader.read(name) && reader.read(extra) &&
                      reader.read(comment) && reader.read(disk) && reader.take(2, skipped) &&
                      reader.read(attributes) && reader.read(header) &&
                      reader.take(name, entry.name) && reader.take(extra, extras) &&
                      reader.take(comment, skipped);
    if (!read || disk != 0) damaged("its zip directory is not sound");
    entry.stored = stored, entry.bytes = bytes, entry.header = header;
    read_extras(entry, extras);
    if ((entry.flags & kEncrypted) != 0)
      unsupported(entry, "encrypted, klens reads plain ones; pack it again without a password");
    if (entry.method != 0)
      unsupported(entry, "compressed (zip method " + std::to_string(entry.method) +
                             "), klens reads stored ones; unpack it and pack it again with zip -0");
    if (entry.stored != entry.bytes)
      damaged(entry,
              "has " + std::to_string(entry.stored) + " bytes for " + std::to_string(entry.bytes));
    return entry;
  }

  // Of the extra fields only zip64's matters: the numbers for which the row had no room.
  void read_extras(Entry& entry, std::string_view extras) const {
    uint64_t* const wanted[] = {&entry.bytes, &entry.stored, &entry.header};
    const bool waits = std::any_of(std::begin(wanted), std::end(wanted),
                                   [](const uint64_t* number) { return *number == kIn64; });
    ByteReader reader(std::as_bytes(std::span(extras)));
    while (waits && reader.left() > 0) {
      uint16_t tag = 0, size = 0;
      std::string_view field;
      if (!reader.read(tag) || !reader.read(size) || !reader.take(size, field)) break;
      if (tag != 1) continue;
      ByteReader numbers(std::as_bytes(std::span(field)));
      for (uint64_t* number : wanted)
        if (*number == kIn64 && !numbers.read(*number))
          damaged(entry, "lacks a number of its zip64 field");
      return;
    }
    if (waits) damaged(entry, "lacks its zip64 field");
  }

  // The local header, which must be of the same entry; the data follows it.
  void locate(Entry& entry, size_t limit) const {
    uint32_t magic = 0;
    uint16_t flags = 0, method = 0, name = 0, extra = 0;
    std::string_view skipped, own_name;
    if (entry.header > limit || limit - entry.header < kLocalBytes)
      damaged(entry, "lies outside the file");
    ByteReader reader(bytes_.subspan(entry.header, limit - entry.header));
    const bool read = reader.read(magic) && magic == kLocal && reader.take(2, skipped) &&
                      reader.read(flags) && reader.read(method) && reader.take(16, skipped) &&
                      reader.read(name) && reader.read(extra) && reader.take(name, own_name) &&
                      reader.take(extra, skipped);
    if (!read || own_name != entry.name || flags != entry.flags || method != entry.method)
      damaged(entry, "is not where the directory says");
    if (entry.bytes > reader.left()) damaged(entry, "ends outside the file");
    entry.data = static_cast<size_t>(entry.header) + reader.position();
  }

  void refuse_overlaps(const std::vector<Entry>& entries) const {
    std::vector<const Entry*> sorted;
    for (const Entry& entry : entries) sorted.push_back(&entry);
    std::sort(sorted.begin(), sorted.end(),
              [](const Entry* a, const Entry* b) { return a->header < b->header; });
    for (size_t i = 1; i < sorted.size(); ++i)
      if (sorted[i]->header < sorted[i - 1]->end())
        damaged(*sorted[i], "overlaps " + shown(sorted[i - 1]->name));
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
};

}  // namespace

ZipArchive ZipArchive::parse(std::span<const std::byte> bytes, const std::string& name) {
  ZipParser parser(bytes, name);
  ZipArchive archive;
  for (const Entry& entry : parser.entries())
    if (!archive.entries_.emplace(entry.name, bytes.subspan(entry.data, entry.bytes)).second)
      parser.damaged("entry " + shown(entry.name) + " of the archive stands there twice");
  return archive;
}

}  // namespace klens
