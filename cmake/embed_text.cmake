# Writes files as a table in C++:
#   cmake -DFILES=a,b -DOUTPUT=file.cpp -DHEADER=kernels/opencl/sources.h -DROW=OpenClSource -DFUNCTION=opencl_sources
#         -DNAMESPACE=klens -P embed_text.cmake
# HEADER declares ROW, a struct of a name and a text, and FUNCTION, which returns a span of them.
string(REPLACE "," ";" files "${FILES}")
set(rows "")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  file(READ ${file} text)
  # A literal of one piece would be longer than compilers have to take.
  string(REPLACE "\n\n" "\n)cl\"\n    R\"cl(\n" text "${text}")
  string(APPEND rows "    {\"${name}\",\n     R\"cl(${text})cl\"},\n")
endforeach()
file(WRITE ${OUTPUT} "#include \"${HEADER}\"

namespace ${NAMESPACE} {

static constexpr ${ROW} kTexts[] = {
${rows}};

std::span<const ${ROW}> ${FUNCTION}() { return kTexts; }

}  // namespace ${NAMESPACE}
")
