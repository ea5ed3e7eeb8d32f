#!/usr/bin/env bash
# Builds klens and shows its main job on the small model that lies beside this script: measure, plan, quantise,
# and see what it cost. A few minutes on two cores; needs the network only if a package is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

model=apps/demo-model/wiki-mamba
# 20,000 tokens that the model itself wrote at temperature 1 (klens generate -p The --seed 1001 --temp 1 --top-k 0
# --top-p 1 --min-p 0 --ignore-eos): on such a text the logarithm of a perplexity ratio is, but for chance, the KL.
text=apps/demo-model/own-text.txt
klens=build/release/apps/klens
out=build/demo
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
  printf '%s$ klens %s%s\n\n' "$faint" "$*" "$plain"
  "$klens" "$@"
}
value() { # value KEY < json: a number on a line of its own
  sed -n "s/^ *\"$1\": *\([^,]*\),\{0,1\}\$/\1/p"
}

started=$SECONDS
bash cmake/install-dependencies.sh
installed=$SECONDS
printf '%sBuilding klens%s (build/release)\n' "$bold" "$plain"
rm -rf "$out"
mkdir -p "$out"
{
  cmake --preset release -DKLENS_BUILD_TESTS=OFF -DKLENS_BUILD_BENCH=OFF
  cmake --build build/release --target klens_program -j "$jobs"
} > "$out/build.log" 2>&1 || {
  tail -n 30 "$out/build.log"
  echo "the build failed; $out/build.log holds all of its output" >&2
  exit 1
}
built=$SECONDS
printf 'installed what was missing in %d s, built in %d s\n' "$((installed - started))" "$((built - installed))"

explain "What the model is: a Mamba of 4.5 million parameters in FP16, trained for this project."
run inspect "$model" | sed -n '1,10p'

explain "How much each weight matrix suffers when it alone is stored coarsely. No data is needed:
   the calibration text is sampled from the model itself."
run profile "$model" -o "$out/profile.json" --windows 8 -c 128 --seed 1

explain "A plan for a budget, from those measurements, in a moment: here 5 bits per weight."
run plan "$out/profile.json" --bpw 5 -o "$out/plan.json" | sed -n '1,7p;/^  format/,$p'

explain "The usual way, for comparison: every matrix in the same format."
run quantize "$model" -o "$out/uniform.klens" --uniform int4g32 --no-measure
size=$(wc -c < "$out/uniform.klens")

explain "Measure and plan in one command, for a size of the whole file that is never exceeded: that file's."
run quantize "$model" -o "$out/small.klens" --size "$size" --windows 12 -c 128 --seed 1

explain "What a model file holds; --verify checks every tensor against its checksum."
run inspect "$out/small.klens" --verify | sed -n '1,10p;/^plan$/,$ { /^plan$/ s/^/\n/; p }'

explain "How far the plan's predictions are from the original's, token by token."
run compare "$model" "$out/small.klens" -f "$text" | sed '/99.9% KLD/,/^$/d;/^Maximum dp/,/^Minimum dp/d'

explain "The plan against the uniform file on the same text: the error is of the difference, token by token."
run compare "$out/uniform.klens" "$out/small.klens" -f "$text" | sed -n '/tokens in/,/PPL(B)-PPL(A)/p'

explain "The same prompt and seed in both."
run generate "$model" -p "The river" -n 60 --seed 4 --temp 0.7 -q
echo
run generate "$out/small.klens" -p "The river" -n 60 --seed 4 --temp 0.7 -q

# line NAME FILE: bytes, perplexity, KL from the original, and how often the likeliest token is the same
line() {
  local name=$1 file=$2 report
  report=$("$klens" compare "$model" "$file" -f "$text" --json -q)
  printf '  %-20s %9d %10.2f %9.5f +/- %.5f %9.1f %%\n' "$name" "$(wc -c < "$file")" "$(value ppl_b <<< "$report")" \
    "$(value kl <<< "$report")" "$(value kl_stderr <<< "$report")" \
    "$(awk '{ print 100 * $1 }' <<< "$(value top1_agreement <<< "$report")")"
}
report=$("$klens" compare "$out/uniform.klens" "$out/small.klens" -f "$text" --json -q)
printf '\n%sSummary%s, on %d tokens of %s\n\n' "$bold" "$plain" "$(value tokens <<< "$report")" "$text"
printf '  %-20s %9s %10s %21s %11s\n' '' bytes perplexity 'KL, nats per token' 'same top'
printf '  %-20s %9d %10.2f\n' 'checkpoint, FP16' "$(wc -c < "$model/model.safetensors")" \
  "$("$klens" perplexity "$model" -f "$text" --json -q | value ppl)"
line 'all int4g32' "$out/uniform.klens"
line 'klens, at that size' "$out/small.klens"
printf '\n  ln(PPL of the plan / PPL of all int4g32): %.5f +/- %.5f\n' \
  "$(value ln_ppl_ratio <<< "$report")" "$(value ln_ppl_ratio_stderr <<< "$report")"
printf '\nDone in %d s: %d s installing, %d s building, %d s the rest. Try it yourself:\n  %s chat %s\n' \
  "$((SECONDS - started))" "$((installed - started))" "$((built - installed))" "$((SECONDS - built))" \
  "$klens" "$out/small.klens"
