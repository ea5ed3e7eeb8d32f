# Paths from loaders/. Needs TBB, which klens_quant brings, and nlohmann-json.
set(KLENS_GGUF_SOURCES
    gguf/convert_tensors.cpp
    gguf/dequantize.cpp
    gguf/gguf_file.cpp
    gguf/gguf_parser.cpp
    gguf/gguf_tokenizer.cpp
    gguf/gguf_types.cpp
    gguf/mapping.cpp
    gguf/mapping_attention.cpp
    gguf/mapping_hybrid.cpp
    gguf/mapping_mamba.cpp
    gguf/mapping_nemotron.cpp
    gguf/pre_tokenizers.cpp
    gguf/read_gguf.cpp)
