#!/usr/bin/env bash
# Everything that must hold before a change is accepted: the tests of an optimised build with warnings as
# errors, the symbols of an unoptimised one, the tests under AddressSanitizer and UndefinedBehaviorSanitizer,
# what runs on several threads under ThreadSanitizer, a while of fuzzing, and what has changed parsed without
# precompiled headers (KLENS_BASE: since which commit).
# KLENS_FUZZ_SECONDS (12) is the time per fuzz target, KLENS_JOBS (all cores) how much runs at once.
# shellcheck disable=SC2317  # step calls most of these functions
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

jobs=${KLENS_JOBS:-$(nproc)}
fuzz_seconds=${KLENS_FUZZ_SECONDS:-12}
logs=build/test-logs
rm -rf "$logs"
mkdir -p "$logs"
summary=()
failed=0

# step NAME COMMAND...: runs it, keeps its output in $logs/NAME.log and the outcome for the summary. A command
# that ends in 77 was skipped, and said why.
step() {
  local name=$1 start=$SECONDS outcome=ok code=0
  shift
  printf '\n== %s\n' "$name"
  "$@" 2>&1 | tee "$logs/$name.log" || code=$?
  if [[ $code == 77 ]]; then
    outcome=skipped
  elif [[ $code != 0 ]]; then
    outcome=FAILED
    failed=1
  fi
  summary+=("$name $outcome $((SECONDS - start))")
  [[ $outcome == ok ]]
}

build() { # build PRESET [cmake option...] [-- target...]
  local preset=$1 options=()
  shift
  while [[ $# != 0 && $1 != -- ]]; do
    options+=("$1")
    shift
  done
  cmake --preset "$preset" "${options[@]}" && cmake --build "build/$preset" -j "$jobs" ${1+--target "${@:2}"}
}

run_ctest() { # run_ctest PRESET [ctest option...]
  local preset=$1
  shift
  ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure --no-tests=error "$@"
}

# One target for its time, from a copy of its seeds: what fuzzing finds on the way is no part of the repository.
fuzz_one() {
  local target=$1 name work code=0 options=()
  name=$(basename "$target" _fuzz)
  work=build/fuzz/work/$name
  rm -rf "$work"
  mkdir -p "$work/corpus" "$work/findings"
  if [[ -d tests/fuzz/corpus/$name ]]; then
    find "tests/fuzz/corpus/$name" -type f -exec cp -t "$work/corpus" {} +
  fi
  [[ ! -f tests/fuzz/$name.dict ]] || options+=("-dict=tests/fuzz/$name.dict")
  "$target" "${options[@]}" -max_total_time="$fuzz_seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$work/findings/" "$work/corpus" > "$work/log" 2>&1 || code=$?
  if [[ $code == 0 ]]; then
    echo "fuzz $name: $(grep -c . <(find "$work/corpus" -type f)) inputs kept, $(grep -o 'number_of_executed_units: *[0-9]*' "$work/log" | grep -o '[0-9]*$') runs"
  else
    tail -n 60 "$work/log"
    echo "fuzz $name: FAILED, input in $work/findings"
  fi
  return "$code"
}

fuzz_all() {
  local targets=() code=0
  shopt -s nullglob
  targets=(build/asan/tests/fuzz/*_fuzz)
  shopt -u nullglob
  if [[ ${#targets[@]} == 0 ]]; then
    echo "there are no fuzz targets in build/asan/tests/fuzz"
    return 1
  fi
  local at
  for ((at = 0; at < ${#targets[@]}; at += 2)); do
    fuzz_one "${targets[at]}" &
    local first=$! second=
    if ((at + 1 < ${#targets[@]})); then
      fuzz_one "${targets[at + 1]}" &
      second=$!
    fi
    wait "$first" || code=1
    [[ -z $second ]] || wait "$second" || code=1
  done
  return "$code"
}

step dependencies bash cmake/install-dependencies.sh --tests || true
step python-env bash tests/python-env.sh || true
step opencl-drivers bash tests/opencl-drivers.sh || true
# Warnings are errors without sanitizers only: GCC says that with them its warnings have false positives, and
# it has them, in its own std::regex.
if step release-build build release -DCMAKE_COMPILE_WARNING_AS_ERROR=ON -DKLENS_BUILD_TESTS=ON -DKLENS_BUILD_BENCH=ON; then
  step release-tests run_ctest release || true
fi
# Unoptimised kernels are those in which the linker could merge functions of different instruction sets.
if step debug-kernels build debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DKLENS_BUILD_TESTS=ON -DKLENS_BUILD_BENCH=OFF -- klens_kernels klens_kernels_amx_emulated klens_kernels_amxbf16_emulated klens_kernels_avx512vl; then
  step debug-symbols run_ctest debug -R '^kernels.isa_hygiene$' || true
fi
# The preset leaves out the checks of every address (null, alignment, sizes of objects): they take a third of the
# build, and AddressSanitizer sees what they would see in use.
if step asan-build build asan -DCMAKE_COMPILE_WARNING_AS_ERROR=OFF -DKLENS_BUILD_TESTS=ON; then
  # "slow" tests look at results, not at memory, and would take an hour here.
  step asan-tests run_ctest asan -LE slow || true
  step fuzz fuzz_all || true
fi
if step tsan-build build tsan -DKLENS_BUILD_TESTS=ON -DKLENS_BUILD_APPS=OFF -- klens_thread_tests; then
  step tsan-tests run_ctest tsan -L threads || true
fi
step includes bash tests/includes.sh || true

printf '\n== what ctest says at its end\n'
for name in release-tests debug-symbols asan-tests tsan-tests; do
  [[ ! -f $logs/$name.log ]] || { printf '\n%s\n' "$name" && sed -n '/tests passed,/,$p' "$logs/$name.log"; }
done
printf '\n== summary\n'
for line in "${summary[@]}"; do
  read -r name outcome seconds <<< "$line"
  printf '%-18s %-7s %5d s %4d %%\n' "$name" "$outcome" "$seconds" "$((100 * seconds / (SECONDS > 0 ? SECONDS : 1)))"
done
printf '%-26s %5d s\n' all "$SECONDS"
exit $failed
