// What the first token of a mapped model waits for at least: maps FILE, reads a word of each of its
// cache lines by THREADS threads, prints a line, and ends. Of libraries it needs nothing but C++'s.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPiece = size_t{1} << 20, kLine = 64;  // bytes

// Takes pieces until there are none. The sum keeps compilers from leaving the reads out.
uint64_t read_pieces(const char* bytes, size_t size, std::atomic<size_t>& next) {
  uint64_t sum = 0;
  for (size_t begin; (begin = next.fetch_add(kPiece)) < size;) {
    const size_t end = std::min(size, begin + kPiece);
    for (size_t at = begin; at + sizeof sum <= end; at += kLine) {
      uint64_t word;
      std::memcpy(&word, bytes + at, sizeof word);
      sum += word;
    }
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const int fd = argc == 3 ? ::open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0) {
    std::fprintf(stderr, "usage: klens_bench_read_pages FILE THREADS\n");
    return 2;
  }
  const size_t size = static_cast<size_t>(info.st_size);
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) return 1;
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> sum{0};
  const auto read = [&] { sum += read_pieces(static_cast<const char*>(mapping), size, next); };
  std::vector<std::thread> others;
  for (int i = 1; i < std::atoi(argv[2]); ++i) others.emplace_back(read);
  read();
  for (std::thread& other : others) other.join();
  std::printf("%016llx\n", static_cast<unsigned long long>(sum.load()));
  return std::fflush(stdout) == 0 ? 0 : 1;
}
