#include "loaders/pytorch/unpickler.h"

#include <algorithm>

#include "base/error.h"
#include "loaders/byte_reader.h"
#include "loaders/pytorch/messages.h"
#include "loaders/pytorch/pickle_opcodes.h"
#include "loaders/tensor_values.h"

namespace klens::pytorch {
namespace {

// A checkpoint has some 20 objects and 60 instructions for each tensor: these are for 100000 of
// them in one file.
constexpr size_t kMostObjects = size_t{1} << 21, kMostInstructions = size_t{1} << 23;

constexpr GlobalRow kGlobals[] = {
    {"collections", "OrderedDict", Global::kOrderedDict, {}},
    {"torch._utils", "_rebuild_tensor_v2", Global::kRebuildTensorV2, {}},
    {"torch._utils", "_rebuild_tensor_v3", Global::kRebuildTensorV3, {}},
    {"torch._utils", "_rebuild_parameter", Global::kRebuildParameter, {}},
    {"torch._utils", "_rebuild_parameter_with_state", Global::kRebuildParameterWithState, {}},
    {"torch", "Size", Global::kSize, {}},
    {"torch", "DoubleStorage", Global::kStorage, DType::kF64},
    {"torch", "FloatStorage", Global::kStorage, DType::kF32},
    {"torch", "HalfStorage", Global::kStorage, DType::kF16},
    {"torch", "BFloat16Storage", Global::kStorage, DType::kBf16},
    {"torch", "LongStorage", Global::kStorage, DType::kI64},
    {"torch", "IntStorage", Global::kStorage, DType::kI32},
    {"torch", "ShortStorage", Global::kStorage, DType::kI16},
    {"torch", "CharStorage", Global::kStorage, DType::kI8},
    {"torch", "ByteStorage", Global::kStorage, DType::kU8},
    {"torch", "BoolStorage", Global::kStorage, DType::kBool},
    {"torch.storage", "UntypedStorage", Global::kUntypedStorage, DType::kU8},
    {"torch", "float64", Global::kDType, DType::kF64},
    {"torch", "float32", Global::kDType, DType::kF32},
    {"torch", "float16", Global::kDType, DType::kF16},
    {"torch", "bfloat16", Global::kDType, DType::kBf16},
    {"torch", "int64", Global::kDType, DType::kI64},
    {"torch", "int32", Global::kDType, DType::kI32},
    {"torch", "int16", Global::kDType, DType::kI16},
    {"torch", "int8", Global::kDType, DType::kI8},
    {"torch", "uint8", Global::kDType, DType::kU8},
    {"torch", "bool", Global::kDType, DType::kBool},
};

using Kind = Object::Kind;

class Unpickler {
 public:
  Unpickler(std::span<const std::byte> bytes, const std::string& name)
      : reader_(bytes), name_(name) {}

