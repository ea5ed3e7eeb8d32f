#include "engine/opencl/checksum.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace klens {
namespace {

constexpr int64_t kGroup = 64, kMostGroups = 512;
constexpr int64_t kRegion = 16384;              // words that a work-group takes at a time
constexpr int64_t kSegment = int64_t{1} << 28;  // words of a launch: their number is an int

// An odd number for each place.
uint32_t weight_of(uint64_t place) { return static_cast<uint32_t>(2 * place + 1); }

}  // namespace

uint64_t checksum_of(std::span<const std::byte> bytes, uint64_t first) {
  const uint64_t place = first / 4, words = bytes.size() / 4;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < words; ++i) {
    uint32_t word = 0;
    std::memcpy(&word, bytes.data() + 4 * i, sizeof word);
    sum += uint64_t{word} * weight_of(place + i);
  }
  if (const size_t rest = bytes.size() % 4; rest > 0) {
    uint32_t word = 0;
    std::memcpy(&word, bytes.data() + 4 * words, rest);
    sum += uint64_t{word} * weight_of(place + words);
  }
  return sum;
}

uint64_t checksum_on(OpenClQueue& queue, uint64_t address, int64_t bytes) {
  const int64_t most = std::min((bytes + 3) / 4, kSegment);
  const int64_t groups = std::clamp<int64_t>((most + kRegion - 1) / kRegion, 1, kMostGroups);
  std::vector<uint64_t> sums(static_cast<size_t>(groups));
  const auto size = static_cast<int64_t>(sums.size() * sizeof(uint64_t));
  const uint64_t memory = queue.allocate(size);
  uint64_t sum = 0;
  try {
    for (int64_t segment = 0; segment * 4 * kSegment < bytes; ++segment) {
      const int64_t left = bytes - segment * 4 * kSegment;
      const int64_t words = std::min(left / 4, kSegment);
      const int64_t rest = words < kSegment ? left % 4 : 0;
      queue.launch({"checksum", "", "checksum"}, over_columns(groups * kGroup, 1),
                   {At(address + static_cast<uint64_t>(segment * 4 * kSegment)), words, rest,
                    segment, At(memory)});
      queue.read(memory, sums.data(), size);
      for (const uint64_t part : sums) sum += part;
    }
  } catch (...) {
    queue.free(memory);
    throw;
  }
  queue.free(memory);
  return sum;
}

std::string check_checksum(OpenClQueue& queue) {
  std::vector<std::byte> bytes(70'003);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i + i / 251);
  const uint64_t memory = queue.allocate(static_cast<int64_t>(bytes.size()));
  queue.write(bytes.data(), memory, static_cast<int64_t>(bytes.size()));
  std::string wrong;
  for (const auto& [from, count] :
       {std::pair<size_t, size_t>{0, 1}, {0, 4}, {2, 4097}, {0, 70'003}})
    if (checksum_on(queue, memory + from, static_cast<int64_t>(count)) !=
        checksum_of(std::span(bytes).subspan(from, count)))
      wrong = "the checksum of " + std::to_string(count) + " bytes";
  queue.free(memory);
  return wrong;
}

bool wants_checksum(bool otherwise) {
  const char* variable = std::getenv("KLENS_OPENCL_CHECKSUM");
  if (variable == nullptr || *variable == 0) return otherwise;
  const std::string asked = variable;
  if (asked != "on" && asked != "off")
    throw Error(ErrorKind::kBadArgument,
                "KLENS_OPENCL_CHECKSUM is \"" + asked + "\"; it is on or off");
  return asked == "on";
}

}  // namespace klens
