#include "loaders/checkpoint.h"

#include <cstring>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "loaders/file_kind.h"
#include "loaders/gguf/read_gguf.h"
#include "loaders/json.h"
#include "loaders/klens_file.h"

namespace klens {
namespace {

const char* type_name(Layout rows) {
  return rows == Layout::kRowsF32 ? "f32" : rows == Layout::kRowsBf16 ? "bf16" : "f16";
}

// Moves tensors into a checkpoint, one by one.
class Filler {
 public:
  Filler(Checkpoint& checkpoint, TensorSource& tensors)
      : checkpoint_(checkpoint), tensors_(tensors) {}

  void unit(const LinearSpec& spec) {
    const std::vector<int64_t> own = {spec.rows, spec.cols};
    const TensorSource::Entry& entry = find(spec.tensor, spec.tensor_shape);
    const std::string where = entry.file + ": tensor " + spec.tensor;
    // A part's share of what the file holds of the whole.
    const auto rows = static_cast<size_t>(entry.view.elements() / spec.cols);
    const size_t stored = entry.stored_bytes / rows * static_cast<size_t>(spec.rows);
    if (const auto packed = tensors_.packed.find(spec.name); packed != tensors_.packed.end())
      return packed_unit(spec, entry, packed->second, stored);
    TensorView view = entry.view;
    const size_t row_bytes = view.bytes.size() / rows;
    view.shape = own;
    view.bytes = view.bytes.subspan(static_cast<size_t>(spec.first_row) * row_bytes,
                                    static_cast<size_t>(spec.rows) * row_bytes);
    const Layout layout = row_layout(view.dtype, where);
    refuse_non_finite(view, where);
    const bool converted = !entry.stored_type.empty();
    checkpoint_.tensor_bytes += converted ? stored : view.bytes.size();
    checkpoint_.units[spec.name] = {
        .view = {.layout = layout, .rows = spec.rows, .cols = spec.cols, .data = aligned(view)},
        .format = nullptr,
        .choice = std::nullopt,
        .bytes = view.bytes.size(),
        .stored_type = converted ? entry.stored_type : type_name(layout),
        .stored_bytes = converted ? stored : view.bytes.size(),
        .quantised = entry.quantised};
  }

  void small(const SmallSpec& spec) {
    const TensorSource::Entry& entry = find(spec.tensor, spec.shape);
    checkpoint_.tensor_bytes +=
        entry.stored_type.empty() ? entry.view.bytes.size() : entry.stored_bytes;
    refuse_non_finite(entry.view, entry.file + ": tensor " + spec.tensor);
    checkpoint_.small[spec.tensor] = entry.view;
  }

  // A tensor that nothing reads is arithmetic that nothing does, but for those known to be none.
  void refuse_unread() {
    std::map<std::string_view, int64_t> left_out;
    for (const auto& [name, entry] : tensors_.tensors) {
      if (read_.count(name) != 0) continue;
      if (const std::string_view part = other_part(name); !part.empty())
        ++left_out[part];
      else if (!needless(name))
        throw Error(ErrorKind::kUnsupported, entry.file + ": tensor " + brief(name) +
                                                 " is not one that " +
                                                 checkpoint_.spec.architecture + " has with " +
                                                 tensors_.settings + "; " + tensors_.cure);
    }
    for (const auto& [part, count] : left_out)
      checkpoint_.left_out += (checkpoint_.left_out.empty() ? "" : ", ") + std::to_string(count) +
                              (checkpoint_.left_out.empty() ? " tensors of " : " of ") +
                              std::string(part);
  }

 private:
  void packed_unit(const LinearSpec& spec, const TensorSource::Entry& entry,
                   const TensorSource::Packed& packed, size_t stored) {
    checkpoint_.tensor_bytes += stored;
    checkpoint_.units[spec.name] = {.view = packed.view,
                                    .format = packed.format,
                                    .choice = std::nullopt,
                                    .bytes = packed_bytes(*packed.format, spec.rows, spec.cols),
                                    .stored_type = entry.stored_type,
                                    .stored_bytes = stored,
                                    .quantised = true};
  }

  const TensorSource::Entry& find(const std::string& name, const std::vector<int64_t>& shape) {
    const auto found = tensors_.tensors.find(name);
    if (found == tensors_.tensors.end())
      throw Error(ErrorKind::kBadFile, tensors_.described + ": tensor " + name + " is missing; " +
                                           tensors_.settings + " asks for it with shape " +
                                           shape_text(shape) + ": " + tensors_.cure);
    if (found->second.view.shape != shape)
      throw Error(ErrorKind::kBadFile, found->second.file + ": tensor " + name + " has shape " +
                                           shape_text(found->second.view.shape) + ", " +
                                           tensors_.settings + " asks for " + shape_text(shape) +
                                           ": " + tensors_.cure);
    read_.insert(name);
    return found->second;
  }

  const std::byte* aligned(const TensorView& view) {
    const std::byte* data = view.bytes.data();
    if (reinterpret_cast<uintptr_t>(data) % alignof(float) == 0) return data;
    AlignedBuffer copy(view.bytes.size());
    std::memcpy(copy.data(), data, copy.size());
    data = copy.data();
    tensors_.copies.push_back(std::move(copy));
    return data;
  }

  // What a tensor belongs to besides the language model: images, or heads that predict further
  // tokens.
  std::string_view other_part(const std::string& name) const {
    constexpr std::string_view kMtp = "mtp";
    if (name.starts_with("mtp.")) return kMtp;
    const bool sees = checkpoint_.spec.architecture.ends_with("ForConditionalGeneration");
    for (const std::string_view part : {"model.visual", "visual"})
      if (sees && name.starts_with(part) && name[part.size()] == '.') return part;
    return {};
  }

