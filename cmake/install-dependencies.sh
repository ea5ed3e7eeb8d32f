#!/usr/bin/env bash
# Installs what building klens needs, with --python also what building its wheel needs, with --tests all that and what
# the tests need. Does nothing, and needs no network, where all of it is there.
set -euo pipefail
export LC_ALL=C

with_tests=no with_python=no
case "${1-}" in
  --tests) with_tests=yes with_python=yes ;;
  --python) with_python=yes ;;
  "") ;;
  *) echo "usage: $0 [--python | --tests]" >&2; exit 2 ;;
esac

packages=(g++ cmake ninja-build pkg-config libtbb-dev nlohmann-json3-dev libcxxopts-dev libpcre2-dev
          libutf8proc-dev libxxhash-dev libedit-dev libeigen3-dev
          libcpp-httplib-dev  # HTTP of klens serve: a protocol with many corners, which are not ours to find
          opencl-c-headers)  # of OpenCL its headers alone: libOpenCL is opened at run time, where it is
[[ $with_python == no ]] || packages+=(python3-venv python3-dev)
if [[ $with_tests == yes ]]; then
  packages+=(catch2 libbenchmark-dev clang valgrind openmpi-bin libopenmpi-dev
             abigail-tools lintian  # whether klens.h still fits programs that are built, and packages Debian
             mmdebstrap  # a bare Debian to install packages in
             # A loader and a driver that runs OpenCL's kernels on the CPU; Intel's, for its offline compiler.
             # Oclgrind interprets them, and sees races and what leaves a buffer.
             ocl-icd-libopencl1 pocl-opencl-icd intel-opencl-icd oclgrind
             # What schemas allow, said by others, and a validator that did not come from us.
             json-schema-test-suite python3-jsonschema)
fi

explain() {
  cat >&2 <<'TEXT'
klens needs: a C++20 compiler (GCC 12 or Clang 14 and later), CMake 3.25 and later, Ninja, pkg-config, oneTBB,
nlohmann-json 3.11, cxxopts 3, PCRE2, utf8proc, xxHash, libedit, Eigen 3 and cpp-httplib 0.11, with their headers, and OpenCL's headers (without them there is no --backend opencl);
its tests also Catch2 version 2, Google Benchmark, Valgrind, Open MPI, an OpenCL driver, ocloc, and Python 3.11 with venv and headers (skipped without them), and Clang with its sanitizer and fuzzer runtimes.
TEXT
}

installed() {
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Clang's runtimes are a package of their own since LLVM 14, and carry its version in their name.
clang_can_fuzz() {
  command -v clang++ >/dev/null || return 1
  local probe
  probe=$(mktemp -d)
  echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' \
    > "$probe/probe.cpp"
  local code=0
  clang++ -fsanitize=address,undefined,fuzzer "$probe/probe.cpp" -o "$probe/probe" 2>/dev/null || code=1
  rm -rf "$probe"
  return $code
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  else
    sudo "$@"
  fi
}

install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "This is no Debian or Ubuntu: what klens needs has to be there already." >&2
  explain
  for tool in c++ cmake ninja pkg-config; do
    command -v "$tool" >/dev/null || { echo "missing: $tool" >&2; exit 1; }
  done
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
need_runtimes=no
if [[ $with_tests == yes ]] && ! clang_can_fuzz; then need_runtimes=yes; fi
if [[ ${#missing[@]} == 0 && $need_runtimes == no ]]; then exit 0; fi

if [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; then
  echo "These packages are missing, and only root can install them: ${missing[*]}" >&2
  [[ $need_runtimes == no ]] || echo "and Clang's runtimes: libclang-rt-dev or libclang-rt-NN-dev" >&2
  explain
  exit 1
fi

echo "Installing: ${missing[*]}" >&2
as_root apt-get update
[[ ${#missing[@]} == 0 ]] || install "${missing[@]}"
if [[ $with_tests == yes ]] && ! clang_can_fuzz; then
  version=$(clang -dumpversion | cut -d. -f1)
  for runtimes in "libclang-rt-$version-dev" "libclang-common-$version-dev"; do
    if apt-cache show "$runtimes" >/dev/null 2>&1; then
      install "$runtimes"
      break
    fi
  done
fi
