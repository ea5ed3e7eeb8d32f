#!/usr/bin/env bash
# What programs that are built already rely on: the functions, structs and enums of klens.h, against those of the last
# release of this major version (engine/klens.abi). Structs may grow at their ends, and functions may be added.
# usage: abi.sh SOURCE WORK_FOLDER CC [--update]
# The library's own symbols are compared with klens.h by installed_library.cmake; so it is enough to look at a library
# that is compiled of nothing but klens.h, with every function defined, and it has the debug information for it.
set -euo pipefail
source=$1 work=$2 cc=$3
command -v abidiff > /dev/null || { echo "skip: there is no abidiff (Debian's package abigail-tools)"; exit 77; }
mkdir -p "$work"
header=$source/engine/include/klens/klens.h
{
  echo '#include "klens/klens.h"'
  perl -0777 -ne 's{/\*.*?\*/}{}gs; print "$1 { __builtin_trap(); }\n" while /^KLENS_API ([^;]*\));/gm' "$header"
} > "$work/klens.c"
major=$(sed -n 's/^#define KLENS_VERSION_MAJOR //p' "$header")
"$cc" -std=c99 -g -O0 -shared -fPIC -I "$source/engine/include" -Wl,-soname,"libklens.so.$major" "$work/klens.c" \
  -o "$work/libklens.so"
if [[ ${4-} == --update ]]; then
  abidw --no-comp-dir-path --no-show-locs --no-corpus-path "$work/libklens.so" > "$source/engine/klens.abi"
  exit 0
fi
code=0
changes=$(abidiff --no-added-syms --leaf-changes-only --no-show-locs "$source/engine/klens.abi" "$work/libklens.so") || code=$?
if ((code & 3)); then exit 1; fi  # it could not compare; what is different is told by other bits
# Of the report, what is more than summaries and new fields behind all that such a struct had.
wrong=$(awk '
  /summary:/ || NF == 0 { next }
  /^.struct (klens_[a-z]*_options|klens_progress|klens_ranks). changed:$/ { grows = 1; what = $0; next }
  /^[^ ]/ { grows = 0 }
  grows && /^  type size changed from/ { old_bits = $5; next }
  grows && /^  [0-9]+ data member insertions?:$/ { next }
  grows && /^    .*, at offset [0-9]+ \(in bits\)$/ { if ($(NF - 2) >= old_bits + 0) next }
  { print grows ? what $0 : $0 }' <<< "$changes")
if [[ -n $wrong ]]; then
  echo "$changes"
  echo "klens.h has changed for programs that are built already. Where that cannot be undone, it is a new major version:"
  echo "raise KLENS_VERSION_MAJOR, and run: bash tests/engine/abi.sh . build/abi cc --update"
  exit 1
fi
