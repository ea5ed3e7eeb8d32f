#!/usr/bin/env bash
# Builds klens and shows its main job on the small model that lies beside this script: measure, plan, quantise,
# and see what it cost. A few minutes on two cores; needs the network only if a package is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

model=apps/demo-model/wiki-mamba
sample=apps/demo-model/sample.txt
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
printf '%sBuilding klens%s (build/release)\n' "$bold" "$plain"
bash cmake/install-dependencies.sh
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
echo "done in $((built - started)) s"

explain "What the model is: a Mamba of 4.5 million parameters in FP16, trained for this project."
run inspect "$model" | sed -n '1,10p'

explain "How much each weight matrix suffers when it alone is stored coarsely. No data is needed:
   the calibration text is sampled from the model itself."
run profile "$model" -o "$out/profile.json" --windows 8 -c 128 --seed 1

explain "A plan for a budget, from those measurements, in a moment: here 5 bits per weight."
run plan "$out/profile.json" --bpw 5 -o "$out/plan.json" | sed -n '1,7p;/^  format/,$p'

explain "All of that in one command, for a size of the whole file that is never exceeded."
run quantize "$model" -o "$out/small.klens" --size 3M --windows 12 -c 128 --seed 1

explain "For comparison, the same model with every matrix in the smallest format."
run quantize "$model" -o "$out/uniform.klens" --uniform int4g128 --json > "$out/uniform.json"
printf '  %s\n' "$(wc -c < "$out/uniform.klens") bytes"

explain "What a model file holds; --verify checks every tensor against its checksum."
run inspect "$out/small.klens" --verify | sed -n '1,10p;/^plan$/,$ { /^plan$/ s/^/\n/; p }'

explain "How well each predicts a text that neither has seen (apps/demo-model/sample.txt)."
for file in "$model" "$out/small.klens" "$out/uniform.klens"; do
  run perplexity "$file" -f "$sample" | sed -n '1p;3p'
done

explain "How far the predictions moved, token by token."
run compare "$model" "$out/small.klens" -f "$sample"

explain "The same prompt and seed in both."
run generate "$model" -p "The river" -n 60 --seed 4 --temp 0.7 -q
echo
run generate "$out/small.klens" -p "The river" -n 60 --seed 4 --temp 0.7 -q

# line NAME FILE: bytes, perplexity, KL from the original, and how often the likeliest token is the same
line() {
  local name=$1 file=$2 bytes report
  bytes=$(wc -c < "$file")
  report=$("$klens" compare "$model" "$file" -f "$sample" --json -q)
  printf '  %-20s %9d %10.2f %9.5f +/- %.5f %9.1f %%\n' "$name" "$bytes" "$(value ppl_b <<< "$report")" \
    "$(value kl <<< "$report")" "$(value kl_stderr <<< "$report")" \
    "$(awk '{ print 100 * $1 }' <<< "$(value top1_agreement <<< "$report")")"
}
printf '\n%sSummary%s, on %s\n\n' "$bold" "$plain" "$sample"
printf '  %-20s %9s %10s %21s %11s\n' '' bytes perplexity 'KL, nats per token' 'same top'
printf '  %-20s %9d %10.2f\n' 'checkpoint, FP16' "$(wc -c < "$model/model.safetensors")" \
  "$("$klens" perplexity "$model" -f "$sample" --json -q | value ppl)"
line 'klens, at most 3M' "$out/small.klens"
line 'all int4g128' "$out/uniform.klens"
cat <<'TEXT'

  KL sees every token's whole prediction; perplexity only the probability of the token
  that came, which on a text this short moves by a per cent or so by luck.
TEXT
printf '\nDone in %d s, of which building took %d s. Try it yourself:\n  %s chat %s\n' \
  "$((SECONDS - started))" "$((built - started))" "$klens" "$out/small.klens"