  bool needless(const std::string& name) const {
    const auto ends = [&](std::string_view end) {
      return name.size() >= end.size() &&
             name.compare(name.size() - end.size(), end.size(), end) == 0;
    };
    const auto holds = [&](std::string_view part) { return name.find(part) != std::string::npos; };
    return (checkpoint_.spec.tied() && ends("lm_head.weight") && is_embedding(name)) ||
           ends("rotary_emb.inv_freq") || ends(".mup_vector")  // derived from the config
           || holds(".shared_transf");  // Zamba's copies of its shared blocks
  }

  // A tied model's own head can only be a copy of the embedding.
  bool is_embedding(const std::string& name) const {
    const TensorSource::Entry& head = tensors_.tensors.at(name);
    const ModelSpec& spec = checkpoint_.spec;
    const TensorView& embedding = tensors_.tensors.at(spec.matrices[spec.head].tensor).view;
    const auto& a = head.view.bytes;
    const auto& b = embedding.bytes;
    const bool same_bytes =
        head.view.dtype == embedding.dtype && a.size() == b.size() &&
        (a.data() == b.data() || std::memcmp(a.data(), b.data(), a.size()) == 0);
    if (same_bytes) return true;
    refuse_non_finite(head.view, head.file + ": tensor " + name);
    if (head.view.shape == embedding.shape && to_f32(head.view) == to_f32(embedding)) return true;
    throw Error(ErrorKind::kUnsupported,
                head.file + ": tensor " + name + " is not the embedding, but " + tensors_.settings +
                    " ties the head to it; write \"tie_word_embeddings\": false "
                    "there (\"tie_embeddings\" of a state-spaces config) if the head is to count, "
                    "or take the tensor away");
  }

  Checkpoint& checkpoint_;
  TensorSource& tensors_;
  std::set<std::string> read_;
};

}  // namespace

void fill_checkpoint(Checkpoint& checkpoint, TensorSource tensors) {
  Filler filler(checkpoint, tensors);
  for (const LinearSpec& unit : checkpoint.spec.units) filler.unit(unit);
  for (const SmallSpec& small : checkpoint.spec.smalls) filler.small(small);
  filler.refuse_unread();
  checkpoint.file_bytes = tensors.file_bytes;
  checkpoint.files = std::move(tensors.files);
  checkpoint.copies = std::move(tensors.copies);
}

namespace {

Checkpoint read_gguf_checkpoint(const std::string& path) {
  GgufModel model = read_gguf(path);
  Checkpoint checkpoint;
  checkpoint.path = path;
  checkpoint.name = model.name;
  checkpoint.texts = std::move(model.texts);
  checkpoint.spec = std::move(model.spec);
  checkpoint.stop_tokens = find_stop_tokens(checkpoint.texts, model.stop_tokens);
  fill_checkpoint(checkpoint, std::move(model.tensors));
  return checkpoint;
}

}  // namespace

Choice choice_as_stored(const StoredUnit& unit) {
  if (unit.choice) return *unit.choice;
  return unit.format == nullptr ? Choice{kBaseFormat.name} : Choice{unit.format->name, kStored};
}

bool has_weights_of(const StoredUnit& unit, const Choice& choice) {
  const Choice stored = choice_as_stored(unit);
  return choice.format == stored.format && choice.quantizer == stored.quantizer &&
         (unit.format != nullptr || unit.view.layout == Layout::kRowsF16);
}

bool is_as_stored(const StoredUnit& unit, const Choice& choice) {
  return has_weights_of(unit, choice) &&
         choice.activation_bits == choice_as_stored(unit).activation_bits;
}

std::string quantised_formats(const Checkpoint& checkpoint) {
  std::map<std::string, std::set<MatrixId>> counts;
  for (const LinearSpec& spec : checkpoint.spec.units) {
    const StoredUnit& unit = checkpoint.units.at(spec.name);
    if (unit.quantised) counts[unit.stored_type].insert(spec.matrix);
  }
  std::string text;
  for (const auto& [type, matrices] : counts)
    text += (text.empty() ? "" : ", ") + type + " in " + std::to_string(matrices.size()) +
            (text.empty() ? " of " + std::to_string(checkpoint.spec.matrices.size()) + " matrices"
                          : "");
  // FP16 again, of what was quantised before, is no original.
  const auto before = checkpoint.provenance.find("source.formats");
  return text.empty() && before != checkpoint.provenance.end() ? before->second : text;
}

Checkpoint open_checkpoint(const std::string& path, bool verify) {
  const std::string file = model_file(path);
  std::error_code ec;
  if (std::filesystem::is_directory(file, ec)) return read_checkpoint_folder(file);
  if (is_gguf(file)) return read_gguf_checkpoint(file);
  if (kind_of_file(file) == FileKind::kUnknown && file.ends_with(".json"))
    throw Error(ErrorKind::kUnsupported,
                file +
                    ": is a JSON file, which holds no weights; give the checkpoint folder that "
                    "it lies in, a .klens or a GGUF file");
  return read_klens_file(file, verify);
}

bool is_gguf(const std::string& path) {
  const FileKind kind = kind_of_file(path);
  // What begins as nothing that is known is what its name says: damaged.
  return kind == FileKind::kGguf || (kind == FileKind::kUnknown && path.ends_with(".gguf"));
}

}  // namespace klens
