#!/usr/bin/env bash
#
# run.sh [name ...] - plants one bug at a time into a copy of the tree and runs the fast suites: the
# simulator over fresh seeds, and the unit tests of the changed module. Prints by what each bug was
# caught; one that survives, or an edit that does not apply any more, fails.
#
# A bug is tests/mutants/NAME.edit: lines "what:", "file:", "from:" (one line of code, found exactly
# once), "to:", "sim:" (scenarios) and "unit:" (a module). MUTANT_SECONDS: of simulation each (60).

set -u
cd "$(dirname "$0")/../.." || exit 1
tree=build/mutants/tree
logs=$PWD/build/test-logs
jobs=$(nproc)
seconds=${MUTANT_SECONDS:-60}
mkdir -p "$logs"
caught=0
survived=()
broken=()

copy_tree() {
    local file
    mkdir -p "$tree"
    while read -r -d '' file; do
        [ -f "$file" ] || continue
        cmp -s "$file" "$tree/$file" || cp --parents "$file" "$tree"
    done < <(git ls-files -z --cached --others --exclude-standard)
}

field() {
    sed -n "s/^$1: //p" "$2"
}

# plant EDIT: changes the one line in the copy; what the file was is kept in $original.
plant() {
    local file from to count
    file=$(field file "$1")
    from=$(field from "$1")
    to=$(field to "$1")
    count=$(grep -cF -- "$from" "$tree/$file" 2>/dev/null)
    [ "${count:-0}" -eq 1 ] || return 1
    original=$(cat "$tree/$file"; echo .)
    original=${original%.}
    printf '%s' "${original//"$from"/"$to"}" >"$tree/$file"
}

build() {
    make -s -C "$tree" -j"$jobs" MODE=release WARNINGS=-w sim-programs "build/release/test/unit_$1" \
        >"$logs/mutant-build.log" 2>&1
}

# The simulator stops at its first failure and says which rule was broken.
by_sim() {
    local log=$logs/mutant-$1.log share scenario
    share=$((seconds / $(wc -w <<<"$2")))
    for scenario in $2; do
        "$tree/build/release/test/sim" --seconds="$share" --first --scenario="$scenario" --jobs="$jobs" \
            >"$log" 2>&1 && continue
        printf 'sim %s: %s' "$(sed -n 's/^FAIL //p' "$log" | head -n 1)" \
            "$(grep -E '^([A-Za-z0-9-]+: |FAILED .)|assertion failed' "$log" | head -n 1 | cut -c1-90)"
        return 0
    done
    return 1
}

by_unit() {
    local log=$logs/mutant-$1-unit.log
    (cd "$tree" && timeout 300 "build/release/test/unit_$2" --verbose=0 -j"$jobs") >"$log" 2>&1 && return 1
    printf 'unit_%s: %s' "$2" "$(sed -n 's/^\[\(FAIL\|CRASH\)\] \([^ ]*\):.*/\2/p; s/^\[----\] .*\(Test .*crashed\).*/\1/p' "$log" | head -n 1)"
}

try() {
    local edit=$1 name sim unit
    name=$(basename "$edit" .edit)
    if ! plant "$edit"; then
        broken+=("$name")
        echo "BROKEN   $name: its line is not in $(field file "$edit") exactly once"
        return
    fi
    if ! build "$(field unit "$edit")"; then
        broken+=("$name")
        echo "BROKEN   $name: the copy does not build"
        tail -n 5 "$logs/mutant-build.log" | sed 's/^/     | /'
    else
        sim=$(by_sim "$name" "$(field sim "$edit")")
        unit=$(by_unit "$name" "$(field unit "$edit")")
        if [ -n "$sim$unit" ]; then
            caught=$((caught + 1))
            echo "caught   $name ($(field what "$edit"))"
            [ -z "$sim" ] || echo "           by $sim"
            [ -z "$unit" ] || echo "           by $unit"
        else
            survived+=("$name")
            echo "SURVIVED $name ($(field what "$edit"))"
        fi
    fi
    printf '%s' "$original" >"$tree/$(field file "$edit")"
}

copy_tree || exit 1
make -s -C "$tree" -j"$jobs" MODE=release sim-programs >"$logs/mutant-build.log" 2>&1 || {
    tail -n 20 "$logs/mutant-build.log"
    exit 1
}
if [ $# -gt 0 ]; then names=("$@"); else
    names=()
    for edit in tests/mutants/*.edit; do names+=("$(basename "$edit" .edit)"); done
fi
for name in "${names[@]}"; do try "tests/mutants/$name.edit"; done
echo "$caught caught, ${#survived[@]} survived, ${#broken[@]} broken"
[ ${#survived[@]} -eq 0 ] && [ ${#broken[@]} -eq 0 ] && [ "$caught" -gt 0 ]
