#include "engine/jobs/ranks.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>

#include "loaders/checksum.h"

namespace klens {
namespace {

constexpr size_t kFirstBytes = 1000;            // of what is given, with its size
constexpr size_t kPartBytes = size_t{1} << 16;  // of the rest, at one time

}  // namespace

// What each exchange begins with.
struct Ranks::Message {
  int32_t failed;  // 0, or 1 + the ErrorKind
  int32_t unused;
  uint64_t bytes;  // of all that is given
  char first[kFirstBytes];
};

Ranks::Ranks(size_t index, size_t count, Gather gather)
    : index_(index), count_(count), gather_(std::move(gather)) {
  own_.resize(kPartBytes);
  all_.resize(kPartBytes * count);
}

void Ranks::gather(const void* own, size_t bytes) {
  if (gather_(own, bytes, all_.data()) == 0) return;
  over_ = true;
  throw Error(ErrorKind::kIo,
              "one of the processes is gone; what was measured is kept: run again with --resume");
}

std::vector<std::string> Ranks::exchange(std::string_view own) {
  if (alone()) return {std::string(own)};
  Message message{.failed = 0, .unused = 0, .bytes = own.size(), .first = {}};
  own.copy(message.first, kFirstBytes);
  gather(&message, sizeof message);
  std::vector<std::string> given(count_);
  std::vector<size_t> sizes(count_);
  size_t most = 0;
  for (size_t r = 0; r < count_; ++r) {
    std::memcpy(&message, all_.data() + r * sizeof message, sizeof message);
    sizes[r] = message.bytes;
    given[r].assign(message.first, std::min<size_t>(message.bytes, kFirstBytes));
    most = std::max(most, sizes[r]);
    if (message.failed == 0) continue;
    over_ = true;
    throw Error(static_cast<ErrorKind>(message.failed - 1),
                "rank " + std::to_string(r) + ": " + given[r]);
  }
  for (size_t at = kFirstBytes; at < most; at += kPartBytes) {
    if (at < own.size())
      std::memcpy(own_.data(), own.data() + at, std::min(own.size() - at, kPartBytes));
    gather(own_.data(), kPartBytes);
    for (size_t r = 0; r < count_; ++r)
      if (at < sizes[r])
        given[r].append(reinterpret_cast<const char*>(all_.data()) + r * kPartBytes,
                        std::min(sizes[r] - at, kPartBytes));
  }
  return given;
}

void Ranks::fail(ErrorKind kind, std::string_view why) noexcept {
  if (alone() || over_) return;
  over_ = true;
  Message message{.failed = 1 + static_cast<int32_t>(kind),
                  .unused = 0,
                  .bytes = std::min(why.size(), kFirstBytes),
                  .first = {}};
  why.copy(message.first, message.bytes);
  try {
    gather_(&message, sizeof message, all_.data());
  } catch (...) {
    // Whoever is left finds out by himself that this one is gone.
  }
}

void check_alike(Ranks& ranks, std::string_view own, const char* what) {
  const std::vector<std::string> given = ranks.exchange(xxh3_hex(std::as_bytes(std::span(own))));
  for (size_t r = 1; r < given.size(); ++r)
    if (given[r] != given[0])
      throw Error(ErrorKind::kBadArgument, "rank " + std::to_string(r) + " has another " + what +
                                               " than rank 0: give all the same");
}

void together(Ranks& ranks, const std::function<void()>& body) {
  try {
    body();
    ranks.exchange({});
  } catch (const Error& error) {
    ranks.fail(error.kind(), error.what());
    throw;
  } catch (const std::bad_alloc&) {
    ranks.fail(ErrorKind::kNoMemory, "out of memory");
    throw;
  } catch (const std::exception& error) {
    ranks.fail(ErrorKind::kUnsupported, error.what());
    throw;
  }
}

}  // namespace klens
