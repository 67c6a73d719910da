#!/usr/bin/env bash
#
# test.sh CHECK - runs the checkers on the histories of this folder: each bad one must be caught by
# the rule that its name begins with (bad-RULE or bad-RULE-what), the good ones by none.

set -u
check=$(realpath "$1")
cd "$(dirname "$0")/histories" || exit 1
rules=(feed once serializable as-of-push as-of-thrown as-of stale-finish bank skew phantom real-time job-lost job-twice job-early job-phantom G0 G1a G1c G2)
log=$(mktemp)
failed=0
count=0

rule_of() {
    local rule
    for rule in "${rules[@]}"; do
        case $1 in "$rule" | "$rule"-*) echo "$rule" && return ;; esac
    done
    echo unknown
}

for file in *.jsonl; do
    name=${file%.jsonl}
    case $name in
    good-*) expected=nothing ;;
    *) expected=$(rule_of "${name#bad-}") ;;
    esac
    count=$((count + 1))
    if ! "$check" --expect "$expected" "$file" >"$log" 2>&1; then
        failed=$((failed + 1))
        echo "FAIL $file: expected $expected"
        sed "s|^|     . |" "$log"
    fi
done
rm -f "$log"
echo "$count histories, $failed wrong"
[ "$failed" -eq 0 ] && [ "$count" -gt 20 ]
