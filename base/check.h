#pragma once
#include <cstdio>
#include <cstdlib>

// A condition that only a bug in klens can break; never reachable from input. Always compiled in.
#define KLENS_CHECK(condition)                                                         \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      std::fprintf(stderr, "klens: bug: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                    \
    }                                                                                  \
  } while (false)
