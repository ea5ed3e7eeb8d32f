#pragma once

namespace klens {

// Memory runs out in one of three places. Where something is computed, std::bad_alloc is thrown and
// becomes KLENS_NO_MEMORY. While that is on its way, destructors run, and some in libraries
// allocate (nlohmann's JSON, 16 bytes for each element); and so may one that runs in the ordinary
// course of things. A bad_alloc out of a destructor ends the process. So some memory is held back
// for these two, and handed out by a std::new_handler: the first failure gets the smaller part, as
// it may be a destructor's, and is tried again; the next one frees the greater part and throws, so
// that destructors find it. What may be large does not rely on it: see JsonDocument.
//
// Called wherever the library is entered: holds the memory back (again), and installs the handler,
// once, before whatever handler there is. Never fails: where there is nothing to hold, nothing is.
void hold_memory_reserve() noexcept;

}  // namespace klens
