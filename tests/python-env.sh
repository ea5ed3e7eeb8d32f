#!/usr/bin/env bash
# tests/python-env.sh             makes build/test-venv, with the packages of tests/python-requirements.txt
# tests/python-env.sh ARGUMENT... runs its Python:  tests/python-env.sh -m pytest tests/python
# Ends in 77, which ctest and tests/run.sh show as skipped, where the package registry does not answer, or where
# it did not when the environment was to be made. KLENS_PYTHON is the Python to make it with (python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$PWD/build/test-venv
requirements=tests/python-requirements.txt
python=${KLENS_PYTHON:-python3}

skip() {
  echo "skip: $*"
  exit 77
}

if [[ $# != 0 ]]; then
  [[ -f $venv/made-of ]] || skip "there is no build/test-venv (bash tests/python-env.sh makes it)"
  exec "$venv/bin/python" "$@"
fi

command -v "$python" >/dev/null || skip "there is no Python: '$python' is not found"
"$python" -c 'import ensurepip, venv' 2>/dev/null || skip "'$python' has no venv (Debian's package python3-venv)"
made_of=$("$python" -VV; cat "$requirements")
if [[ -f $venv/made-of && $(< "$venv/made-of") == "$made_of" ]]; then exit 0; fi

rm -rf "$venv"
mkdir -p build
"$python" -m venv "$venv"
log=$venv/pip.log
code=0
# Two tries of ten seconds: without a network that is known at once.
"$venv/bin/python" -m pip install --disable-pip-version-check --no-input --only-binary :all: --retries 1 --timeout 10 \
  -r "$requirements" > "$log" 2>&1 || code=$?
if [[ $code != 0 ]]; then
  # What a registry answers is a failure of ours, its silence is not.
  if grep -qiE 'Retrying \(|connection (broken|refused|error)|timed out|Name or service not known|Could not fetch URL' "$log"; then
    skip "the Python package registry does not answer; tests in Python are left out"
  fi
  tail -n 20 "$log" >&2
  echo "tests/python-env.sh: pip cannot install $requirements" >&2
  exit 1
fi
printf '%s\n' "$made_of" > "$venv/made-of"
"$venv/bin/python" -m pip list --format freeze
