#!/usr/bin/env bash
# Whether two builds of klens compute the same bits: logits of every golden and of the trained models that are here, as they
# are and quantised, at every level that the machine has; what greedy decoding generates; and whole profiles, whose
# students are scored in the same way.
#
#   compare_builds.sh OLD NEW [MODEL...]    two klens programs; models beyond the goldens. Exit 1 where something differs.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $# -ge 2 ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
old=$1 new=$2
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
levels=(scalar avx2)
grep -qw avx_vnni /proc/cpuinfo && levels+=(avxvnni)
grep -qw avx512_vnni /proc/cpuinfo && levels+=(avx512)
grep -qw amx_int8 /proc/cpuinfo && levels+=(amx)
same=0 differ=0

# compare WHAT FILE: two files, FILE.old and FILE.new.
compare() {
  if cmp -s "$2.old" "$2.new"; then
    same=$((same + 1))
  else
    differ=$((differ + 1))
    echo "differs: $1"
  fi
}

# both WHAT FILE ARGUMENT...: runs both builds; OUT in an argument is the file of each.
both() {
  local what=$1 file=$2 build
  shift 2
  for build in old new; do
    if ! "${!build}" "${@//OUT/$file.$build.safetensors}" > "$file.$build" 2> "$file.$build.err"; then
      echo "$build fails: $what: $(tail -n 1 "$file.$build.err")"
      differ=$((differ + 1))
    fi
    if [[ -f $file.$build.safetensors ]]; then mv "$file.$build.safetensors" "$file.$build"; fi
  done
  compare "$what" "$file"
}

for model in "$here"/data/goldens/* "$@"; do
  name=$(basename "$model")
  seq 3 2 150 > "$work/ids"  # 74 tokens, more than a block of 64
  models=("$model")
  for format in int8 int4g32; do
    "$old" quantize "$model" --uniform "$format" --no-measure -q -o "$work/$name.$format.klens" > /dev/null 2>&1 &&
      models+=("$work/$name.$format.klens")
  done
  for level in "${levels[@]}"; do
    export KLENS_ISA=$level
    for each in "${models[@]}"; do
      both "logits of $(basename "$each") at $level" "$work/logits" logits "$each" --ids "$work/ids" -o OUT
      both "tokens of $(basename "$each") at $level" "$work/tokens" generate "$each" --ids "$work/ids" -n 24 --temp 0 --ignore-eos
    done
    [[ $level == scalar ]] || both "profile of $name at $level" "$work/profile" \
      profile "$model" --formats int8,int4g32 --windows 2 -c 48 -t 2 -q -o /dev/stdout
  done
  rm -f "$work"/*.klens
done
echo "$same the same, $differ different"
[[ $differ == 0 ]]
