#!/usr/bin/env bash
# tests/opencl-drivers.sh            puts a second OpenCL driver into build/opencl-intel
# tests/opencl-drivers.sh COMMAND... runs a command with that driver alone
# It is Intel's CPU runtime, as PyPI has it, which computes on any x86-64 CPU. It has what Debian's PoCL lacks:
# sub-groups, FP16 arithmetic, dot products of bytes.
# Ends in 77, which ctest and tests/run.sh show as skipped, where the package registry does not answer, or where it
# did not when the driver was to be got.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$PWD/build/opencl-intel
# The first needs libraries of the others; of the second it does not say so.
packages=(intel-opencl-rt==2026.2.0 intel-cmplr-lib-rt==2026.2.0 tbb==2023.2.0)

skip() {
  echo "skip: $*"
  exit 77
}

if [[ $# != 0 ]]; then
  [[ -f $folder/made-of ]] || skip "there is no build/opencl-intel (bash tests/opencl-drivers.sh makes it)"
  export OCL_ICD_VENDORS=$folder/vendors LD_LIBRARY_PATH=$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  cd "$OLDPWD"
  exec "$@"
fi

if [[ -f $folder/made-of && $(< "$folder/made-of") == "${packages[*]}" ]]; then exit 0; fi
# That of tests/python-env.sh, or the machine's own.
python=build/test-venv/bin/python
[[ -x $python ]] || python=python3
"$python" -m pip --version > /dev/null 2>&1 || skip "there is no pip (Debian's package python3-pip)"
rm -rf "$folder"
mkdir -p "$folder/wheels" "$folder/lib" "$folder/vendors"
log=$folder/pip.log
# Two tries of ten seconds: without a network that is known at once.
if ! "$python" -m pip download --disable-pip-version-check --no-input --no-deps --only-binary :all: --retries 1 \
       --timeout 10 -d "$folder/wheels" "${packages[@]}" > "$log" 2>&1; then
  if grep -qiE 'Retrying \(|connection (broken|refused|error)|timed out|Name or service not known|Could not fetch URL' "$log"; then
    skip "the Python package registry does not answer; tests with Intel's OpenCL are left out"
  fi
  tail -n 20 "$log" >&2
  exit 1
fi
for wheel in "$folder"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$folder/unpacked"; done
find "$folder/unpacked" -path '*/data/lib/*' -type f -exec mv -t "$folder/lib" {} +
# Neither its loader, nor what packages hold twice, as they have no links.
rm -rf "$folder/unpacked" "$folder/wheels" "$folder"/lib/libOpenCL* "$folder/lib/icx-lto.so" \
  "$folder/lib/libcommon_clang.so" "$folder"/lib/libintelocl.so.*
echo "$folder/lib/libintelocl.so" > "$folder/vendors/intel.icd"
printf '%s\n' "${packages[*]}" > "$folder/made-of"
