#!/usr/bin/env bash
# Compiles every OpenCL kernel, specialised in every way, for GPUs that are not here, by Intel's offline compiler,
# and looks for spilled registers. usage: ocloc.sh KERNELS_OPENCL_FOLDER; ends in 77, skipped, without ocloc.
# Xe-LP (tgllp, adl-p) and Xe-HPG (acm-g10, acm-g11), whose sub-groups multiply matrices. The first of each stands
# for the second in what is portable.
set -euo pipefail

# check KERNELS DEVICE FAMILY OPTIONS, in a folder of its own: one line of what is wrong and what the compiler said.
check() {
  local kernels=$1 device=$2 family=$3 options=$4 work scratch
  work=$(mktemp -d -p .)
  cd "$work"
  cat "$kernels/common.h" "$kernels/$family.cl" > program.cl
  if ! ocloc compile -file program.cl -device "$device" -output program -out_dir out \
         -options "-cl-std=CL3.0 $options" > log 2>&1 || ! grep -q "Build succeeded" log; then
    echo "$family $options does not build for $device: $(cat log)"
    return
  fi
  # Its own description of each kernel: token 18 is where its scratch memory begins, and how much a thread needs.
  ocloc disasm -file out/*.bin -device "$device" -dump dump > /dev/null 2>&1
  # There is none where a kernel needs no scratch.
  scratch=$(awk '/4 Token 18$/ { of = 1 } of && /Hex/ { if ($6 $7 $8 $9 != "0000") print; of = 0 }' dump/PTM.txt)
  if ! grep -q "^Kernel #" dump/PTM.txt || [[ -n $scratch ]]; then
    echo "$family $options needs scratch memory on $device: $scratch"
  fi
  echo compiled
}
export -f check

kernels=$(realpath "$1")
if ! command -v ocloc >/dev/null; then
  echo "skip: there is no ocloc (Debian: intel-opencl-icd)"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

linear=()
for layout in 0 1 2 3; do linear+=("linear -DLAYOUT=$layout -DMINIMA=0 -DROUNDED=0"); done
for layout in 4 5 6 7 8 9; do
  for minima in 0 1; do
    [[ $layout == 4 && $minima == 1 ]] && continue
    for rounded in 0 1; do linear+=("linear -DLAYOUT=$layout -DMINIMA=$minima -DROUNDED=$rounded"); done
  done
done
# This compiler does not know dot products of bytes by their name; it makes its instruction of what the portable
# way says. Only these have anything to do with division.
others=(checksum probe)
for variant in elementwise norm activations scan chunks scores attention "attention -DKV=0" "attention -DKV=1" \
               "attention -DKV=2"; do
  others+=("$variant" "$variant -DROUNDED_DIVISION -cl-fp32-correctly-rounded-divide-sqrt")
done

wanted=0
add() { # add DEVICE FEATURES VARIANT...
  local device=$1 features=$2 variant family options
  shift 2
  for variant in "$@"; do
    read -r family options <<< "$variant"
    printf '%s\0' "$kernels" "$device" "$family" "$features ${options-}" >> calls
    wanted=$((wanted + 1))
  done
}
add tgllp "" "${linear[@]}" "${others[@]}"
add acm-g10 "" "${linear[@]}" "${others[@]}"
for device in tgllp adl-p; do add $device -DSUB_GROUPS "${linear[@]}"; done
for device in acm-g10 acm-g11; do add $device "-DSUB_GROUPS -DMATRIX=8" "${linear[@]}"; done
# shellcheck disable=SC2016  # the inner shell's
xargs -0 -n 4 -P "$(nproc)" bash -c 'check "$@"' check < calls > found
grep -vx compiled found || true
compiled=$(grep -cx compiled found || true)
echo "$compiled of $wanted programs compiled by ocloc for tgllp, adl-p, acm-g10 and acm-g11"
[[ $compiled == "$wanted" ]] && ! grep -qvx compiled found
