#!/usr/bin/env bash
# Parses the sources that have changed one by one and without precompiled headers, so that one that does not include
# what it uses is found, as is what compilers warn of in one file alone.
#   includes.sh [COMMIT | all]    changed since COMMIT (default: KLENS_BASE, or twenty commits ago)
# KLENS_JOBS (all cores) run at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

base=${1-${KLENS_BASE-HEAD~20}}
jobs=${KLENS_JOBS:-$(nproc)}
# A clone of few commits, or a copy without history, has nothing to compare with.
if [[ $base != all ]] && ! git rev-parse -q --verify "$base^{commit}" > /dev/null 2>&1; then
  base=all
fi
# Commands for single files: builds compile several at once.
mkdir -p build
cmake --preset release -B build/includes -DKLENS_UNITY_BUILD=OFF -DCMAKE_COMPILE_WARNING_AS_ERROR=ON -DKLENS_BUILD_TESTS=OFF -DKLENS_BUILD_BENCH=OFF \
  > build/includes.log || { cat build/includes.log && exit 1; }
# One command a line, of the wanted files that are no product of the build, and no kernels, which every build compiles
# one by one; as the build runs it but for the headers and the output.
commands() {
  sed -nE 's/^ *"command": "(.*)",?$/\1/p' build/includes/compile_commands.json | sed 's/\\"/"/g; s/\\\\/\\/g' |
    if [[ $base == all ]]; then
      cat
    else
      grep -F -f <(git diff --name-only --diff-filter=d "$base" | sed -n "s|.*\.cpp$|$PWD/&|p") || true
    fi | sed -E 's/ -Winvalid-pch//g; s/ -include [^ ]*cmake_pch\.hxx//g; s/ -o [^ ]+ -c / -fsyntax-only /' |
    grep -v -e cmake_pch -e " $PWD/build/" -e " $PWD/kernels/"
}
commands > build/includes.commands || true
echo "$(wc -l < build/includes.commands) files changed since $base"
xargs -r -d '\n' -n 1 -P "$jobs" bash -c < build/includes.commands
