# Paths from loaders/.
set(KLENS_PYTORCH_SOURCES
    pytorch/pickle_opcodes.cpp
    pytorch/pytorch_file.cpp
    pytorch/strided_tensor.cpp
    pytorch/unpickler.cpp
    pytorch/zip_archive.cpp)
