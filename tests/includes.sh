#!/usr/bin/env bash
# Parses the sources that have changed without precompiled headers, so that one that does not include what it
# uses is found.
#   includes.sh [COMMIT | all]    changed since COMMIT (default: KLENS_BASE, or twenty commits ago)
# Needs build/release, configured. KLENS_JOBS (all cores) run at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

base=${1-${KLENS_BASE-HEAD~20}}
jobs=${KLENS_JOBS:-$(nproc)}
# A clone of few commits, or a copy without history, has nothing to compare with.
if [[ $base != all ]] && ! git rev-parse -q --verify "$base^{commit}" > /dev/null 2>&1; then
  base=all
fi
# One command a line, of the wanted files, as the build runs it but for the headers and the output.
commands() {
  sed -nE 's/^ *"command": "(.*)",?$/\1/p' build/release/compile_commands.json | sed 's/\\"/"/g; s/\\\\/\\/g' |
    if [[ $base == all ]]; then
      cat
    else
      grep -F -f <(git diff --name-only --diff-filter=d "$base" | sed -n "s|.*\.cpp$|$PWD/&|p") || true
    fi | grep -F -e '-include ' | sed -E 's/ -Winvalid-pch//g; s/ -include [^ ]*cmake_pch\.hxx//g; s/ -o [^ ]+ -c / -fsyntax-only /' |
    grep -v -e cmake_pch -e " $PWD/tests/"
}
commands > build/includes.commands || true
echo "$(wc -l < build/includes.commands) files changed since $base"
xargs -r -d '\n' -n 1 -P "$jobs" bash -c < build/includes.commands