  Unpickled run() {
    for (size_t step = 0; step < kMostInstructions; ++step) {
      at_ = reader_.position();
      uint8_t opcode = 0;
      need(reader_.read(opcode));
      if (opcode == static_cast<uint8_t>(Op::kStop)) {
        const ObjectId root = pop();
        if (!stack_.empty() || !marks_.empty()) damaged("leaves objects behind");
        return {std::move(objects_), root, reader_.position()};
      }
      if (!value(opcode) && !container(opcode) && !memo(opcode) && !object(opcode))
        refuse_opcode(opcode);
    }
    damaged("has more instructions than any checkpoint's");
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorKind::kBadFile,
                name_ + ": its pickle " + what + " at byte " + std::to_string(at_) + kGetAgain);
  }
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported,
                name_ + ": its pickle " + what + " at byte " + std::to_string(at_) + kSaveAgain);
  }
  [[noreturn]] void refuse_opcode(uint8_t opcode) const {
    const char* name = opcode_name(opcode);
    if (name == nullptr) damaged("has the byte " + std::to_string(opcode) + ", no instruction,");
    unsupported("has the opcode " + std::string(name) + ", which tensors do not need,");
  }
  void need(bool there) const {
    if (!there) damaged("ends within an instruction");
  }

  template <class T>
  T number() {
    T value{};
    need(reader_.read(value));
    return value;
  }
  std::string_view run_of(uint64_t size) {
    std::string_view text;
    need(reader_.take(size, text));
    return text;
  }

  // ---- the stack --------------------------------------------------------------------------------

  Object& push(Kind kind) {
    if (objects_.size() == kMostObjects) damaged("has more objects than any checkpoint's");
    stack_.push_back(static_cast<ObjectId>(objects_.size()));
    objects_.emplace_back().kind = kind;
    return objects_.back();
  }
  void push_integer(int64_t value) { push(Kind::kInteger).integer = value; }
  // An instruction takes nothing from below the last mark.
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  ObjectId pop() {
    const ObjectId id = top();
    stack_.pop_back();
    return id;
  }
  ObjectId top() const {
    if (stack_.size() <= floor()) damaged("takes from an empty stack");
    return stack_.back();
  }
  std::vector<ObjectId> pop_to_mark() {
    if (marks_.empty()) damaged("takes to a mark that is not there");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<ObjectId> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<ObjectId> pop_items(size_t count) {
    std::vector<ObjectId> items(count);
    while (count > 0) items[--count] = pop();
    return items;
  }

  // ---- instructions: each function knows some of them -------------------------------------------

  bool value(uint8_t opcode) {
    switch (Op{opcode}) {
      case Op::kProto:
        if (number<uint8_t>() > 5) unsupported("is of a protocol above 5");
        return true;
      case Op::kFrame:  // how much to read ahead; what is here is all in memory
        if (number<uint64_t>() > reader_.left()) damaged("has a frame that ends outside it");
        return true;
      case Op::kNone:
        return push(Kind::kNone), true;
      case Op::kNewTrue:
      case Op::kNewFalse:
        push(Kind::kBool).integer = Op{opcode} == Op::kNewTrue;
        return true;
      case Op::kBinInt:
        return push_integer(number<int32_t>()), true;
      case Op::kBinInt1:
        return push_integer(number<uint8_t>()), true;
      case Op::kBinInt2:
        return push_integer(number<uint16_t>()), true;
      case Op::kLong1:
        return push_long(run_of(number<uint8_t>())), true;
      case Op::kBinFloat:
        return run_of(8), push(Kind::kFloat), true;
      case Op::kShortBinUnicode:
        return push_text(run_of(number<uint8_t>())), true;
      case Op::kBinUnicode:
        return push_text(run_of(number<uint32_t>())), true;
      case Op::kBinUnicode8:
        return push_text(run_of(number<uint64_t>())), true;
      case Op::kShortBinBytes:
        return run_of(number<uint8_t>()), push(Kind::kBytes), true;
      case Op::kBinBytes:
        return run_of(number<uint32_t>()), push(Kind::kBytes), true;
      default:
        return false;
    }
  }

  void push_text(std::string_view text) {
    if (!utf8::is_valid(text)) damaged("holds text that is not UTF-8");
    push(Kind::kText).text = text;
  }

  void push_long(std::string_view bytes) {
    if (bytes.size() > sizeof(int64_t)) {
      push(Kind::kLongInteger).text = bytes;
      return;
    }
    const bool negative = !bytes.empty() && (static_cast<uint8_t>(bytes.back()) & 0x80) != 0;
    int64_t value = negative ? -1 : 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    push_integer(value);
  }

  bool container(uint8_t opcode) {
    switch (Op{opcode}) {
      case Op::kMark:
        marks_.push_back(stack_.size());
        return true;
      case Op::kEmptyTuple:
        push(Kind::kTuple);
        return true;
      case Op::kEmptyList:
        push(Kind::kList);
        return true;
      case Op::kEmptyDict:
        push(Kind::kDict);
        return true;
      case Op::kTuple:
        return push_tuple(pop_to_mark()), true;
      case Op::kTuple1:
        return push_tuple(pop_items(1)), true;
      case Op::kTuple2:
        return push_tuple(pop_items(2)), true;
      case Op::kTuple3:
        return push_tuple(pop_items(3)), true;
      case Op::kAppend:
        return add(Kind::kList, pop_items(1)), true;
      case Op::kAppends:
        return add(Kind::kList, pop_to_mark()), true;
      case Op::kSetItem:
        return add(Kind::kDict, pop_items(2)), true;
      case Op::kSetItems:
        return add(Kind::kDict, pop_to_mark()), true;
      default:
        return false;
    }
  }

  void push_tuple(std::vector<ObjectId> items) { push(Kind::kTuple).items = std::move(items); }

  void add(Kind kind, const std::vector<ObjectId>& items) {
    Object& container = objects_[top()];
    if (container.kind != kind || (kind == Kind::kDict && items.size() % 2 != 0))
      damaged("adds items to what does not hold them");
    container.items.insert(container.items.end(), items.begin(), items.end());
  }

  bool memo(uint8_t opcode) {
    switch (Op{opcode}) {
      case Op::kBinPut:
        return remember(number<uint8_t>()), true;
      case Op::kLongBinPut:
        return remember(number<uint32_t>()), true;
      case Op::kMemoize:
        return remember(memo_.size()), true;
      case Op::kBinGet:
        return recall(number<uint8_t>()), true;
      case Op::kLongBinGet:
        return recall(number<uint32_t>()), true;
      default:
        return false;
    }
  }

  // Picklers number what they remember from 0 on.
  void remember(size_t index) {
    if (index > memo_.size()) damaged("numbers its objects with gaps");
    if (index == memo_.size()) memo_.push_back(0);
    memo_[index] = top();
  }
  void recall(size_t index) {
    if (index >= memo_.size()) damaged("refers to an object that is not there");
    stack_.push_back(memo_[index]);
  }

  bool object(uint8_t opcode) {
    switch (Op{opcode}) {
      case Op::kGlobal: {
        std::string_view module, name;
        need(reader_.line(module) && reader_.line(name));
        return push_global(module, name), true;
      }
      case Op::kStackGlobal: {
        const std::vector<ObjectId> names = pop_items(2);
        const Object &module = objects_[names[0]], &name = objects_[names[1]];
        if (module.kind != Kind::kText || name.kind != Kind::kText)
          damaged("has a global without a name");
        return push_global(module.text, name.text), true;
      }
      case Op::kBinPersId: {
        const ObjectId id = pop();
        if (objects_[id].kind != Kind::kTuple) damaged("has a storage that no tuple describes");
        push(Kind::kStorage).items = {id};
        return true;
      }
      case Op::kReduce:
        return reduce(), true;
      case Op::kBuild:
        return build(), true;
      default:
        return false;
    }
  }

  void push_global(std::string_view module, std::string_view name) {
    const auto* row = std::find_if(
        std::begin(kGlobals), std::end(kGlobals),
        [&](const GlobalRow& known) { return module == known.module && name == known.name; });
    if (row == std::end(kGlobals) && module == "torch" && name.starts_with("float8"))
      throw Error(ErrorKind::kUnsupported, name_ + ": has tensors of dtype " +
                                               shown(std::string(name.substr(0, 200))) +
                                               dtype_cure(std::string(name)));
    if (row == std::end(kGlobals))
      unsupported(
          "names " +
          shown(std::string(module.substr(0, 200)) + "." + std::string(name.substr(0, 200))) +
          ", which is nothing that tensors need and is not run,");
    push(Kind::kGlobal).global = row;
  }

  // A call. Whether the arguments of a tensor make sense is seen when its name is known.
  void reduce() {
    const std::vector<ObjectId> call = pop_items(2);
    const Object &function = objects_[call[0]], &arguments = objects_[call[1]];
    if (function.kind != Kind::kGlobal || arguments.kind != Kind::kTuple)
      unsupported("calls what is no known function");
    const std::vector<ObjectId>& items = arguments.items;
    const auto first_is = [&](Kind kind) {
      return !items.empty() && objects_[items[0]].kind == kind;
    };
    switch (function.global->global) {
      case Global::kOrderedDict:
        if (!items.empty()) unsupported("makes a collections.OrderedDict of something");
        push(Kind::kDict);
        return;
      case Global::kRebuildTensorV2:
      case Global::kRebuildTensorV3: {
        Object& tensor = push(Kind::kTensor);
        tensor.global = function.global;
        tensor.items = {call[1]};
        return;
      }
      case Global::kRebuildParameter:
      case Global::kRebuildParameterWithState:
        if (!first_is(Kind::kTensor)) damaged("makes a parameter of what is no tensor");
        stack_.push_back(items[0]);
        return;
      case Global::kSize:
        if (items.size() != 1 || !first_is(Kind::kTuple)) damaged("has a torch.Size of no tuple");
        stack_.push_back(items[0]);
        return;
      default:
        unsupported("calls " + std::string(function.global->module) + "." + function.global->name);
    }
  }

  // Attributes of a state_dict (_metadata), which say nothing of its tensors.
  void build() {
    pop();
    if (objects_[top()].kind != Kind::kDict)
      unsupported("has the opcode BUILD for what is no collections.OrderedDict");
  }

  ByteReader reader_;
  const std::string& name_;
  size_t at_ = 0;  // where the instruction begins, for messages
  Objects objects_;
  std::vector<ObjectId> stack_, memo_;
  std::vector<size_t> marks_;  // how many of the stack are below each
};

}  // namespace

Unpickled unpickle(std::span<const std::byte> bytes, const std::string& name) {
  return Unpickler(bytes, name).run();
}

}  // namespace klens::pytorch
