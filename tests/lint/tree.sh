#!/usr/bin/env bash
# What the tree may hold: its top level, no leftover notes, no addresses in lock files, no machine paths.
set -eu
cd "$(dirname "$0")/../.."
status=0
complain() {
    echo "$1"
    status=1
}
allowed=' services libs proto deploy docker-compose.yml Makefile tests docs LICENSE README.md '
for entry in $(git ls-tree --name-only HEAD | grep -v '^\.'); do
    case $allowed in
    *" $entry "*) ;;
    *) complain "top level: $entry does not belong there" ;;
    esac
done
! git grep -nE '\b(TODO|FIXME|XXX|HACK)\b' -- ':!tests/lint/tree.sh' ':!*package-lock.json' || complain 'a leftover note'
! git grep -nE '"resolved": *"https?://' -- '*package-lock.json' || complain 'a download address in a lock file'
! git grep -nE '/w[o]rk/[a-z]+/' -- ':!tests/lint/tree.sh' || complain 'a path of a build machine'
# b30: the runtime is C, but for what speaks with V8, and for what runs in JavaScript engines.
other=$(git ls-files services libs | grep -E '\.(cc|hh|cpp|hpp|cxx|rs|go|java|zig|py|sh)$' | grep -vE '^libs/vm/[a-z_]*\.(cc|hh|sh)$' || true)
[ -z "$other" ] || complain "b30: the runtime is C, this is not: $other"
for program in bb-ctl bb-gateway bb-scheduler bb-sequencer bb-solo bb-storage bb-worker; do
    git ls-files "services/${program#bb-}/main.c" | grep -q . || complain "b30: $program is no C program"
done
# t23: tests store in real files, in folders of their own that they remove, and nothing stands in for storage.
! git grep -niE '\bmock|\bsinon\b' -- tests libs/js/bitbend/test ':!tests/lint/tree.sh' ':!*package-lock.json' ||
    complain 't23: a mock in a test'
while read -r file; do
    grep -qE 'rmSync\(|nftw\(|remove\(|rmdir\(|rm -rf|folder_remove\(' "$file" || complain "t23: $file leaves its folder"
done < <(git grep -lE 'mkdtemp(Sync)?\(' -- tests/unit tests/integration tests/functions tests/e2e tests/race libs/js/bitbend/test)
for edit in tests/mutants/*.edit; do
    count=$(grep -cF -- "$(sed -n 's/^from: //p' "$edit")" "$(sed -n 's/^file: //p' "$edit")" || true)
    [ "$count" = 1 ] || complain "$edit: its line is not in its file exactly once"
done
git log --format=%s | grep -vE '^[a-z0-9/_.,* -]+: .+' && complain 'a commit subject without "area: what changes"'
exit $status
