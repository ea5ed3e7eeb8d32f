#!/usr/bin/env bash
# Builds klens and shows its main job on the small model that lies beside this script: measure, plan, quantise,
# and see what it cost. A few minutes on two cores; needs the network only if a package is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

model=apps/demo-model/wiki-mamba
sample=apps/demo-model/sample.txt
klens=build/release/apps/klens
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
jobs=${KLENS_JOBS:-$(nproc)}

if [[ -t 1 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]]; then
  bold=$'\033[1m' faint=$'\033[2m' plain=$'\033[0m'
else
  bold='' faint='' plain=''
fi
step=0
explain() {
  step=$((step + 1))
  printf '\n%s%d. %s%s\n' "$bold" "$step" "$*" "$plain"
}
run() {
  local shown=("${@//$out\//}")
  printf '%s$ klens %s%s\n\n' "$faint" "${shown[*]}" "$plain"
  "$klens" "$@"
}
value() { # value KEY < json: a number on a line of its own
  sed -n "s/^ *\"$1\": *\([^,]*\),\{0,1\}\$/\1/p"
}

started=$SECONDS
printf '%sBuilding klens%s (build/release)\n' "$bold" "$plain"
bash cmake/install-dependencies.sh
mkdir -p build
{
  cmake --preset release -DKLENS_BUILD_TESTS=OFF -DKLENS_BUILD_BENCH=OFF
  cmake --build build/release --target klens_program -j "$jobs"
} > build/demo-build.log 2>&1 || {
  tail -n 30 build/demo-build.log
  echo "the build failed; build/demo-build.log holds all of its output" >&2
  exit 1
}
built=$SECONDS
echo "done in $((built - started)) s"

explain "What the model is: a Mamba of 4.5 million parameters in FP16, trained for this project."
run inspect "$model" | sed -n '1,10p'

explain "How much each weight matrix suffers when it alone is stored coarsely. No data is needed:
   the calibration text is sampled from the model itself."
run profile "$model" -o "$out/profile.json" --windows 8 -c 128 --seed 1

explain "A plan for a budget, from those measurements, in a moment: here 5 bits per weight."
run plan "$out/profile.json" --bpw 5 -o "$out/plan.json" | sed -n '1,5p;/^  format/,$p'

explain "All of that in one command, for a size of the whole file that is never exceeded."
run quantize "$model" -o "$out/small.klens" --size 3M --windows 16 --seed 1

explain "For comparison, the same model with every matrix in the smallest format."
run quantize "$model" -o "$out/uniform.klens" --uniform int4g128 --json > "$out/uniform.json"
printf '  %s\n' "$(wc -c < "$out/uniform.klens") bytes"

explain "What a model file holds; --verify checks every tensor against its checksum."
run inspect "$out/small.klens" --verify | sed -n '1,10p;/^plan/,$p'

explain "How well each predicts a text that neither has seen (apps/demo-model/sample.txt)."
for file in "$model" "$out/small.klens" "$out/uniform.klens"; do
  run perplexity "$file" -f "$sample" | sed -n '1p;4,5p'
done

explain "How far the predictions moved, token by token."
run compare "$model" "$out/small.klens" -f "$sample"

explain "The same prompt and seed in both."
run generate "$model" -p "The river" -n 60 --seed 4 --temp 0.7 -q
echo
run generate "$out/small.klens" -p "The river" -n 60 --seed 4 --temp 0.7 -q

ppl() { "$klens" perplexity "$1" -f "$sample" --json -q | value ppl; }
kl() { "$klens" compare "$model" "$1" -f "$sample" --json -q | value kl; }
printf '\n%sSummary%s (perplexity and KL on %s)\n\n' "$bold" "$plain" "$sample"
printf '  %-24s %12s %12s %12s\n' '' bytes perplexity KL
printf '  %-24s %12d %12.3f %12s\n' 'as published (FP16)' "$(wc -c < "$model/model.safetensors")" "$(ppl "$model")" -
printf '  %-24s %12d %12.3f %12.5f\n' 'klens, at most 3M' "$(wc -c < "$out/small.klens")" \
  "$(ppl "$out/small.klens")" "$(kl "$out/small.klens")"
printf '  %-24s %12d %12.3f %12.5f\n' 'all int4g128' "$(wc -c < "$out/uniform.klens")" \
  "$(ppl "$out/uniform.klens")" "$(kl "$out/uniform.klens")"
printf '\nDone in %d s, of which building took %d s. Try it yourself:\n  %s chat %s\n' \
  "$((SECONDS - started))" "$((built - started))" "$klens" "$model"
