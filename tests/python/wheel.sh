#!/usr/bin/env bash
# Makes the wheel from a library that is built already, installs it, and runs its tests; then whether it runs on other
# distributions, and whether its type hints are sound. Needs build/test-venv (tests/python-env.sh), else ends in 77.
# usage: tests/python/wheel.sh BUILD_FOLDER WORK_FOLDER
set -euo pipefail
build=$(realpath "$1")
work=$2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python() { bash tests/python-env.sh "$@"; }

python -c 'import os, sys, sysconfig
if not os.path.exists(sysconfig.get_path("include") + "/Python.h"):
    sys.exit("skip: there is no Python.h (package python3-dev of Debian)")' || exit 77

rm -rf "$work"
mkdir -p "$work"
work=$(realpath "$work")
for component in runtime development; do
  cmake --install "$build" --prefix "$work/prefix" --component "$component" > "$work/install.log"
done
python -m pip wheel --no-build-isolation --no-deps --wheel-dir "$work/dist" --config-settings "build-dir=$work/build" \
  --config-settings "cmake.define.KLENS_INSTALLED=$work/prefix" --config-settings cmake.build-type=Release . \
  > "$work/wheel.log" 2>&1 || { tail -n 60 "$work/wheel.log"; exit 1; }
python -m pip install --quiet --no-deps --target "$work/site" "$work"/dist/*.whl
export PYTHONPATH=$work/site

python -m pytest -q -p no:cacheprovider tests/python
python -m mypy --strict --cache-dir "$work/mypy" tests/python/typed_program.py

# With what it links put into it, the wheel runs wherever the C library is as new as this machine's.
venv=$(python -c 'import sys; print(sys.prefix)')
PATH=$venv/bin:$PATH python -m auditwheel repair --wheel-dir "$work/repaired" "$work"/dist/*.whl > "$work/auditwheel.log" 2>&1 ||
  { tail -n 20 "$work/auditwheel.log"; exit 1; }
python -m pip install --quiet --no-deps --target "$work/repaired-site" "$work"/repaired/*.whl
PYTHONPATH=$work/repaired-site python -c 'import klens, sys
print("".join(klens.generate(klens.Session(klens.Model(sys.argv[1])), "The river", max_tokens=8)))
maps = open("/proc/self/maps").read()
assert "/repaired-site/klens.libs/libtbb" in maps, "libtbb is not that of the wheel"' apps/demo-model/wiki-mamba
ls -s --block-size=KiB "$work"/dist/*.whl "$work"/repaired/*.whl
