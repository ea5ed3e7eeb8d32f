#pragma once
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "loaders/safetensors.h"

namespace klens::pytorch {

// The globals a pickle may name. What calling one makes is in unpickler.cpp.
enum class Global {
  kOrderedDict,
  kRebuildTensorV2,
  kRebuildTensorV3,
  kRebuildParameter,
  kRebuildParameterWithState,
  kSize,
  kStorage,  // with the dtype of its elements
  kUntypedStorage,
  kDType,
};

struct GlobalRow {
  const char* module;
  const char* name;
  Global global;
  DType dtype;  // of kStorage and kDType
};

// An object of a pickle. Objects refer to each other by number, as a pickle's may in circles;
// nothing that reads them follows further than it knows the shape of.
using ObjectId = uint32_t;

struct Object {
  enum class Kind {
    kNone,
    kBool,
    kInteger,
    kLongInteger,  // text: more than 8 bytes, little-endian
    kFloat,
    kText,
    kBytes,
    kTuple,
    kList,
    kDict,     // items: key, value, key, value...
    kGlobal,   // global
    kStorage,  // items: the tuple that names it
    kTensor,   // global: what rebuilds it; items: the tuple of its arguments
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  std::string_view text;  // in the pickle's bytes
  const GlobalRow* global = nullptr;
  std::vector<ObjectId> items;
};

using Objects = std::deque<Object>;

}  // namespace klens::pytorch
