#include "tests/skipped.h"

bool klens::testing::skipped = false;
