# Writes the OpenCL kernels as a C++ file: cmake -DFILES=a,b -DOUTPUT=file.cpp -P embed_text.cmake
string(REPLACE "," ";" files "${FILES}")
set(rows "")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  file(READ ${file} text)
  # A literal of one piece would be longer than compilers have to take.
  string(REPLACE "\n\n" "\n)cl\"\n    R\"cl(\n" text "${text}")
  string(APPEND rows "    {\"${name}\",\n     R\"cl(${text})cl\"},\n")
endforeach()
file(WRITE ${OUTPUT} "#include \"kernels/opencl/sources.h\"

namespace klens {

static constexpr OpenClSource kSources[] = {
${rows}};

std::span<const OpenClSource> opencl_sources() { return kSources; }

}  // namespace klens
")
