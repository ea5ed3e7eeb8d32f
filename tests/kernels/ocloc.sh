#!/usr/bin/env bash
# Compiles every OpenCL kernel, specialised in every way, for GPUs that are not here, by Intel's offline compiler,
# and looks for spilled registers. usage: ocloc.sh KERNELS_OPENCL_FOLDER [all]; ends in 77, skipped, without ocloc.
set -euo pipefail
kernels=$1
if ! command -v ocloc >/dev/null; then
  echo "skip: there is no ocloc (Debian: intel-opencl-icd)"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

variants=("elementwise" "norm" "activations" "scan" "scores" "probe" "attention"
          "attention -DKV=0" "attention -DKV=1" "attention -DKV=2")
for layout in 0 1 2 3; do variants+=("linear -DLAYOUT=$layout -DMINIMA=0 -DROUNDED=0"); done
for layout in 4 5 6 7 8 9; do
  for minima in 0 1; do
    [[ $layout == 4 && $minima == 1 ]] && continue
    for rounded in 0 1; do variants+=("linear -DLAYOUT=$layout -DMINIMA=$minima -DROUNDED=$rounded"); done
  done
done

# The others have the instructions of these; `all` compiles for them too.
devices=(tgllp acm-g10)
[[ ${2-} != all ]] || devices+=(adl-p acm-g11)
failures=0 compiled=0
for variant in "${variants[@]}"; do
  read -r family options <<< "$variant"
  # This compiler does not know dot products of bytes: their programs are the portable ones here.
  for features in "" "-DROUNDED_DIVISION -cl-fp32-correctly-rounded-divide-sqrt"; do
    # Only these have anything to do with that.
    [[ $features == -DROUNDED_DIVISION* && ! $family =~ ^(norm|activations|attention|elementwise|scan|scores)$ ]] && continue
    for device in "${devices[@]}"; do
      cat "$kernels/common.h" "$kernels/$family.cl" > program.cl
      rm -rf out
      if ! ocloc compile -file program.cl -device $device -output program -out_dir out \
             -options "-cl-std=CL3.0 $features ${options-}" > log 2>&1 || ! grep -q "Build succeeded" log; then
        echo "$variant $features does not build for $device:"; cat log; failures=$((failures + 1)); continue
      fi
      # Its own description of each kernel: token 18 is where its scratch memory begins, and how much a thread needs.
      rm -rf dump; ocloc disasm -file out/*.bin -device $device -dump dump > /dev/null 2>&1
      # There is none where a kernel needs no scratch.
      scratch=$(awk '/4 Token 18$/ { of = 1 } of && /Hex/ { if ($6 $7 $8 $9 != "0000") print; of = 0 }' dump/PTM.txt)
      if ! grep -q "^Kernel #" dump/PTM.txt || [[ -n $scratch ]]; then
        echo "$variant $features needs scratch memory on $device: $scratch"; failures=$((failures + 1))
      fi
      compiled=$((compiled + 1))
    done
  done
done
echo "$compiled programs compiled by ocloc for ${devices[*]}, $failures failures"
[[ $failures == 0 ]]
