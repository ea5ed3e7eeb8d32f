#!/usr/bin/env bash
# Instructions per token of prefill and decode, counted by callgrind, against those accepted in instructions.txt: noise of
# the machine cannot hide a loss here, nor make one up. More than 3 % above is a failure.
#
#   ratchet.sh KLENS [COMPILER]             compares; exit 77: skipped, with the reason
#   ratchet.sh --accept KLENS [COMPILER]    takes what is counted now; commit the file with the reason
#
# COMPILER, as CMake names it ("GNU 12.2.0"), must be the one of the file's first line: others compile otherwise.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
accepted=$here/instructions.txt
shared=${KLENS_SHARED:-$here/../../../shared}
tolerance=3 # percent

accept=no
if [[ ${1-} == --accept ]]; then
  accept=yes
  shift
fi
[[ $# == 1 || $# == 2 ]] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
klens=$1 compiler=${2:-GNU 12}

skip() {
  echo "skipped: $1"
  exit 77
}
command -v valgrind > /dev/null || skip "there is no valgrind"
grep -qw avx2 /proc/cpuinfo || skip "this CPU has no AVX2"
[[ $compiler == "GNU 12"* ]] || skip "the counts are of GCC 12, this is $compiler"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Valgrind knows no AVX-512; one thread, so that nobody waits for anybody.
export KLENS_ISA=avx2

# instructions MODEL PROMPT GENERATED OUT: of a whole run.
instructions() {
  seq 100 $((99 + $2)) > "$4.ids"
  valgrind --tool=callgrind --callgrind-out-file=/dev/null \
    "$klens" generate "$1" --ids "$4.ids" -n "$3" --greedy --ignore-eos -t 1 -q > /dev/null 2> "$4.log" ||
    { cat "$4.log" >&2; return 1; }
  sed -n 's/^==[0-9]*== Collected : //p' "$4.log" > "$4"
}

failed=0
# check CASE MODEL PROMPT GENERATED PROMPT2 GENERATED2: what each token of the second run costs that the first lacks, so
# that starting does not count.
check() {
  local name=$1 per was change
  instructions "$2" "$3" "$4" "$work/few" &
  instructions "$2" "$5" "$6" "$work/many"
  wait $!
  per=$((($(< "$work/many") - $(< "$work/few")) / ($5 + $6 - $3 - $4)))
  was=$(awk -v name="$name" '$1 == name { print $2 }' "$accepted")
  printf '%-24s %10d\n' "$name" "$per" >> "$work/counts"
  if [[ -z $was ]]; then
    echo "$name: $per instructions per token, never accepted"
    failed=1
    return
  fi
  change=$(awk -v now="$per" -v was="$was" 'BEGIN { printf "%+.2f", 100 * (now / was - 1) }')
  echo "$name: $per instructions per token, accepted $was, $change %"
  if awk -v c="$change" -v t="$tolerance" 'BEGIN { exit !(c > t) }'; then
    failed=1
  elif awk -v c="$change" -v t="$tolerance" 'BEGIN { exit !(c < -t) }'; then
    echo "  better: please accept it, or the gain can be lost again unseen"
  fi
}

measure() { # measure NAME CHECKPOINT
  "$klens" quantize "$2" -o "$work/$1.klens" --uniform int4g64 --no-measure -t 1 -q > /dev/null
  check "$1.prefill" "$work/$1.klens" 128 1 320 1
  check "$1.decode" "$work/$1.klens" 8 16 8 64
}

measure wiki-mamba "$here/../../apps/demo-model/wiki-mamba"
if [[ -d $shared/models/wiki-mamba2 ]]; then
  measure wiki-mamba2 "$shared/models/wiki-mamba2"
else
  echo "skipped: wiki-mamba2, there is no $shared/models"
  grep '^wiki-mamba2' "$accepted" >> "$work/counts" || true
fi

if [[ $accept == yes ]]; then
  { grep '^#' "$accepted"; cat "$work/counts"; } > "$work/new"
  cp "$work/new" "$accepted"
  echo "accepted"
elif [[ $failed == 1 ]]; then
  echo "not accepted, or more than $tolerance % worse; where that is worth it: $0 --accept $klens"
  exit 1
fi
