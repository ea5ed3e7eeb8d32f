#pragma once
// The metadata keys of a .klens file, shared by its writer and its reader.

namespace klens::klens_key {

inline constexpr const char* kVersion = "klens.format_version";
inline constexpr const char* kName = "klens.name";
inline constexpr const char* kArchitecture = "klens.architecture";
inline constexpr const char* kConfig = "klens.config";
inline constexpr const char* kGenerationConfig = "klens.generation_config";
inline constexpr const char* kTokenizer = "klens.tokenizer";
inline constexpr const char* kTokenizerConfig = "klens.tokenizer_config";
inline constexpr const char* kChatTemplate = "klens.chat_template";
inline constexpr const char* kStopTokens = "klens.stop_tokens";
inline constexpr const char* kUnits = "klens.units";
inline constexpr const char* kPlan = "klens.plan";
inline constexpr const char* kProvenance = "klens.provenance";
inline constexpr const char* kChecksums = "klens.checksums";

// What every file has; the others are there if the checkpoint had such a text.
inline constexpr const char* kRequired[] = {kArchitecture, kConfig,     kUnits,
                                            kPlan,         kProvenance, kChecksums};

}  // namespace klens::klens_key
